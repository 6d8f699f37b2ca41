//! What outcomes of displayed rankings say of the model that serves: on trial, while it is live, and under suspicion.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use metrics::gauge;
use ranking::evidence::{ClosedDay, EvidenceDay, samplers};
use ranking::outcomes::{Alarm, LEAST_DECIDED, OutcomeDay, Trial, TrialRules, WatchRules, confirm, suspect, trial};
use ranking::release::{ModelId, Phase, State, Suspicion, TrialFinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What the closed days since the phase began say.
#[derive(Clone)]
pub(super) struct Outcomes {
    /// The days and the state that it is made from: see [`store::Store::label_generation`].
    made_from: (u64, u64),
    /// The model that serves.
    model: ModelId,
    days: ClosedDays,
    said: Said,
    rules: TrialRules,
    /// Samplers that a trial rests on, and that do not choose as they should.
    broken_samplers: Vec<&'static str>,
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

/// What outcomes have to show.
#[derive(Clone, Copy)]
pub(super) struct OutcomeRules<'a> {
    pub trial: &'a TrialRules,
    pub relevance: &'a WatchRules,
}

/// The first day whose outcomes are asked for at this state.
pub(super) fn first_day(state: &State) -> NaiveDate {
    state.since.date_naive() - Days::new(DAYS_BEFORE)
}

/// The model of this state that outcomes say something about.
pub(super) fn judged(state: &State) -> Option<&ModelId> {
    let champion = state.champion.as_ref().filter(|_| state.serves())?;
    let is_judged = matches!(state.phase, Phase::Trial | Phase::Live | Phase::Suspected);
    is_judged.then_some(&champion.model)
}

impl Outcomes {
    /// Judges the model by the closed days from [`first_day`] on, as they are stored.
    pub(super) fn judge(
        state: &State,
        model: &ModelId,
        made_from: (u64, u64),
        stored: Vec<(NaiveDate, String)>,
        rules: OutcomeRules<'_>,
    ) -> Outcomes {
        let began = state.since.date_naive();
        // Of the day itself a part was displayed otherwise.
        let from = began + Days::new(1);
        let (mut before, mut days): (Vec<OutcomeDay>, Vec<OutcomeDay>) = Default::default();
        let mut evidence: Vec<EvidenceDay> = Vec::new();
        for ClosedDay {
            outcomes,
            evidence: beside,
        } in readable(stored)
        {
            if outcomes.date < began {
                before.push(outcomes);
            } else if outcomes.date >= from {
                days.push(outcomes);
                evidence.extend(beside);
            }
        }
        let last = days.last().map_or(began, |day| day.date);
        let alpha = 1.0 - rules.trial.confidence;
        let tried = TrialRules {
            level: state.budget.on(last).level(alpha),
            ..*rules.trial
        };
        let said = match state.phase {
            Phase::Trial => Said::OnTrial(trial(&days, |version| version == model.version, &tried)),
            Phase::Suspected => {
                let (is_confirmed, trial) = confirm(&days.iter().collect::<Vec<_>>(), rules.relevance, rules.trial);
                Said::Suspected(trial, is_confirmed)
            }
            _ => Said::Live(suspect(&before, &days, rules.relevance)),
        };
        Outcomes {
            made_from,
            model: model.clone(),
            days: ClosedDays {
                from,
                until: days.last().map(|day| day.date),
                days: days.len(),
            },
            said,
            rules: tried,
            broken_samplers: broken_samplers(state, &evidence),
        }
    }

    /// Whether judging again would give the same.
    pub(super) fn is_made_from(&self, made_from: (u64, u64)) -> bool {
        self.made_from == made_from
    }

    /// The members `trial` and `relevance` of `GET /rollout`; null where they do not apply.
    pub(super) fn shown(outcomes: Option<&Outcomes>) -> [Value; 2] {
        let Some(outcomes) = outcomes else {
            return [Value::Null, Value::Null];
        };
        match outcomes.said {
            Said::OnTrial(_) | Said::Suspected(..) => [outcomes.evidence(), Value::Null],
            Said::Live(_) => [Value::Null, outcomes.evidence()],
        }
    }

    /// What the state machine is told of the model on trial.
    pub(super) fn trial_finding(&self) -> Option<TrialFinding> {
        let Said::OnTrial(trial) = &self.said else {
            return None;
        };
        Some(TrialFinding {
            model: self.model.clone(),
            as_of: self.days.end(),
            verdict: trial.verdict,
            broken_samplers: self.broken_samplers.clone(),
            evidence: self.evidence(),
        })
    }

    /// What the state machine is told of the model that is live or under suspicion.
    pub(super) fn suspicion(&self) -> Option<(ModelId, Suspicion)> {
        let suspicion = match &self.said {
            Said::Live(alarm) if alarm.is_raised => Suspicion::Raised(self.evidence()),
            Said::Suspected(_, Some(true)) => Suspicion::Confirmed(self.evidence()),
            Said::Suspected(_, Some(false)) => Suspicion::Cleared(self.evidence()),
            _ => return None,
        };
        Some((self.model.clone(), suspicion))
    }

    /// The numbers, for the ledger and for people.
    fn evidence(&self) -> Value {
        let mut evidence = json!({ "version": self.model.version, "closed": self.days });
        let numbers = match &self.said {
            Said::OnTrial(trial) | Said::Suspected(trial, _) => json!({
                "confidence": self.rules.confidence,
                "level": self.rules.level,
                "margin": self.rules.margin,
                "least_decided": LEAST_DECIDED,
                "broken_samplers": self.broken_samplers,
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

/// The days whose counts can be read, as [`OutcomeDay`] or, with the evidence beside them, as [`ClosedDay`].
pub(super) fn readable<Day: DeserializeOwned>(stored: Vec<(NaiveDate, String)>) -> Vec<Day> {
    let read = |(date, counts): (NaiveDate, String)| {
        let day = serde_json::from_str(&counts);
        day.inspect_err(|error| tracing::error!("the outcomes of {date} cannot be read, and do not count: {error}"))
            .ok()
    };
    stored.into_iter().filter_map(read).collect()
}

impl ClosedDays {
    /// The end of what was counted.
    fn end(&self) -> DateTime<Utc> {
        let last = self.until.map_or(self.from, |until| until + Days::new(1));
        last.and_time(NaiveTime::MIN).and_utc()
    }
}

/// The samplers that a trial of this state rests on, and that do not choose as often as they should.
fn broken_samplers(state: &State, days: &[EvidenceDay]) -> Vec<&'static str> {
    let days: Vec<&EvidenceDay> = days.iter().collect();
    let tests = samplers(&days, Some(&state.exposure), None);
    let broken = tests.into_iter().filter(|test| test.decides_trials && test.is_broken);
    broken.map(|test| test.sampler).collect()
}

/// Sets the metrics.
pub(super) fn measure(outcomes: Option<&Outcomes>) {
    let (credit, evidence) = match outcomes.map(|outcomes| &outcomes.said) {
        Some(Said::OnTrial(trial) | Said::Suspected(trial, _)) => (trial.credit.estimate, 0.0),
        Some(Said::Live(alarm)) => (0.0, alarm.log_evidence),
        None => (0.0, 0.0),
    };
    gauge!("ltr_trial_credit").set(credit);
    gauge!("ltr_relevance_log_evidence").set(evidence);
}
