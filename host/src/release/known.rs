//! What a gateway knows of the record, and what it serves for that.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use ranking::release::{Exposure, ModelId, Phase, State};
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
    /// In which way the record is not the one that was followed before, in words.
    pub rewritten: Option<String>,
    /// Versions that the state names and that are nowhere to be found, and since when.
    pub gone: HashMap<String, Instant>,
    /// Rollbacks that act here and are not on record yet, the first one first.
    pub pending: VecDeque<PendingRollback>,
    /// Counter of the evidence that was last read.
    pub evidence: u64,
    /// The loaded models that the state names, and those about to be proposed.
    pub loaded: HashMap<String, Arc<Model>>,
}

/// What a gateway serves that knows this.
pub(super) fn serving(known: &Known) -> Serving {
    let Some(state) = &known.state else {
        return Serving::default();
    };
    let champion = state.champion.as_ref();
    let model = champion.and_then(|champion| held(&known.loaded, &champion.model));
    let exposure = if !known.pending.is_empty() || !state.serves() {
        Exposure::NONE
    } else {
        state.exposure
    };
    let challenger = state.challenger.as_ref().and_then(|id| held(&known.loaded, id));
    // On the ladder the model that climbs is judged further, if no newer one is.
    let climbs = matches!(state.phase, Phase::Rung { .. });
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
