//! What `GET /rollout/evidence` shows beside the verdict, from the closed days in the database.

use chrono::{Days, NaiveDate};
use metrics::gauge;
use ranking::Interval;
use ranking::evidence::{
    ClosedDay, Coverage, EvidenceDay, GroupShare, Judged, ModelDay, SamplerTest, Waiting, judge, samplers, shares,
};
use ranking::release::{Phase, State};
use serde::Serialize;
use serde_json::{Value, json};
use store::StoreError;

use super::controller::Controller;
use super::outcomes::readable;
use super::shown::Beside;

/// Closed days that are looked at: a quarter.
const DAYS: u64 = 90;
/// Exponent of position bias by which exposure is weighed until it is known: attention falls as 1/rank.
const ASSUMED_ETA: f64 = 1.0;
/// All samplers, so that the metric of one that is not tested is 0.
const SAMPLERS: [&str; 5] = ["ladder", "hold_out", "drafts", "swaps", "shadow"];

#[derive(Serialize)]
struct Shown {
    closed: Closed,
    models: Vec<OfModel>,
    coverage: Covered,
    samplers: Samplers,
}

#[derive(Serialize)]
struct Closed {
    from: NaiveDate,
    until: Option<NaiveDate>,
    days: usize,
    /// Days that a former program counted.
    without_evidence: usize,
}

/// What the compared cases of a model say.
#[derive(Serialize)]
struct OfModel {
    /// `None`: all models of these days together.
    version: Option<String>,
    values: Judged,
    /// The exponent that `exposure` is weighed by.
    eta_of_exposure: f64,
    exposure: Vec<GroupShare>,
}

#[derive(Serialize)]
struct Covered {
    #[serde(flatten)]
    days: Coverage,
    /// `None`: no night has said it yet.
    waiting: Option<Waiting>,
}

/// The samplers since the exposure is what it is.
#[derive(Serialize)]
struct Samplers {
    from: NaiveDate,
    days: usize,
    tests: Vec<SamplerTest>,
}

impl Controller {
    /// Reads the closed days again if there are new ones.
    ///
    /// # Errors
    /// A database that cannot be used; what was read before is shown on.
    pub(super) async fn refresh_shown_evidence(&self, state: &State) -> Result<(), StoreError> {
        let today = self.now().date_naive();
        let made_from = (self.store.label_generation().await?, state.version, today);
        let is_current = |known: &Beside| known.made_from == made_from;
        if self.snapshot.0.lock().evidence.as_ref().is_some_and(is_current) {
            return Ok(());
        }
        let from = today.checked_sub_days(Days::new(DAYS)).unwrap_or(today);
        let days: Vec<ClosedDay> = readable(self.store.outcome_days(from).await?);
        let waiting = self.store.evidence(Waiting::KEY).await?;
        let waiting = waiting.and_then(|text| serde_json::from_str(&text).ok());
        let shown = self.evidence_of(state, from, &days, waiting);
        for sampler in SAMPLERS {
            let is_broken = shown
                .samplers
                .tests
                .iter()
                .any(|test| test.sampler == sampler && test.is_broken);
            gauge!("ltr_sample_ratio_mismatch", "sampler" => sampler).set(u8::from(is_broken));
        }
        let shown = json!(shown);
        self.snapshot.0.lock().evidence = Some(Beside { made_from, shown });
        Ok(())
    }

    fn evidence_of(&self, state: &State, from: NaiveDate, days: &[ClosedDay], waiting: Option<Waiting>) -> Shown {
        let known: Vec<&EvidenceDay> = days.iter().filter_map(|day| day.evidence.as_ref()).collect();
        let named = self.named_versions().into_iter().map(Some).chain([None]);
        let models = named.map(|version| self.of_model(version, &known));
        let mut coverage = Coverage::default();
        known.iter().for_each(|day| coverage.merge(&day.coverage));
        Shown {
            closed: Closed {
                from,
                until: days.last().map(|day| day.outcomes.date),
                days: days.len(),
                without_evidence: days.len() - known.len(),
            },
            models: models.collect(),
            coverage: Covered {
                days: coverage,
                waiting,
            },
            samplers: self.samplers_of(state, days),
        }
    }

    fn of_model(&self, version: Option<String>, days: &[&EvidenceDay]) -> OfModel {
        let mut sums = ModelDay::default();
        for (of, day) in days.iter().flat_map(|day| &day.models) {
            if version.as_ref().is_none_or(|version| version == of) {
                sums.merge(day);
            }
        }
        let (eta, is_identified) = self.position_bias();
        let values = judge(&sums.values, eta, is_identified, self.config.criteria.confidence);
        let known = eta.filter(|_| is_identified);
        let eta_of_exposure = known.map_or(ASSUMED_ETA, |eta| eta.estimate);
        OfModel {
            version,
            values,
            eta_of_exposure,
            exposure: shares(&sums.exposure, eta_of_exposure),
        }
    }

    /// The exponent of position bias as tossed coins show it, and whether it may be divided by.
    fn position_bias(&self) -> (Option<Interval>, bool) {
        let parts = self.snapshot.0.lock();
        let examined = parts.examined.as_ref();
        examined.map_or((None, false), |examined| (examined.eta, examined.identified))
    }

    /// Of the day on which the phase began a part was displayed otherwise.
    fn samplers_of(&self, state: &State, days: &[ClosedDay]) -> Samplers {
        let from = state.since.date_naive() + Days::new(1);
        let within = days.iter().filter(|day| day.outcomes.date >= from);
        let within: Vec<&EvidenceDay> = within.filter_map(|day| day.evidence.as_ref()).collect();
        // An operator changes the share within one phase.
        let exposure = Some(&state.exposure).filter(|_| state.phase != Phase::Manual);
        Samplers {
            from,
            days: within.len(),
            tests: samplers(&within, exposure, self.config.shadow),
        }
    }

    /// The body of `GET /rollout/evidence`; null before the database was read. Beside the exposure of groups stands the gap
    /// between their scores in shadow, where the model was judged.
    pub fn shown_evidence(&self) -> Value {
        let parts = self.snapshot.0.lock();
        let mut shown = parts
            .evidence
            .as_ref()
            .map_or(Value::Null, |beside| beside.shown.clone());
        let models = shown.get_mut("models").and_then(Value::as_array_mut);
        for model in models.into_iter().flatten() {
            let gathered = model["version"]
                .as_str()
                .and_then(|version| parts.gathered.get(version));
            model["fair_gap"] = json!(gathered.map(|gathered| json!({
                "legacy": gathered.evidence.fair_gap_legacy,
                "ltr": gathered.evidence.fair_gap_ltr,
            })));
        }
        shown
    }
}
