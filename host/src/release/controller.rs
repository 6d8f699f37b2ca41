//! The controller: writes transitions of the release state, and keeps what this gateway serves in
//! step with the state on record.
//!
//! A rollback is first: it acts here before anything is written, and holds until the state on record
//! has it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use metrics::gauge;
use parking_lot::Mutex;
use ranking::Criteria;
use ranking::outcomes::{ExaminationRules, TrialRules, WatchRules};
use ranking::release::ledger::{self, Anchor};
use ranking::release::replacement::ReplacementRules;
use ranking::release::watch::Limits;
use ranking::release::{
    Command, Effect, FORM, Input, ModelId, Order, Phase, Refused, Rules, State, Transition, begin, step,
};
use ranking::verdict::Futility;
use store::{Commit, Committed, FOLLOWED_RECORD, Lease, PENDING_ROLLBACK, Store, StoreError};
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore};
use uuid::Uuid;

use super::courier::Courier;
use super::drift::Drifting;
use super::followed::FollowedFile;
use super::health::{Health, Served};
use super::known::{Known, OnRecord, held, mirror, serving};
use super::pending::{PendingFile, PendingRollback};
use super::shown::Snapshot;
use super::stepped::Stepped;
use crate::http::clock::wall;
use crate::models::{Loader, Model, Models, Refusal, Serving, Tried};

/// Attempts of a change that others get ahead of.
const ATTEMPTS: u32 = 20;
/// Maximum number of notified publications that wait for their load.
const MAX_NOTICES: usize = 32;

/// What the controller is configured with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The rules of the state machine.
    pub rules: Rules,
    /// When the technical watch rolls back.
    pub limits: Limits,
    /// What a verdict asks for.
    pub criteria: Criteria,
    /// Whether a verdict counts the comparisons of all models of the pipeline, or those of the challenger alone.
    pub pools: bool,
    /// When a challenger is given up.
    pub futility: Futility,
    /// When a night's model takes the place of the one that is live.
    pub replacement: ReplacementRules,
    /// What interleaving must show.
    pub trial: TrialRules,
    /// When outcomes raise a suspicion, and how it ends.
    pub relevance: WatchRules,
    /// When propensities are known.
    pub examination: ExaminationRules,
    /// How many days of tossed coins count for them.
    pub examination_days: u32,
    /// The share of requests that is compared; `None`: Redis may say otherwise.
    pub shadow: Option<f64>,
    /// The longest attribution window: younger comparisons are not judged.
    pub window: chrono::TimeDelta,
    /// The pause between two evaluations.
    pub evaluate: Duration,
    /// How long a model that serves may take to arrive at a gateway that never had it.
    pub arrival: Duration,
    /// How long a lease lasts.
    pub lease: Duration,
    /// This gateway's name in the fleet.
    pub name: String,
}

/// Follows and changes what serves.
pub struct Controller {
    /// The loaded models.
    pub models: Models,
    /// Counts for the technical watch.
    pub health: Health,
    /// Counts of the challenger beside the champion.
    pub drift: Drifting,
    /// What `GET /rollout` shows of the fleet.
    pub(super) snapshot: Snapshot,
    /// The injected clock, if there is one.
    pub(super) stepped: Option<Stepped>,
    pub(super) config: Config,
    pub(super) loader: Loader,
    /// Versions that need not be tried again.
    pub(super) tried: Tried,
    pub(super) store: Store,
    /// This run of the gateway.
    pub(super) id: Uuid,
    /// Limits the notified publications that wait for their load.
    pub(super) notices: Arc<Semaphore>,
    /// Held during a load. Taken before `turn`, which is held only for moments, so that no operator
    /// waits for a compiler.
    pub(super) loading: AsyncMutex<()>,
    /// Held from reading the state on record until this gateway follows what was read or written, so
    /// that it never follows an older state after a newer one.
    pub(super) turn: AsyncMutex<()>,
    pub(super) known: Arc<Mutex<Known>>,
    pub(super) pending: Arc<PendingFile>,
    pub(super) followed: Arc<FollowedFile>,
    /// Held while a rollback is recorded, so that no two tasks record the same.
    pub(super) recording: AsyncMutex<()>,
    /// Wakes the task that follows the record.
    pub(super) wake: Arc<Notify>,
    /// Wakes the task that loads models.
    pub(super) load: Arc<Notify>,
    /// Wakes the task that reports and refreshes what is shown.
    pub(super) changed: Arc<Notify>,
    /// Who hears of every transition.
    pub(super) courier: Courier,
    /// Whether the models that the state named at the start are loaded, as far as they can be.
    pub(super) is_restored: AtomicBool,
    /// Whether this gateway has handed its lease on and ends.
    pub(super) has_left: AtomicBool,
    /// Until when this gateway holds the lease, as far as it knows.
    pub(super) leased_until: Mutex<Option<Instant>>,
}

/// What a gateway knew when an order arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    phase: Option<Phase>,
    /// How often the record was found to be replaced.
    pub rewrites: u64,
}

/// Whether this may act on a state that is not the one of its last entry.
fn may_mend(input: &Input) -> bool {
    match input {
        Input::Order(order) => order.command.vouches() || matches!(order.command, Command::Rollback { .. }),
        _ => false,
    }
}

/// What became of an order.
#[derive(Clone, Debug)]
pub struct Ordered {
    /// The state that this gateway follows now; `None`: none was ever read.
    pub state: Option<State>,
    /// Hash of the last entry of the ledger that this gateway knows.
    pub head: String,
    /// Whether the order is on record. A rollback may act before it is.
    pub recorded: bool,
    /// The percentage of users whom LTR answers on this gateway.
    pub weight: u8,
}

/// Why an order was not carried out. Nothing changed then.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The state does not allow it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A rollback of this gateway is not on record yet, and comes first.
    #[error("a rollback on this gateway is not in the database yet; retry when it is")]
    RollbackPending,
    /// The record was replaced, and the operator could not know.
    #[error(
        "the rollout's record was replaced, restored or rewritten, perhaps from before a rollback; look again (`rollout status`, `ledger show`), and retry if LTR shall serve all the same"
    )]
    Replaced,
    /// Others changed the state again and again.
    #[error("others changed the rollout {ATTEMPTS} times meanwhile; retry")]
    Contended,
    /// Another gateway evaluates.
    #[error("another gateway holds the lease")]
    LeaseLost,
    /// The state on record cannot be read by this program.
    #[error("the state on record cannot be read: {0}")]
    Unreadable(String),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Controller {
    /// Serves legacy until [`Controller::restore`] has read the state. `stepped`: the clock is
    /// injected. A rollback that an earlier run could not record goes on, and the record must continue
    /// what an earlier run followed: both are kept in `dir`.
    pub fn new(
        store: Store,
        loader: Loader,
        config: Config,
        is_stepped: bool,
        dir: &std::path::Path,
        courier: Courier,
    ) -> Controller {
        let (pending, left) = PendingFile::open(&dir.join(PENDING_ROLLBACK), wall());
        let (followed, note) = FollowedFile::open(&dir.join(FOLLOWED_RECORD));
        if let Some(problem) = &note.rewritten {
            tracing::error!("the rollout's record was replaced: {problem}");
        }
        for PendingRollback { command, actor, .. } in &left {
            tracing::warn!(%command, actor, "a rollback is not on record yet; legacy answers until it is");
        }
        Controller {
            models: Models::default(),
            health: Health::new(config.limits.clone()),
            drift: Drifting::new(config.limits.latency_p95_ms),
            snapshot: Snapshot::default(),
            stepped: is_stepped.then(|| Stepped::new(config.evaluate)),
            config,
            loader,
            tried: Tried::default(),
            store,
            id: Uuid::new_v4(),
            notices: Arc::new(Semaphore::new(MAX_NOTICES)),
            loading: AsyncMutex::new(()),
            turn: AsyncMutex::new(()),
            known: Arc::new(Mutex::new(Known {
                pending: left.into(),
                offers_anew: note.rewritten.is_some(),
                anchor: note.anchor,
                must_have: note.must_have,
                rewritten: note.rewritten,
                ..Known::default()
            })),
            pending: Arc::new(pending),
            followed: Arc::new(followed),
            recording: AsyncMutex::new(()),
            wake: Arc::default(),
            load: Arc::default(),
            changed: Arc::default(),
            courier,
            is_restored: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
            leased_until: Mutex::new(None),
        }
    }

    /// Carries out an operator's order. `decide` makes it from the state on record. `command` is the
    /// order's id: the same order again changes nothing more. `seen`: what this gateway knew when the
    /// order arrived. An order that would let LTR answer more is refused after a rollback, and after a
    /// replacement of the record, that it did not know of.
    ///
    /// # Errors
    /// What the state does not allow; a database that cannot be used.
    pub async fn order(
        &self,
        command: Uuid,
        now: DateTime<Utc>,
        seen: &Seen,
        decide: impl Fn(&State) -> Result<Order, Refused> + Send + Sync,
    ) -> Result<Ordered, OrderError> {
        if let Some(ordered) = self.repeated(command).await? {
            return Ok(ordered);
        }
        let bound = |state: &State| {
            let order = decide(state)?;
            if order.command.vouches() && self.known.lock().rewrites != seen.rewrites {
                return Err(OrderError::Replaced);
            }
            let is_new = matches!(state.phase, Phase::RolledBack { .. }) && seen.phase.as_ref() != Some(&state.phase);
            if is_new && order.command.may_raise() {
                return Err(Refused::RolledBackMeanwhile.into());
            }
            Ok(Some(Input::Order(order)))
        };
        self.submit(now, Some(command), None, bound).await?;
        Ok(self.ordered(true))
    }

    /// What this gateway knows now, for an order that arrives.
    pub fn seen(&self) -> Seen {
        let known = self.known.lock();
        Seen {
            phase: known.state.as_ref().map(|state| state.phase.clone()),
            rewrites: known.rewrites,
        }
    }

    /// What an order led to that is in the ledger already: the state may not allow it any more.
    ///
    /// # Errors
    /// A rollback of this gateway that is not on record; a database that cannot be used.
    pub async fn repeated(&self, command: Uuid) -> Result<Option<Ordered>, OrderError> {
        if self.has_pending_rollback() {
            return Err(OrderError::RollbackPending);
        }
        if self.store.ordered(command).await?.is_none() {
            return Ok(None);
        }
        self.look().await?;
        Ok(Some(self.ordered(true)))
    }

    pub(super) fn ordered(&self, recorded: bool) -> Ordered {
        let known = self.known.lock();
        Ordered {
            weight: known.weight(),
            state: known.state.clone(),
            head: known.head.clone(),
            recorded,
        }
    }

    /// Changes the state on record by one step, by compare-and-swap: `input` is made again from what
    /// others wrote meanwhile; it may be none. Returns the transition; `None` if nothing changed.
    ///
    /// # Errors
    /// As [`Controller::order`]; [`OrderError::LeaseLost`] with a lease that is another's.
    pub(super) async fn submit(
        &self,
        now: DateTime<Utc>,
        command: Option<Uuid>,
        lease: Option<&Lease>,
        input: impl Fn(&State) -> Result<Option<Input>, OrderError> + Send + Sync,
    ) -> Result<Option<Transition>, OrderError> {
        for _ in 0..ATTEMPTS {
            let _turn = self.turn.lock().await;
            let on_record = self.read(now).await?;
            let transition = if on_record.exists {
                match input(&on_record.state)? {
                    // A state that somebody has edited must not be sealed as if it had been decided.
                    Some(input) if !on_record.is_sound && !may_mend(&input) => return Err(OrderError::Replaced),
                    Some(input) => step(&on_record.state, &input, now, &self.config.rules)?,
                    None => None,
                }
            } else {
                // Whatever is asked for comes after the first entry.
                Some(begin(on_record.state.clone(), now))
            };
            let Some(transition) = transition else {
                self.follow(on_record.state, on_record.head);
                return Ok(None);
            };
            let is_first = !on_record.exists;
            let command = command.filter(|_| !is_first);
            match self.write(&on_record, &transition, now, command, lease).await? {
                Committed::Done if is_first => {}
                Committed::Done => return Ok(Some(transition)),
                Committed::Conflict => {}
                Committed::Repeated(_) => {
                    let latest = self.read(now).await?;
                    self.follow(latest.state, latest.head);
                    return Ok(None);
                }
                Committed::LeaseLost => return Err(OrderError::LeaseLost),
            }
        }
        Err(OrderError::Contended)
    }

    /// Writes a transition, and follows it if it is on record. The caller holds the turn.
    async fn write(
        &self,
        on_record: &OnRecord,
        transition: &Transition,
        now: DateTime<Utc>,
        command: Option<Uuid>,
        lease: Option<&Lease>,
    ) -> Result<Committed, StoreError> {
        let sealed = ledger::seal(transition, now, command, &on_record.head);
        let state = serde_json::to_string(&transition.state).expect("a state has texts and finite numbers alone");
        let body = Courier::body(transition, &sealed, now);
        let destinations = self.courier.destinations();
        let outbox: Vec<store::Effect<'_>> = destinations
            .map(|destination| store::Effect {
                destination,
                body: &body,
            })
            .collect();
        let commit = Commit {
            expected: on_record.state.version * u64::from(on_record.exists),
            state: &state,
            entry: &sealed.text,
            hash: &sealed.hash,
            command,
            mirror: &mirror(&transition.state),
            outbox: &outbox,
            lease,
        };
        let committed = self.store.commit_release(&commit).await?;
        if committed == Committed::Done {
            let Effect::Announce(sentence) = &transition.effects[0];
            tracing::info!(
                version = transition.state.version,
                action = transition.action.as_str(),
                actor = transition.actor,
                head = sealed.hash,
                "rollout: {sentence}"
            );
            {
                let mut known = self.known.lock();
                known.anchor = Some(Anchor {
                    seq: transition.state.version,
                    head: sealed.hash.clone(),
                });
                known.is_vouched |= ledger::vouches(transition.action, &transition.evidence, command);
            }
            self.follow(transition.state.clone(), sealed.hash);
            self.wake.notify_one();
        }
        Ok(committed)
    }

    /// Follows a state that was checked. The caller holds the turn.
    pub(super) fn follow(&self, state: State, head: String) {
        self.adopt(state, head, true);
    }

    /// Follows a state. The caller holds the turn, and has checked a state that serves.
    pub(super) fn adopt(&self, state: State, head: String, is_checked: bool) {
        let mut known = self.known.lock();
        if is_checked && std::mem::take(&mut known.is_vouched) && known.rewritten.take().is_some() {
            tracing::info!("an operator's order is on record; what it leads to serves");
        }
        if state.form > FORM {
            tracing::error!(
                form = state.form,
                "the state on record is a newer program's; it is followed as far as it can be read, and not changed"
            );
        }
        let changed = known.state.as_ref() != Some(&state);
        known.unreadable = None;
        known.state = Some(state);
        known.head = head;
        known.seen = Some(Instant::now());
        known.problem = None;
        self.apply(&mut known);
        drop(known);
        if changed {
            self.load.notify_one();
            self.changed.notify_one();
        }
    }

    /// Makes this gateway serve what it knows. The only place that does.
    pub(super) fn apply(&self, known: &mut Known) {
        let serving = serving(known);
        gauge!("ltr_rollout_version").set(serving.state_version as f64);
        gauge!("ltr_rollback_pending").set(known.pending.len() as f64);
        gauge!("ltr_record_replaced").set(u8::from(known.rewritten.is_some()));
        // Since when a model that should serve is not here.
        let is_missing = serving.champion.is_none() && known.state.as_ref().is_some_and(State::serves);
        if !is_missing {
            known.had_champion = serving.named.clone().filter(|_| serving.champion.is_some());
        }
        let missing = serving.named.clone().filter(|_| is_missing);
        known.missing = match (missing, known.missing.take()) {
            (Some(version), Some((before, since))) if version == before => Some((version, since)),
            (missing, _) => missing.map(|version| (version, Instant::now())),
        };
        self.health.expect(Controller::served(&serving));
        self.models.swap(serving);
    }

    /// Adds a loaded model, which serves if the state names it.
    pub(super) fn add_model(&self, model: Arc<Model>) {
        let mut known = self.known.lock();
        known.loaded.insert(model.version.clone(), model);
        self.apply(&mut known);
    }

    /// Forgets the models that the state does not name, so that their memory is free again.
    pub(super) fn forget_models(&self, except: Option<&str>) {
        let mut known = self.known.lock();
        let Some(state) = known.state.clone() else { return };
        known.loaded.retain(|version, _| {
            let is_kept = state.named(version).is_some() || Some(version.as_str()) == except;
            if state.next.as_ref().is_some_and(|next| next.version == *version) {
                // When its turn comes, it is loaded again.
                self.tried.forget(version);
            }
            is_kept
        });
        self.apply(&mut known);
    }

    /// Unloads the models that the key ring no longer trusts.
    pub(super) fn unload_untrusted(&self, ring: &runtime::artefact::KeyRing) {
        let mut refused = Vec::new();
        let mut known = self.known.lock();
        known
            .loaded
            .retain(|version, model| match ring.vouches(model.signed_by) {
                Err(distrust) if distrust.ends_service() => {
                    let message = format!("unloaded while serving: {distrust}");
                    refused.push(Refusal::new(version, distrust.code(), message));
                    false
                }
                _ => true,
            });
        if refused.is_empty() {
            return;
        }
        self.apply(&mut known);
        drop(known);
        for refusal in refused {
            self.models.record_refusal(refusal, wall());
        }
    }

    /// The models that the state names and that are not loaded as they should be.
    pub(super) fn missing(&self) -> Vec<ModelId> {
        let known = self.known.lock();
        let Some(state) = &known.state else {
            return Vec::new();
        };
        let champion = state.champion.as_ref().map(|champion| &champion.model);
        let named = [champion, state.challenger.as_ref()].into_iter().flatten();
        named.filter(|id| held(&known.loaded, id).is_none()).cloned().collect()
    }

    /// The time of a decision that no request asks for: this machine's, or with an injected clock the
    /// latest one seen; 1970 before the first.
    pub fn now(&self) -> DateTime<Utc> {
        match &self.stepped {
            None => wall(),
            Some(stepped) => stepped.latest().unwrap_or(DateTime::UNIX_EPOCH),
        }
    }

    /// A request had this time. If the clock is injected, it steps the controller.
    pub fn saw(&self, now: DateTime<Utc>) {
        if let Some(stepped) = &self.stepped {
            stepped.saw(now);
        }
    }

    /// If the clock is injected: waits until the controller has evaluated at this time or later, for
    /// at most `within`.
    pub async fn step_to(&self, now: DateTime<Utc>, within: Duration) {
        if let Some(stepped) = &self.stepped
            && tokio::time::timeout(within, stepped.step_to(now)).await.is_err()
        {
            tracing::warn!(%now, "the rollout was not evaluated in time; what is shown is older");
        }
    }

    /// Whether a rollback acts here that is not on record yet.
    pub(super) fn has_pending_rollback(&self) -> bool {
        !self.known.lock().pending.is_empty()
    }

    /// The state that is followed.
    pub fn state(&self) -> Option<State> {
        self.known.lock().state.clone()
    }

    /// What the technical watch counts a request under that the serving model should answer. A gateway
    /// that is still loading the model counts nothing, and one that lost it reports that.
    pub fn served(serving: &Serving) -> Option<Served> {
        serving.champion.as_ref()?;
        Some(Served {
            version: serving.named.clone()?,
            since: serving.serving_since?,
        })
    }
}
