//! The release controller's rules: a pure state machine, `(state, input, now) -> (state, effects)`.
//!
//! [`step`] is the only code that changes what serves. It reads no clock and draws no chance, so that
//! every gateway of a fleet, and every test, reaches the same state from the same input.
//!
//! ```text
//! shadow ──verdict──> rung 1 ──> … ──> live ──suspicion──> suspected
//!  ^ ^ │                │ ^             │ ^                  │    │
//!  │ │ └─> trial ───────┼─┘             │ │                  │    │
//!  │ └──────┘ rejected  └── rollback ───┴─┼── rollback ──────┘    │
//!  └──── cool-down over ──── rolled back  └──────── cleared ──────┘
//! ```
//!
//! A challenger whom shadow figures do not decide on is tried: shown drafted in turn with legacy. A trial is rolled back
//! for technical reasons as a rung is.
//!
//! An operator can go to `manual` (a share chosen by hand) from anywhere.

pub mod ledger;
pub mod replacement;
mod shares;
mod state;
mod step;
mod trial;
mod turns;
pub mod watch;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

pub use shares::{Arm, Shares};
pub use state::{Champion, Display, Exposure, FORM, Grounds, Hold, ModelId, Phase, State};
pub use step::{begin, step};

use crate::criterion::Criterion;

/// A step of the ladder between shadow and live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// The share of the users, above 0 and at most 1.
    pub share: f64,
    /// How LTR's ranking is shown to them.
    #[serde(default)]
    pub display: Display,
    /// Least time on this rung, in hours.
    pub min_hours: f64,
    /// Names of the criteria of the verdict that must still hold for the model on the ladder.
    #[serde(default)]
    pub criteria: Vec<String>,
}

/// What the state machine is configured with.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// From the first rung to the last; may be empty.
    pub ladder: Vec<Rung>,
    /// Share of the users of live traffic who stay with the legacy ranking, 0 to below 1.
    pub hold_out: f64,
    /// How a challenger is tried whom shadow figures do not decide on.
    pub trial: TrialStep,
    /// What a suspected model is shown with until the suspicion is confirmed or cleared.
    pub confirm: Exposure,
    /// How long after a rollback no model is promoted by itself.
    pub cool_down: TimeDelta,
    /// Whether a verdict promotes by itself. Rollbacks always happen by themselves.
    pub automatic: bool,
    /// Whether models are judged one by one, so that new ones wait until the challenger is decided. Else they are nights of
    /// one pipeline: the newest takes the place of the challenger, and of one that is live if its guards hold.
    pub queues: bool,
}

/// How a challenger is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrialStep {
    /// The share of the users who are shown its ranking drafted in turn with legacy's, below 1; 0: nothing is tried.
    pub share: f64,
    /// After so long without a decision it is rejected.
    pub patience: TimeDelta,
}

/// What a judge of evidence says of a model. Every kind of verdict becomes one of these.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The model that was judged.
    pub model: ModelId,
    /// The time up to which evidence was judged.
    pub as_of: DateTime<Utc>,
    /// Whether the model may be promoted.
    pub promote: bool,
    /// Whether it may be tried: see [`crate::verdict::Verdict::may_be_tried`].
    pub trial: bool,
    /// Why it is given up, in words: see [`crate::verdict::Verdict::futility`].
    pub futility: Option<String>,
    /// Of a pipeline's newest model while an earlier one is live: what it has to meet to take its place.
    pub guards: Option<Vec<Criterion>>,
    /// The criteria, one by one.
    pub criteria: Vec<Criterion>,
    /// The numbers behind it, for the ledger.
    pub evidence: Value,
}

/// What a watch on outcomes says of the model that serves.
#[derive(Clone, Debug, PartialEq)]
pub enum Suspicion {
    /// It may do harm: a confirming step has to decide.
    Raised(Value),
    /// It does harm.
    Confirmed(Value),
    /// It does none.
    Cleared(Value),
}

/// What interleaving says of the model on trial.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialFinding {
    /// The model.
    pub model: ModelId,
    /// The time up to which outcomes were counted.
    pub as_of: DateTime<Utc>,
    /// How the trial stands.
    pub verdict: crate::outcomes::Verdict,
    /// The samplers that the trial rests on and that do not choose as they should: see [`crate::evidence::samplers`]. While
    /// there are any, nobody is promoted by what their groups say.
    pub broken_samplers: Vec<&'static str>,
    /// The numbers behind it, for the ledger.
    pub evidence: Value,
}

/// What is known at an evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// On the challenger, and on the model that is on the ladder.
    pub judgements: Vec<Judgement>,
    /// The criteria of the technical watch for the model that serves: see [`watch::judge`].
    pub health: Option<Health>,
    /// Of the model on trial.
    pub trial: Option<TrialFinding>,
    /// Of the model that serves, with its version.
    pub suspicion: Option<(ModelId, Suspicion)>,
}

/// The technical watch's judgement on one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// The model that served while this was counted.
    pub model: ModelId,
    /// [`Champion::serving_since`] of what was counted: figures from before do not count.
    pub serving_since: u64,
    /// Whether there were enough requests to decide by.
    pub is_enough: bool,
    /// The criteria, one by one.
    pub criteria: Vec<Criterion>,
}

/// What an operator can ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Promote the challenger by this judgement.
    Promote(Judgement),
    /// Give all requests back to legacy.
    Rollback {
        /// Whether who asked could not know the record that it acts on: it then does not vouch for it.
        blind: bool,
    },
    /// Stop promotions and climbing by themselves, or let them go on.
    Hold(bool),
    /// Serve this model to all, by name, and replace it by none.
    Pin(ModelId),
    /// Let a model answer this share of the users, without a verdict.
    Weight {
        /// 0 to 100.
        percent: u8,
        /// `None`: the champion on record.
        model: Option<ModelId>,
    },
}

/// A command with its author.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// What is asked for.
    pub command: Command,
    /// Who asks.
    pub actor: String,
    /// Why, in the operator's words; may be empty.
    pub reason: String,
}

impl Command {
    /// Whether it says what serves, and so vouches for the record.
    pub fn vouches(&self) -> bool {
        match self {
            Command::Promote(_) | Command::Pin(_) | Command::Weight { .. } => true,
            Command::Rollback { blind } => !blind,
            Command::Hold(_) => false,
        }
    }

    /// Whether it may let LTR answer more.
    pub fn may_raise(&self) -> bool {
        match self {
            Command::Promote(_) | Command::Pin(_) => true,
            Command::Weight { percent, .. } => *percent > 0,
            Command::Rollback { .. } | Command::Hold(_) => false,
        }
    }
}

/// An input of the state machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A gateway has loaded this published model.
    Published(ModelId),
    /// A gateway has loaded this model, which was published around the gate by this name.
    Ungated(ModelId, String),
    /// The controller's regular evaluation.
    Evaluation(Findings),
    /// An operator's order.
    Order(Order),
    /// A program of the version before the state machine wrote this weight, which is below the one
    /// that serves.
    FormerWeight(u8),
}

/// What was done, as the ledger names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The state machine took over from the table of former programs.
    Begin,
    /// A new model is compared.
    Challenger,
    /// A new model waits until the challenger is decided.
    Queue,
    /// A pipeline's newest model took the place of the one that is live.
    Replace,
    /// The content of a model that a former program had named became known.
    Identify,
    /// The evidence let the challenger serve.
    Promote,
    /// A challenger is shown drafted in turn with legacy.
    Trial,
    /// A model on trial, or a challenger, is not promoted: it is decided against, or was undecided for too long.
    Reject,
    /// The next rung of the ladder, or live.
    Climb,
    /// The model that serves is under suspicion.
    Suspect,
    /// The suspicion is gone.
    Clear,
    /// All requests go to legacy.
    Rollback,
    /// The cool-down is over.
    CoolDownOver,
    /// An operator stopped promotions.
    Hold,
    /// An operator let promotions go on.
    Resume,
    /// An operator chose the model that serves.
    Pin,
    /// An operator set the share.
    Weight,
}

impl Action {
    /// As JSON spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Begin => "begin",
            Action::Challenger => "challenger",
            Action::Queue => "queue",
            Action::Replace => "replace",
            Action::Identify => "identify",
            Action::Promote => "promote",
            Action::Trial => "trial",
            Action::Reject => "reject",
            Action::Climb => "climb",
            Action::Suspect => "suspect",
            Action::Clear => "clear",
            Action::Rollback => "rollback",
            Action::CoolDownOver => "cool_down_over",
            Action::Hold => "hold",
            Action::Resume => "resume",
            Action::Pin => "pin",
            Action::Weight => "weight",
        }
    }
}

/// Something to be done outside after a transition is on record.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell everybody who listens, in one sentence.
    Announce(String),
}

/// A change of the state.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The new state. Its version is one more than before.
    pub state: State,
    /// What was done.
    pub action: Action,
    /// Who did it; [`CONTROLLER`] for what happened by itself.
    pub actor: String,
    /// Why, in one sentence; may be empty.
    pub reason: String,
    /// The numbers behind it.
    pub evidence: Value,
    /// To be done once the transition is on record.
    pub effects: Vec<Effect>,
}

/// The actor of what happens by itself.
pub const CONTROLLER: &str = "controller";

/// Why an order is refused. Nothing changes then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// There is no challenger to promote.
    #[error("no challenger is recorded; publish a model first")]
    NoChallenger,
    /// The judgement is on another model than the challenger.
    #[error("{judged} was judged, but the challenger is {challenger} now; look again and retry")]
    OtherChallenger {
        /// The model that was judged.
        judged: String,
        /// The challenger on record.
        challenger: String,
    },
    /// The evidence does not allow a promotion.
    #[error("the evidence does not allow a promotion; failed: {0}")]
    Verdict(String),
    /// The model was rolled back before.
    #[error("{0} was rolled back; the same evidence does not bring it back; force it by name: weight or pin")]
    Barred(String),
    /// A rollback came while the order was on its way.
    #[error("the rollout was rolled back meanwhile; look again, and retry if LTR shall serve all the same")]
    RolledBackMeanwhile,
    /// A share was asked for, and no model was ever promoted or named.
    #[error("no model was promoted yet; name the version that shall answer")]
    NameVersion,
    /// The named model is neither champion nor challenger.
    #[error("{version} is neither the champion nor the challenger; allowed: {allowed}")]
    UnknownVersion {
        /// The version that was named.
        version: String,
        /// The versions that may be named, or `none`.
        allowed: String,
    },
    /// A version came back with another content.
    #[error(
        "{version} is on record with other content (SHA-256 {on_record}, not {found}); publish it under a new version"
    )]
    OtherContent {
        /// The version.
        version: String,
        /// SHA-256 of the component on record.
        on_record: String,
        /// SHA-256 of the component that was found.
        found: String,
    },
    /// The state was written by a newer program.
    #[error("the state on record has form {found}; this program knows {FORM} and changes nothing; upgrade it")]
    NewerForm {
        /// [`State::form`] on record.
        found: u32,
    },
}

impl Refused {
    /// Short, snake_case.
    pub fn code(&self) -> &'static str {
        match self {
            Refused::NoChallenger => "no_challenger",
            Refused::OtherChallenger { .. } => "changed",
            Refused::Verdict(_) => "verdict",
            Refused::Barred(_) => "barred",
            Refused::RolledBackMeanwhile => "changed",
            Refused::NameVersion => "name_version",
            Refused::UnknownVersion { .. } => "unknown_version",
            Refused::OtherContent { .. } => "other_content",
            Refused::NewerForm { .. } => "newer_form",
        }
    }
}

#[cfg(test)]
mod tests;
