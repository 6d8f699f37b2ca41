//! What a gateway knows of the record, and what it serves for that.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use ranking::release::ledger::Anchor;
use ranking::release::{Exposure, ModelId, Phase, State};
use serde_json::Value;
use store::RolloutState;

use super::pending::PendingRollback;
use crate::models::{Model, Serving};

/// What this gateway knows of the record.
#[derive(Default)]
pub(super) struct Known {
    /// `None`: it was never read.
    pub state: Option<State>,
    pub head: String,
    /// When the record was last seen to be what is followed.
    pub seen: Option<Instant>,
    /// What keeps this gateway from following, in words.
    pub problem: Option<String>,
    /// Why the record cannot be read, in words. Legacy answers meanwhile.
    pub unreadable: Option<String>,
    /// In which way the record is not the one that was followed before, in words. Legacy answers until
    /// an operator's next order.
    pub rewritten: Option<String>,
    /// How often that was found.
    pub rewrites: u64,
    /// Whether Envoys may be offered a later state of a record that is no more.
    pub offers_anew: bool,
    /// How far the record was checked; what follows must continue it. Kept on disk, so that it holds
    /// across restarts. `None`: no record was ever seen.
    pub anchor: Option<Anchor>,
    /// Entries that the record must contain: rollbacks that were followed before they were checked. Kept
    /// on disk, too.
    pub must_have: Vec<Anchor>,
    /// Whether an operator vouches for the record up to `anchor`, which is not followed so far yet.
    pub is_vouched: bool,
    /// The model that was here while it served last.
    pub had_champion: Option<String>,
    /// The model that should serve and is not here, and since when.
    pub missing: Option<(String, Instant)>,
    /// Rollbacks that act here and are not on record yet, the first one first.
    pub pending: VecDeque<PendingRollback>,
    /// Counter of the evidence that was last read.
    pub evidence: u64,
    /// The loaded models that the state names, and those about to be proposed.
    pub loaded: HashMap<String, Arc<Model>>,
}

/// A state as it is on record.
pub(super) struct OnRecord {
    pub state: State,
    pub head: String,
    /// The state as it is stored, with what this program does not know of it.
    pub stored: Value,
    /// Whether that is the state of the ledger's last entry.
    pub is_sound: bool,
    /// Whether there is one, or it is what the table of former programs amounts to.
    pub exists: bool,
}

impl Known {
    /// Whether LTR may serve at all, whatever the state says.
    pub(super) fn may_serve(&self) -> bool {
        self.pending.is_empty() && self.unreadable.is_none() && self.rewritten.is_none()
    }

    /// The percentage of users whom LTR answers here, if its model is loaded.
    pub(super) fn weight(&self) -> u8 {
        let state = self.state.as_ref().filter(|_| self.may_serve());
        state.map_or(0, |state| state.exposure.percent())
    }
}

impl OnRecord {
    /// The end of the ledger as the state's row says it.
    pub(super) fn anchor(&self) -> Anchor {
        Anchor {
            seq: self.state.version * u64::from(self.exists),
            head: self.head.clone(),
        }
    }
}

/// What a gateway serves that knows this.
pub(super) fn serving(known: &Known) -> Serving {
    let Some(state) = &known.state else {
        return Serving::default();
    };
    let champion = state.champion.as_ref();
    let model = champion.and_then(|champion| held(&known.loaded, &champion.model));
    let exposure = if known.may_serve() && state.serves() {
        state.exposure
    } else {
        Exposure::NONE
    };
    let challenger = state.challenger.as_ref().and_then(|id| held(&known.loaded, id));
    // On the ladder, and on trial, the model is judged further, if no newer one is.
    let climbs = matches!(state.phase, Phase::Rung { .. } | Phase::Trial);
    Serving {
        state_version: state.version,
        exposure,
        serving_since: champion.and_then(|champion| champion.serving_since),
        named: champion.map(|champion| champion.model.version.clone()),
        compared: challenger.clone().or_else(|| model.clone().filter(|_| climbs)),
        challenger,
        champion: model,
    }
}

/// The loaded model with this version and content.
pub(super) fn held(loaded: &HashMap<String, Arc<Model>>, id: &ModelId) -> Option<Arc<Model>> {
    let model = loaded.get(&id.version)?;
    model.id().is(id).then(|| model.clone())
}

/// The state as programs of the version before read it.
pub(super) fn mirror(state: &State) -> RolloutState {
    RolloutState {
        weight: state.exposure.percent(),
        champion: state.champion.as_ref().map(|champion| champion.model.version.clone()),
        challenger: state.challenger.as_ref().map(|model| model.version.clone()),
    }
}
