//! The state of the rollout, as the database has it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::statistics::elond::Budget;

/// The highest form of [`State`] that this program knows. Each state is written in the lowest form that says it, so that
/// programs of the version before go on with all but the newest kinds. A program that finds a higher form follows the
/// state as far as it can read it (legacy answers where it cannot) and changes nothing.
pub const FORM: u32 = 3;
/// The form of states without a trial, a replacement, and a model that waits.
const WITHOUT_TRIALS: u32 = 1;
/// The form of states without a replacement and without a model that waits.
const WITHOUT_REPLACEMENTS: u32 = 2;

/// How many rolled back versions, and how many contents, are remembered.
const REMEMBERED: usize = 64;

/// A published model, and its content: what was judged is what serves, also if a folder is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelId {
    /// Name of the folder under the models directory.
    pub version: String,
    /// SHA-256 of the component, lower-case hexadecimal. `None`: taken over from a former program, so
    /// that any content is accepted.
    pub sha256: Option<String>,
}

impl ModelId {
    /// Whether both name the same model. An unknown content is the same as any.
    pub fn is(&self, other: &ModelId) -> bool {
        let same_content = match (&self.sha256, &other.sha256) {
            (Some(one), Some(another)) => one == another,
            _ => true,
        };
        self.version == other.version && same_content
    }
}

/// How LTR's ranking is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Display {
    /// As it is.
    #[default]
    Whole,
    /// Drafted in turn with the legacy ranking.
    Interleaved,
}

/// What users get to see. Every gateway reads it from the state, so that gateways with different
/// settings do the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Exposure {
    /// Share of the users whom LTR answers, 0 to 1, of those outside the hold-out.
    pub share: f64,
    /// How its ranking is shown.
    pub display: Display,
    /// Share of the users who stay with the legacy ranking whatever `share` says, 0 to below 1.
    pub hold_out: f64,
}

impl Exposure {
    /// Everything to legacy.
    pub const NONE: Exposure = Exposure {
        share: 0.0,
        display: Display::Whole,
        hold_out: 0.0,
    };

    /// The whole ranking for this share.
    pub fn whole(share: f64) -> Exposure {
        Exposure {
            share,
            ..Exposure::NONE
        }
    }

    /// Share of all users whom LTR answers, 0 to 1.
    pub fn of_all(&self) -> f64 {
        self.share * (1.0 - self.hold_out)
    }

    /// [`Exposure::of_all`] in per cent. A share that is not 0 counts as at least 1.
    pub fn percent(&self) -> u8 {
        let percent = (self.of_all() * 100.0).round().clamp(0.0, 100.0) as u8;
        percent.max(u8::from(self.of_all() > 0.0))
    }
}

/// Why a model may serve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Grounds {
    /// Evidence up to this time allowed it.
    Verdict {
        /// End of the evidence.
        as_of: DateTime<Utc>,
    },
    /// Evidence up to this time allowed to try it, drafted in turn with legacy. This alone never lets it serve otherwise.
    Trial {
        /// End of the evidence.
        as_of: DateTime<Utc>,
    },
    /// It took the place of last night's model of the same pipeline, which had earned its traffic: it is no worse by the
    /// offline gate, and ranks much alike. Nothing shows that it is better than legacy but what its predecessors showed.
    Replacement {
        /// The version that it replaced.
        of: String,
        /// When the guards were seen to hold.
        as_of: DateTime<Utc>,
    },
    /// An operator named it.
    Operator {
        /// Who.
        actor: String,
    },
    /// A program before the state machine let it serve.
    FormerProgram,
}

/// The model that answers LTR's share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Champion {
    /// The model.
    pub model: ModelId,
    /// Why it may serve.
    pub grounds: Grounds,
    /// An operator pinned it: no other model replaces it by itself.
    #[serde(default)]
    pub pinned: bool,
    /// The state's version since which this model has had its present share, without a break. The
    /// technical watch counts from there. `None` while it answers nobody.
    pub serving_since: Option<u64>,
}

/// Where the rollout stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// Legacy answers; a challenger may be compared.
    Shadow,
    /// LTR is shown drafted in turn with legacy, and what clients prefer decides whether it is promoted.
    Trial,
    /// A rung of the ladder.
    Rung {
        /// From 0.
        index: usize,
    },
    /// LTR answers all users outside the hold-out.
    Live,
    /// LTR is under suspicion; a confirming step decides.
    Suspected,
    /// Legacy answers, and no model is promoted by itself before `until`.
    RolledBack {
        /// End of the cool-down.
        until: DateTime<Utc>,
    },
    /// An operator chose the share.
    Manual,
}

impl Phase {
    /// As JSON spells it.
    pub fn name(&self) -> &'static str {
        match self {
            Phase::Shadow => "shadow",
            Phase::Trial => "trial",
            Phase::Rung { .. } => "rung",
            Phase::Live => "live",
            Phase::Suspected => "suspected",
            Phase::RolledBack { .. } => "rolled_back",
            Phase::Manual => "manual",
        }
    }
}

/// An operator's hold on promotions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// Who holds.
    pub actor: String,
    /// Why; may be empty.
    pub reason: String,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// The one state of a fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// See [`FORM`].
    pub form: u32,
    /// Number of transitions so far; the ledger's entry with this number made it.
    pub version: u64,
    /// Where the rollout stands.
    pub phase: Phase,
    /// Since when; never before an earlier transition, whatever the clock says.
    pub since: DateTime<Utc>,
    /// What users get to see.
    pub exposure: Exposure,
    /// The model that answers LTR's share, or was the last to do so.
    pub champion: Option<Champion>,
    /// The model that is compared in shadow.
    pub challenger: Option<ModelId>,
    /// The newest model that waits until the challenger is decided, where models are judged one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ModelId>,
    /// How many decisions of the year were made: what is left of its budget of errors. Programs that do not know it begin
    /// the year again.
    #[serde(default)]
    pub budget: Budget,
    /// An operator's hold: nothing is promoted and nothing climbs by itself.
    pub hold: Option<Hold>,
    /// Versions that were rolled back or rejected, the latest last. No verdict brings them back by itself.
    #[serde(default)]
    pub barred: Vec<String>,
    /// The models that were on record, the latest last: their versions stand for their contents.
    #[serde(default)]
    pub contents: Vec<ModelId>,
}

impl State {
    /// The state of a new database: legacy answers, and there is no model.
    pub fn new(now: DateTime<Utc>) -> State {
        State {
            form: WITHOUT_TRIALS,
            version: 0,
            phase: Phase::Shadow,
            since: now,
            exposure: Exposure::NONE,
            champion: None,
            challenger: None,
            next: None,
            budget: Budget::new(now.date_naive()),
            hold: None,
            barred: Vec::new(),
            contents: Vec::new(),
        }
    }

    /// The state that a program before the state machine left: LTR's share in per cent, the promoted
    /// version and the compared one.
    pub fn taken_over(weight: u8, champion: Option<String>, challenger: Option<String>, now: DateTime<Utc>) -> State {
        let model = |version: String| ModelId { version, sha256: None };
        let mut challenger = challenger.map(model);
        // Such a program let the challenger answer where none was promoted.
        let serves = match champion.map(model) {
            None if weight > 0 => challenger.take(),
            champion => champion,
        };
        let share = f64::from(weight.min(100)) / 100.0;
        let exposure = if serves.is_some() {
            Exposure::whole(share)
        } else {
            Exposure::NONE
        };
        let phase = match (exposure.share > 0.0, weight) {
            (false, _) => Phase::Shadow,
            (true, 100) => Phase::Live,
            (true, _) => Phase::Manual,
        };
        State {
            phase,
            exposure,
            champion: serves.map(|model| Champion {
                model,
                grounds: Grounds::FormerProgram,
                pinned: false,
                serving_since: (exposure.share > 0.0).then_some(1),
            }),
            challenger,
            ..State::new(now)
        }
    }

    /// The lowest form that says this.
    pub(super) fn lowest_form(&self) -> u32 {
        let grounds = self.champion.as_ref().map(|champion| &champion.grounds);
        let is_tried = self.phase == Phase::Trial || matches!(grounds, Some(Grounds::Trial { .. }));
        let is_new = matches!(grounds, Some(Grounds::Replacement { .. })) || self.next.is_some();
        match (is_new, is_tried) {
            (true, _) => FORM,
            (false, true) => WITHOUT_REPLACEMENTS,
            (false, false) => WITHOUT_TRIALS,
        }
    }

    /// No verdict brings this model back by itself.
    pub(super) fn bar(&mut self, model: &ModelId) {
        if !self.barred.contains(&model.version) {
            self.barred.push(model.version.clone());
            let surplus = self.barred.len().saturating_sub(REMEMBERED);
            self.barred.drain(..surplus);
        }
    }

    /// The hypothesis under test was decided or given up: the next one has its own share of the year's budget.
    pub(super) fn next_epoch(&mut self, now: DateTime<Utc>, rejected: bool) {
        self.budget.renew(now.date_naive());
        self.budget.next_epoch(rejected);
    }

    /// The level of the present test, where `alpha` is that of all decisions of a year.
    pub fn level(&self, now: DateTime<Utc>, alpha: f64) -> f64 {
        self.budget.on(now.date_naive()).level(alpha)
    }

    /// Remembers the content of a version.
    pub(super) fn remember(&mut self, model: &ModelId) {
        self.contents.retain(|other| other.version != model.version);
        self.contents.push(model.clone());
        let surplus = self.contents.len().saturating_sub(REMEMBERED);
        self.contents.drain(..surplus);
    }

    /// Whether LTR answers anybody.
    pub fn serves(&self) -> bool {
        self.exposure.share > 0.0 && self.champion.is_some()
    }

    /// The model on record under this version: the champion's or the challenger's.
    pub fn named(&self, version: &str) -> Option<&ModelId> {
        let champion = self.champion.as_ref().map(|champion| &champion.model);
        let mut known = [champion, self.challenger.as_ref()].into_iter().flatten();
        known.find(|model| model.version == version)
    }
}
