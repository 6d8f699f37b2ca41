//! What outcomes of displayed rankings say of the model that serves: on trial, while it is live, and under suspicion.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use metrics::gauge;
use ranking::outcomes::{Alarm, LEAST_DECIDED, OutcomeDay, Trial, TrialRules, confirm, suspect, trial};
use ranking::release::{ModelId, Phase, State, Suspicion, TrialFinding};
use serde::Serialize;
use serde_json::{Value, json};
use store::StoreError;

use super::controller::Controller;

/// What the closed days since the phase began say.
#[derive(Clone)]
pub(super) struct Outcomes {
    /// The days and the state that it is made from: see [`store::Store::label_generation`].
    made_from: (u64, u64),
    /// The model that serves.
    model: ModelId,
    days: ClosedDays,
    said: Said,
}

#[derive(Clone)]
enum Said {
    OnTrial(Trial),
    Live(Alarm),
    /// And whether the suspicion is confirmed.
    Suspected(Trial, Option<bool>),
}

/// The days that were counted.
#[derive(Clone, Serialize)]
struct ClosedDays {
    /// The first day that counts: the one after the phase began.
    from: NaiveDate,
    /// The last one that is closed.
    until: Option<NaiveDate>,
    days: usize,
}

/// Days before LTR went live whose outcomes are what was usual.
const DAYS_BEFORE: u64 = 14;

impl Controller {
    /// What outcomes say at this state. The days are read only if there are new ones.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub(super) async fn outcomes(&self, state: &State) -> Result<Option<Outcomes>, StoreError> {
        let champion = state.champion.as_ref().filter(|_| state.serves());
        let judged = champion.filter(|_| matches!(state.phase, Phase::Trial | Phase::Live | Phase::Suspected));
        let outcomes = match judged {
            None => None,
            Some(champion) => {
                let made_from = (self.store.label_generation().await?, state.version);
                let known = self.snapshot.outcomes().filter(|known| known.made_from == made_from);
                Some(match known {
                    Some(known) => known,
                    None => self.judge_outcomes(state, &champion.model, made_from).await?,
                })
            }
        };
        show(outcomes.as_ref());
        self.snapshot.set_outcomes(outcomes.clone());
        Ok(outcomes)
    }

    async fn judge_outcomes(
        &self,
        state: &State,
        model: &ModelId,
        made_from: (u64, u64),
    ) -> Result<Outcomes, StoreError> {
        // Of the day itself a part was displayed otherwise.
        let from = state.since.date_naive() + Days::new(1);
        let mut days: Vec<OutcomeDay> = Vec::new();
        let before_that = state.since.date_naive() - Days::new(DAYS_BEFORE);
        for (date, counts) in self.store.outcome_days(before_that).await? {
            match serde_json::from_str(&counts) {
                Ok(day) => days.push(day),
                Err(error) => tracing::error!("the outcomes of {date} cannot be read, and do not count: {error}"),
            }
        }
        // Days on which the phase was another one are what was usual before.
        let since = days.partition_point(|day| day.date < from);
        let mut before = days;
        let days = before.split_off(since);
        before.retain(|day| day.date < state.since.date_naive());
        let rules = &self.config.trial;
        let said = match state.phase {
            Phase::Trial => Said::OnTrial(trial(&days, |version| version == model.version, rules)),
            Phase::Suspected => {
                let (is_confirmed, trial) = confirm(&days.iter().collect::<Vec<_>>(), &self.config.relevance, rules);
                Said::Suspected(trial, is_confirmed)
            }
            _ => Said::Live(suspect(&before, &days, &self.config.relevance)),
        };
        let until = days.last().map(|day| day.date);
        let days = ClosedDays {
            from,
            until,
            days: days.len(),
        };
        Ok(Outcomes {
            made_from,
            model: model.clone(),
            days,
            said,
        })
    }

    /// The members `trial` and `relevance` of `GET /rollout`; null where they do not apply.
    pub(super) fn shown_outcomes(&self, outcomes: Option<&Outcomes>) -> [Value; 2] {
        let Some(outcomes) = outcomes else {
            return [Value::Null, Value::Null];
        };
        let shown = outcomes.evidence(&self.config.trial);
        match outcomes.said {
            Said::OnTrial(_) | Said::Suspected(..) => [shown, Value::Null],
            Said::Live(_) => [Value::Null, shown],
        }
    }

    /// What the state machine is told of the model on trial.
    pub(super) fn trial_finding(&self, outcomes: &Outcomes) -> Option<TrialFinding> {
        let Said::OnTrial(trial) = &outcomes.said else {
            return None;
        };
        Some(TrialFinding {
            model: outcomes.model.clone(),
            as_of: outcomes.days.end(),
            verdict: trial.verdict,
            evidence: outcomes.evidence(&self.config.trial),
        })
    }

    /// What the state machine is told of the model that is live or under suspicion.
    pub(super) fn suspicion(&self, outcomes: &Outcomes) -> Option<(ModelId, Suspicion)> {
        let evidence = || outcomes.evidence(&self.config.trial);
        let suspicion = match &outcomes.said {
            Said::Live(alarm) if alarm.is_raised => Suspicion::Raised(evidence()),
            Said::Suspected(_, Some(true)) => Suspicion::Confirmed(evidence()),
            Said::Suspected(_, Some(false)) => Suspicion::Cleared(evidence()),
            _ => return None,
        };
        Some((outcomes.model.clone(), suspicion))
    }
}

impl Outcomes {
    /// The numbers, for the ledger and for people.
    fn evidence(&self, rules: &TrialRules) -> Value {
        let mut evidence = json!({ "version": self.model.version, "closed": self.days });
        let numbers = match &self.said {
            Said::OnTrial(trial) | Said::Suspected(trial, _) => json!({
                "confidence": rules.confidence,
                "margin": rules.margin,
                "least_decided": LEAST_DECIDED,
                "numbers": trial,
            }),
            Said::Live(alarm) => json!({ "numbers": alarm }),
        };
        if let (Some(evidence), Value::Object(numbers)) = (evidence.as_object_mut(), numbers) {
            evidence.extend(numbers);
        }
        evidence
    }
}

impl ClosedDays {
    /// The end of what was counted.
    fn end(&self) -> DateTime<Utc> {
        let last = self.until.map_or(self.from, |until| until + Days::new(1));
        last.and_time(NaiveTime::MIN).and_utc()
    }
}

/// Sets the metrics.
fn show(outcomes: Option<&Outcomes>) {
    let (credit, evidence) = match outcomes.map(|outcomes| &outcomes.said) {
        Some(Said::OnTrial(trial) | Said::Suspected(trial, _)) => (trial.credit.estimate, 0.0),
        Some(Said::Live(alarm)) => (0.0, alarm.log_evidence),
        None => (0.0, 0.0),
    };
    gauge!("ltr_trial_credit").set(credit);
    gauge!("ltr_relevance_log_evidence").set(evidence);
}
