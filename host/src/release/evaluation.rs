//! What the lease holder does regularly: judge the evidence, watch the fleet's figures, and decide.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use metrics::gauge;
use ranking::criterion::{Criterion, all_passed};
use ranking::release::replacement::{Drift, guards};
use ranking::release::watch::{Condition, Report, Stretch, judge, pool};
use ranking::release::{Findings, Health, Input, Judgement, ModelId, Phase, State, Transition};
use ranking::verdict::ContractDay;
use ranking::{Criteria, Evidence, Gathering, decide};
use serde_json::json;
use store::{GatewayReport, Lease, Reported, SetAside, StoreError};

use super::controller::{Controller, OrderError};
use super::known::Known;
use super::outcomes::{self, OutcomeRules, Outcomes};
use super::reports::{Gathered, Said};
use crate::models::Position;
use crate::telemetry;

/// Whose comparisons count.
enum Subject {
    /// Those of the model alone.
    Model,
    /// Those of all models after this version, by their names, which are times: the last one that was rolled back or
    /// rejected.
    Pipeline { after: Option<String> },
}

impl Subject {
    /// Under which the evidence is kept.
    fn key(&self, model: &ModelId) -> String {
        match self {
            Subject::Model => model.version.clone(),
            Subject::Pipeline { after } => format!("pipeline after {}", after.as_deref().unwrap_or("nothing")),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Subject::Model => "model",
            Subject::Pipeline { .. } => "pipeline",
        }
    }
}

/// The name of the controller's lease.
pub(super) const LEASE: &str = "controller";
/// Time limit for judging. A million comparisons take half a minute; a connection that was cut off may
/// stay silent for ever.
const JUDGING: Duration = Duration::from_secs(900);
/// Most transitions of one evaluation; the state machine comes to rest after fewer.
const MAX_STEPS: usize = 8;
/// Reports are pooled that are younger than this, or than two evaluations.
const FRESH_REPORT: Duration = Duration::from_secs(5);

impl Controller {
    /// Evaluates at `now`: judges, watches and decides, if this gateway has or gets the lease. Returns
    /// whether it has.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn evaluate(&self, now: DateTime<Utc>) -> Result<bool, OrderError> {
        let evaluated = self.evaluate_once(now).await;
        // What is shown is of this evaluation.
        let shown = self.refresh_snapshot().await;
        if let Some(stepped) = &self.stepped {
            // Also if it failed, so that nobody waits for ever; what was known before is shown then.
            stepped.evaluated(now);
        }
        let has_lease = evaluated?;
        shown?;
        metrics::counter!("ltr_rollout_evaluations_total").increment(u64::from(has_lease));
        Ok(has_lease)
    }

    async fn evaluate_once(&self, now: DateTime<Utc>) -> Result<bool, OrderError> {
        self.report().await?;
        if self.take_lease().await?.is_none() {
            return Ok(false);
        }
        self.look().await?;
        let Some(state) = self.state() else {
            return Ok(false);
        };
        // First and by itself, and again as long as judging takes: months of evidence, or a failure to read
        // them, must not delay the watch.
        self.watch(now).await?;
        let judging = tokio::time::timeout(JUDGING, self.judgements(&state, now));
        // Both go on at the same time: each may wait for a connection that the other has.
        let judgements = tokio::select! {
            judged = judging => judged.unwrap_or_else(|_| {
                tracing::error!("the evidence could not be read within {} s; nothing is judged by it", JUDGING.as_secs());
                Ok(Vec::new())
            })?,
            Err(error) = self.keep_watching() => return Err(error),
        };
        self.decide(now, judgements).await
    }

    /// Watches after each interval, until it fails.
    async fn keep_watching(&self) -> Result<Infallible, OrderError> {
        loop {
            tokio::time::sleep(self.config.evaluate).await;
            self.report().await?;
            self.watch(self.now()).await?;
        }
    }

    /// Rolls back if the fleet's figures of what serves say so.
    async fn watch(&self, now: DateTime<Utc>) -> Result<(), OrderError> {
        let Some(health) = self.fleet_health().await? else {
            return Ok(());
        };
        if !all_passed(&health.criteria) {
            let findings = Findings {
                health: Some(health),
                ..Findings::default()
            };
            self.submit_findings(now, &findings).await?;
        }
        Ok(())
    }

    /// Decides by all that is known, until nothing more follows. Returns whether this gateway still had
    /// the lease.
    async fn decide(&self, now: DateTime<Utc>, judgements: Vec<Judgement>) -> Result<bool, OrderError> {
        let outcomes = match self.state() {
            Some(state) => self.outcomes(&state).await?,
            None => None,
        };
        let findings = Findings {
            judgements,
            health: self.fleet_health().await?,
            trial: outcomes.as_ref().and_then(Outcomes::trial_finding),
            suspicion: outcomes.as_ref().and_then(Outcomes::suspicion),
        };
        for _ in 0..MAX_STEPS {
            match self.submit_findings(now, &findings).await {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(OrderError::LeaseLost) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn submit_findings(&self, now: DateTime<Utc>, findings: &Findings) -> Result<Option<Transition>, OrderError> {
        let lease = self.take_lease().await?.ok_or(OrderError::LeaseLost)?;
        let evaluation = |_: &State| Ok(Some(Input::Evaluation(findings.clone())));
        self.submit(now, None, Some(&lease), evaluation).await
    }

    /// Takes or renews the lease.
    pub(super) async fn take_lease(&self) -> Result<Option<Lease>, StoreError> {
        if self.has_left.load(Ordering::Relaxed) {
            return Ok(None);
        }
        // From before the call, so that it ends here no later than in the database.
        let until = Instant::now() + self.config.lease;
        let lease = self.store.take_lease(LEASE, self.id, self.config.lease).await?;
        *self.leased_until.lock() = lease.as_ref().map(|_| until);
        gauge!("ltr_rollout_lease").set(u8::from(lease.is_some()));
        Ok(lease)
    }

    /// Hands the lease on, and takes this gateway off the list of the fleet: it ends.
    pub async fn leave(&self) {
        let lease = self.take_lease().await;
        self.has_left.store(true, Ordering::Relaxed);
        *self.leased_until.lock() = None;
        if let Ok(Some(lease)) = lease {
            let _ = self.store.drop_lease(&lease).await;
        }
        let _ = self.store.forget_gateway(self.id).await;
    }

    /// Whether this gateway holds the lease, as far as it knows.
    pub(super) fn holds_lease(&self) -> bool {
        self.leased_until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// The judgements on the challenger and on the model that climbs or is tried; without a challenger also on the
    /// champion, to be shown.
    async fn judgements(&self, state: &State, now: DateTime<Utc>) -> Result<Vec<Judgement>, OrderError> {
        let champion = state.champion.as_ref().map(|champion| &champion.model);
        let climbing = champion.filter(|_| matches!(state.phase, Phase::Rung { .. } | Phase::Trial));
        let shown = state.challenger.as_ref().or(champion);
        let mut judgements: Vec<Judgement> = Vec::new();
        for model in [shown, climbing].into_iter().flatten() {
            if !judgements.iter().any(|judgement| judgement.model == *model) {
                judgements.push(self.judge(model, now).await?);
            }
        }
        let guards = self.guards(state).await?;
        if let Some(judgement) = judgements.first_mut().filter(|_| state.challenger.is_some()) {
            judgement.guards = guards;
        }
        Ok(judgements)
    }

    /// The verdict on a model from the comparisons that are closed at `now`. Gathers them only if
    /// labels have changed since they were gathered last.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub async fn judge(&self, model: &ModelId, now: DateTime<Utc>) -> Result<Judgement, OrderError> {
        let closed = now - self.config.window;
        let generation = self.store.label_generation().await?;
        let subject = self.subject(model);
        let key = subject.key(model);
        let known = match self.snapshot.gathered(&model.version) {
            None => self.stored_evidence(&key).await?,
            known => known.filter(|known| known.of == key),
        };
        let counted = known.as_ref().map_or_else(Vec::new, |known| known.days.clone());
        let gathered = match known.filter(|known| known.is_current(generation, closed)) {
            Some(gathered) => Gathered {
                // What the pipeline has shown was gathered for another model.
                version: model.version.clone(),
                ..gathered
            },
            None => {
                let gathered = self
                    .gathered(&subject, model, key, now, closed, generation, counted)
                    .await?;
                let text = serde_json::to_string(&gathered).expect("evidence has finite numbers alone");
                self.store.save_evidence(&gathered.of, &text).await?;
                gathered
            }
        };
        telemetry::metrics::evidence(&gathered.evidence);
        let verdict = decide(
            &gathered.evidence,
            &self.config.criteria,
            level(&self.config.criteria, self.state().as_ref(), now),
        );
        let futility = verdict.futility(&gathered.evidence, &self.config.futility);
        let evidence = json!({
            "version": model.version,
            "unit": subject.name(),
            "models": gathered.models,
            "evidence": gathered.evidence,
            "verdict": verdict,
        });
        let judgement = Judgement {
            model: model.clone(),
            as_of: gathered.as_of,
            promote: verdict.promote,
            trial: verdict.may_be_tried(),
            futility,
            guards: None,
            evidence,
            criteria: verdict.criteria,
        };
        self.snapshot.set_gathered(gathered);
        Ok(judgement)
    }

    /// Whose comparisons count for a judgement on a model. A model that shall replace one that serves is judged by its
    /// own: the pipeline was better than legacy, which says nothing of tonight's model beside last night's.
    fn subject(&self, model: &ModelId) -> Subject {
        let state = self.state().filter(|_| self.config.pools);
        let challenges = state.filter(|state| !state.serves() && state.challenger.as_ref() == Some(model));
        match challenges {
            None => Subject::Model,
            Some(state) => Subject::Pipeline {
                after: state.barred.into_iter().max(),
            },
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what is known of the evidence, once")]
    async fn gathered(
        &self,
        subject: &Subject,
        model: &ModelId,
        key: String,
        now: DateTime<Utc>,
        closed: DateTime<Utc>,
        generation: u64,
        counted: Vec<ContractDay>,
    ) -> Result<Gathered, OrderError> {
        let versions = match subject {
            Subject::Model => vec![model.version.clone()],
            Subject::Pipeline { after } => {
                let mut versions = self.store.compared_versions().await?;
                versions.retain(|version| after.as_ref().is_none_or(|after| version > after));
                versions
            }
        };
        let (evidence, days) = self.gather(&versions, closed, counted).await?;
        let mut next = None;
        for version in &versions {
            let of_version = self.store.next_labelled(version, closed).await?;
            next = [next, of_version].into_iter().flatten().min();
        }
        Ok(Gathered {
            version: model.version.clone(),
            of: key,
            models: versions.len() as u64,
            as_of: now,
            closed,
            generation,
            next,
            evidence,
            days,
        })
    }

    /// The evidence that another gateway gathered, or an earlier run. What cannot be read is gathered
    /// again.
    async fn stored_evidence(&self, version: &str) -> Result<Option<Gathered>, StoreError> {
        let text = self.store.evidence(version).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// What the log shows, and the days that are counted by now. A day is counted once all its comparisons have labels.
    async fn gather(
        &self,
        versions: &[String],
        closed: DateTime<Utc>,
        counted: Vec<ContractDay>,
    ) -> Result<(Evidence, Vec<ContractDay>), OrderError> {
        let mut gathering = Gathering::new(&self.config.criteria);
        let mut take = |case| gathering.add(&case);
        let (mut all, mut open_from) = (SetAside::default(), closed);
        for version in versions {
            let set_aside = self.store.each_shadow_case(version, closed, &mut take).await?;
            open_from = set_aside.unlabelled_from.unwrap_or(open_from).min(open_from);
            all.count += set_aside.count;
            all.first.extend(set_aside.first);
        }
        all.first.truncate(SetAside::MOST_LISTED);
        telemetry::metrics::unreadable(&all);
        let open_from = open_from.date_naive();
        tokio::task::spawn_blocking(move || gathering.finish(open_from, &counted))
            .await
            .map_err(|error| OrderError::Unreadable(format!("the evidence: {error}")))
    }

    /// What outcomes say at this state. The days are read only if there are new ones.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub(super) async fn outcomes(&self, state: &State) -> Result<Option<Outcomes>, StoreError> {
        let judged = match outcomes::judged(state) {
            None => None,
            Some(model) => {
                let made_from = (self.store.label_generation().await?, state.version);
                let known = self.snapshot.outcomes().filter(|known| known.is_made_from(made_from));
                Some(match known {
                    Some(known) => known,
                    None => {
                        let stored = self.store.outcome_days(outcomes::first_day(state)).await?;
                        let rules = OutcomeRules {
                            trial: &self.config.trial,
                            relevance: &self.config.relevance,
                        };
                        Outcomes::judge(state, model, made_from, stored, rules)
                    }
                })
            }
        };
        outcomes::measure(judged.as_ref());
        self.snapshot.set_outcomes(judged.clone());
        Ok(judged)
    }

    /// The fleet's figures of the model that serves, judged; `None` if none serves.
    async fn fleet_health(&self) -> Result<Option<Health>, OrderError> {
        let champion = self.state().and_then(|state| state.champion);
        let serving = champion.and_then(|champion| Some((champion.serving_since?, champion.model)));
        let Some((serving_since, model)) = serving else {
            self.snapshot.set_health(None);
            return Ok(None);
        };
        let reports = self.reports(&model.version, serving_since).await?;
        let limits = &self.config.limits;
        let criteria = judge(&reports, limits);
        let pooled = pool(&reports, limits);
        gauge!("ltr_fleet_fallback_rate").set(pooled.fallback_rate());
        gauge!("ltr_fleet_latency_p95_seconds").set(pooled.p95_ms().unwrap_or(0.0) / 1_000.0);
        self.snapshot.set_health(Some(json!({
            "requests": pooled.requests,
            "fallback_rate": pooled.fallback_rate(),
            "p95_ms": pooled.p95_ms(),
            "criteria": criteria,
        })));
        Ok(Some(Health {
            model,
            serving_since,
            is_enough: pooled.requests >= limits.min_requests,
            criteria,
        }))
    }

    /// What the pipeline's newest model has to meet to take the place of the one that is live; `None`: none is live, or
    /// models are judged one by one.
    async fn guards(&self, state: &State) -> Result<Option<Vec<Criterion>>, StoreError> {
        let live = state
            .champion
            .as_ref()
            .filter(|_| state.phase == Phase::Live && self.config.pools);
        let guards = match live.zip(state.challenger.as_ref()) {
            None => None,
            Some((champion, challenger)) => {
                let versions = [&champion.model.version, &challenger.version];
                let mut drift = Drift::default();
                for (said, _) in self.said_by_all().await? {
                    if [&said.compared.champion, &said.compared.challenger] == versions {
                        drift.add(&said.compared.drift);
                    }
                }
                let model = self.models.serving().challenger.clone();
                let model = model.filter(|model| model.id().is(challenger));
                let gate = model.as_ref().and_then(|model| model.gate.as_ref());
                let (rules, limits) = (&self.config.replacement, &self.config.limits);
                Some(guards(&champion.model, gate, &drift, rules, limits))
            }
        };
        self.snapshot.set_guards(guards.clone());
        Ok(guards)
    }

    /// What the gateways say of themselves, with the age of each report.
    async fn said_by_all(&self) -> Result<Vec<(Said, Duration)>, StoreError> {
        let within = FRESH_REPORT.max(2 * self.config.evaluate);
        let reported = self.store.gateways(within).await?;
        let read = |gateway: Reported| Some((serde_json::from_str(&gateway.report).ok()?, gateway.age));
        Ok(reported.into_iter().filter_map(read).collect())
    }

    /// What the gateways report of this model, counted since this version of the state. A gateway that
    /// does not follow yet has nothing to report.
    async fn reports(&self, version: &str, serving_since: u64) -> Result<Vec<Report>, StoreError> {
        let reports = self.said_by_all().await?.into_iter().filter_map(|(said, age)| {
            let condition = said.condition.filter(|_| said.follows >= serving_since)?;
            let counted = said.model == version && said.serving_since == serving_since;
            let stretches = said.stretches.into_iter().filter(|_| counted).map(|stretch| Stretch {
                age_seconds: stretch.age_seconds + age.as_secs_f64(),
                ..stretch
            });
            Some(Report {
                condition,
                stretches: stretches.collect(),
            })
        });
        Ok(reports.collect())
    }

    /// Tells the fleet what this gateway follows, serves and counts.
    ///
    /// # Errors
    /// A database that cannot be used.
    pub(super) async fn report(&self) -> Result<(), StoreError> {
        if self.has_left.load(Ordering::Relaxed) {
            return Ok(());
        }
        let said = self.said();
        gauge!("ltr_rollout_model_missing").set(u8::from(said.condition == Some(Condition::Lost)));
        let text = serde_json::to_string(&said).expect("a report has texts and finite numbers alone");
        let report = GatewayReport {
            id: self.id,
            name: &self.config.name,
            report: &text,
        };
        self.store.report_gateway(&report).await
    }

    /// Whether a model that could not be loaded is lost for the fleet. One that was here is. One that
    /// this gateway never had may still be on its way: a start must not roll back the others.
    fn counts_as_lost(&self, known: &Known, version: &str) -> bool {
        let was_here = known.had_champion.as_deref() == Some(version);
        let waited = known
            .missing
            .as_ref()
            .map_or(Duration::ZERO, |(_, since)| since.elapsed());
        was_here || waited >= self.config.arrival
    }

    /// What this gateway would report now.
    pub(super) fn said(&self) -> Said {
        let (counted, stretches) = self.health.report(Instant::now());
        let serving = self.models.serving();
        let refused: BTreeMap<String, String> = self
            .models
            .refused()
            .into_iter()
            .map(|(refusal, _)| (refusal.version, refusal.message))
            .collect();
        let known = self.known.lock();
        let state = known.state.as_ref();
        let named = state.and_then(|state| state.champion.as_ref());
        let named = named.map(|champion| &champion.model.version);
        let compared = state.and_then(|state| state.challenger.as_ref());
        let is_open = |model: &crate::models::Model| model.breaker() == Position::Open;
        let condition = match (&serving.champion, named) {
            (Some(model), _) if is_open(model) => Some(Condition::BreakerOpen),
            (Some(_), _) => Some(Condition::Serving),
            (None, Some(version)) if refused.contains_key(version) && self.counts_as_lost(&known, version) => {
                Some(Condition::Lost)
            }
            (None, Some(_)) => Some(Condition::Loading),
            (None, None) => None,
        };
        Said {
            follows: state.map_or(0, |state| state.version),
            serves: serving.serves().is_some(),
            rollback_pending: !known.pending.is_empty(),
            problem: known.unreadable.is_some() || known.rewritten.is_some(),
            condition: condition.filter(|_| state.is_some_and(State::serves)),
            champion: named.map(|version| loaded_or_not(version, serving.champion.is_some(), &refused)),
            challenger: compared.map(|id| loaded_or_not(&id.version, serving.challenger.is_some(), &refused)),
            model: counted
                .as_ref()
                .map(|counted| counted.version.clone())
                .unwrap_or_default(),
            serving_since: counted.map_or(0, |counted| counted.since),
            stretches,
            compared: self.drift.report(),
        }
    }
}

/// The level of a verdict's test: what the state has left of the year's budget of errors.
pub(super) fn level(criteria: &Criteria, state: Option<&State>, now: DateTime<Utc>) -> f64 {
    let alpha = 1.0 - criteria.confidence;
    state.map_or(alpha, |state| state.level(now, alpha))
}

fn loaded_or_not(version: &str, is_loaded: bool, refused: &BTreeMap<String, String>) -> String {
    if is_loaded {
        return "loaded".to_owned();
    }
    match refused.get(version) {
        Some(reason) => format!("missing: {reason}"),
        None => "loading".to_owned(),
    }
}
