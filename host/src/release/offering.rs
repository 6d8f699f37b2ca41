//! Keeps the directory that Envoys watch in step with what this gateway serves: the champion's filter
//! while LTR answers as it is, and one that scores nothing otherwise.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use ranking::release::{Display, State};

use super::controller::Controller;
use super::edge::{EdgeDir, EdgeFilter, Offer, Offered, Outcome, Turn};
use super::known::{Known, serving};

/// A failed offer is tried again after this time, and an offer that somebody changed is made again.
const AGAIN: Duration = Duration::from_secs(5);
/// The pause between two looks at what serves.
const LOOK: Duration = Duration::from_millis(100);

/// What Envoys should do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    state_version: u64,
    turn: Turn,
    /// Counts the replacements of the record, so that what was offered before one is not after it.
    rewrites: u64,
    /// The model that scores; `None`: LTR is off or killed, the model is not loaded, or its ranking is shown drafted in
    /// turn with legacy's, which takes a gateway.
    scores: Option<String>,
}

/// Offers what serves, until the controller is gone. `is_killed`: whether the kill switch is on.
pub(super) async fn keep_offering(
    controller: Weak<Controller>,
    dir: Arc<EdgeDir>,
    is_killed: impl Fn() -> bool + Send,
) {
    let mut offering = Offering::default();
    loop {
        {
            let Some(controller) = controller.upgrade() else { return };
            if let Some(wanted) = controller.wanted_of_envoys(is_killed()) {
                offering.offer_if_needed(&controller, &dir, wanted).await;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What was offered, and what became of it.
#[derive(Default)]
struct Offering {
    offered: Option<(Wanted, tokio::time::Instant)>,
    /// The state of the last offer that went ahead.
    ahead: Option<u64>,
    was_late: bool,
    /// How often in a row somebody had replaced an offer that was made again.
    replaced: u32,
    said: String,
}

impl Offering {
    async fn offer_if_needed(&mut self, controller: &Controller, dir: &Arc<EdgeDir>, wanted: Wanted) {
        let is_again = self.offered.as_ref().is_some_and(|(offered, _)| *offered == wanted);
        if is_again && self.offered.as_ref().is_some_and(|(_, at)| at.elapsed() < AGAIN) {
            return;
        }
        let turn = match wanted.turn {
            Turn::Ahead { .. } => Turn::Ahead { of: self.ahead },
            turn => {
                self.ahead = None;
                turn
            }
        };
        let outcome = offer(controller, dir, &wanted, turn).await;
        if let (Ok(Outcome::Written(state)), Turn::Ahead { .. }) = (&outcome, turn) {
            self.ahead = Some(*state);
        }
        let is_late = matches!(outcome, Ok(Outcome::Later(_)));
        self.replaced = match outcome {
            Ok(Outcome::Written(_)) if is_again => self.replaced + 1,
            _ => 0,
        };
        let problem = match outcome {
            // Once may be a restart.
            Ok(Outcome::Written(_)) if self.replaced > 1 => {
                "another gateway that shares the directory, or somebody else, offers otherwise; compare `rollout status` of the gateways".to_owned()
            }
            Ok(Outcome::Written(_) | Outcome::Same) => String::new(),
            // Another gateway is ahead for a moment, or for good.
            Ok(Outcome::Later(state)) if self.was_late => format!(
                "ecds.json is of state {state} of the rollout, and this gateway has state {}; if the database was replaced, remove the file",
                wanted.state_version
            ),
            Ok(Outcome::Later(_)) => String::new(),
            Err(error) => format!("{error:#}"),
        };
        if !problem.is_empty() && problem != self.said {
            tracing::error!("rollout.edge_dir: Envoys do not follow: {problem}");
        }
        metrics::gauge!("ltr_edge_offer_failed").set(u8::from(!problem.is_empty()));
        self.said = problem;
        self.was_late = is_late;
        self.offered = Some((wanted, tokio::time::Instant::now()));
    }
}

impl Controller {
    /// What Envoys should do now; `None`: what they do, because that is not known yet.
    fn wanted_of_envoys(&self, is_killed: bool) -> Option<Wanted> {
        // At one moment: a stop must not go with a model.
        let known = self.known.lock();
        let serving = serving(&known);
        let wanted = Wanted {
            state_version: serving.state_version,
            turn: turn(&known, is_killed),
            rewrites: known.rewrites,
            scores: serving
                .serves()
                .filter(|_| !is_killed && serving.exposure.display == Display::Whole)
                .map(|model| model.version.clone()),
        };
        // A start does not take away what Envoys have until its models are loaded.
        let is_loading = !self.is_restored.load(Ordering::Relaxed)
            && wanted.scores.is_none()
            && known.state.as_ref().is_some_and(State::serves);
        let is_known = wanted.turn != Turn::InOrder || (wanted.state_version > 0 && !is_loading);
        is_known.then_some(wanted)
    }

    /// The order of the offers has begun anew with this one.
    fn offered_anew(&self, wanted: &Wanted) {
        let mut known = self.known.lock();
        known.offers_anew &= known.rewrites != wanted.rewrites;
    }
}

/// Which offers this gateway's offers may replace.
fn turn(known: &Known, is_killed: bool) -> Turn {
    // The order begins anew with what is on record now, and not with what was followed before.
    let is_followed = known.anchor.as_ref().is_some_and(|anchor| anchor.head == known.head);
    let cannot_know = known.unreadable.is_some() && known.state.is_none();
    if !known.pending.is_empty() {
        Turn::Ahead { of: None }
    } else if known.offers_anew && is_followed {
        Turn::Anew
    } else if is_killed || known.rewritten.is_some() || cannot_know {
        Turn::First
    } else {
        Turn::InOrder
    }
}

async fn offer(controller: &Controller, dir: &Arc<EdgeDir>, wanted: &Wanted, turn: Turn) -> anyhow::Result<Outcome> {
    let (what, problem) = match &wanted.scores {
        None => (Offered::Nothing { spare: None }, None),
        Some(version) => match filter(controller, version).await {
            Ok(filter) => (Offered::Model(filter), None),
            // What Envoys have is another model's: scoring by it would be wrong.
            Err(error) => (Offered::Nothing { spare: None }, Some(error)),
        },
    };
    let what = match what {
        Offered::Nothing { .. } if !dir.has_filter() => Offered::Nothing {
            spare: spare(controller).await,
        },
        what => what,
    };
    let offer = Offer {
        state_version: wanted.state_version,
        turn,
        what,
    };
    let dir = dir.clone();
    let outcome = tokio::task::spawn_blocking(move || dir.offer(&offer)).await??;
    if turn == Turn::Anew {
        controller.offered_anew(wanted);
    }
    if let Outcome::Written(state) = outcome {
        tracing::info!(
            state,
            scores = wanted.scores.as_deref().unwrap_or("nothing"),
            "Envoys are offered what serves"
        );
    }
    problem.map_or(Ok(outcome), Err)
}

async fn filter(controller: &Controller, version: &str) -> anyhow::Result<EdgeFilter> {
    let wasm = controller.loader.edge_filter(version).await?;
    let wasm = wasm.with_context(|| format!("{version} has no filter for Envoy, so Envoys score nothing"))?;
    Ok(EdgeFilter {
        version: version.to_owned(),
        wasm,
    })
}

/// Any loaded model's filter, for Envoys that have none yet: it marks and mirrors, and scores nothing.
async fn spare(controller: &Controller) -> Option<EdgeFilter> {
    let serving = controller.models.serving();
    let loaded = serving.slots().into_iter().filter_map(|(_, model)| model.clone());
    for model in loaded.collect::<Vec<_>>() {
        if let Ok(filter) = filter(controller, &model.version).await {
            return Some(filter);
        }
    }
    None
}
