//! Keeps the directory that Envoys watch in step with what this gateway serves: the champion's filter
//! while LTR answers, and one that scores nothing otherwise.

use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;

use super::controller::Controller;
use super::edge::{EdgeDir, EdgeFilter, Offer, Offered, Outcome, Turn};

/// A failed offer is tried again after this time, and an offer that somebody changed is made again.
const AGAIN: Duration = Duration::from_secs(5);
/// The pause between two looks at what serves.
const LOOK: Duration = Duration::from_millis(100);

/// What Envoys should do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    state_version: u64,
    turn: Turn,
    /// The model that scores; `None`: LTR is off, killed, or the model is not loaded.
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
            let wanted = wanted(&controller, is_killed());
            offering.offer_if_needed(&controller, &dir, wanted).await;
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
    said: String,
}

impl Offering {
    async fn offer_if_needed(&mut self, controller: &Controller, dir: &Arc<EdgeDir>, wanted: Wanted) {
        let is_again = self.offered.as_ref().is_some_and(|(offered, _)| *offered == wanted);
        let is_current = is_again && self.offered.as_ref().is_some_and(|(_, at)| at.elapsed() < AGAIN);
        // Before a state is known there is nothing to offer, unless LTR was stopped.
        let is_known = wanted.state_version > 0 || wanted.turn != Turn::InOrder;
        if !is_known || is_current {
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
        let problem = match outcome {
            // Somebody has replaced it since, and will do so again.
            Ok(Outcome::Written(_)) if is_again && self.said.is_empty() => {
                "another gateway that shares the directory, or somebody else, offers otherwise; compare `rollout status` of the gateways".to_owned()
            }
            Ok(Outcome::Written(_)) if is_again => self.said.clone(),
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

fn wanted(controller: &Controller, is_killed: bool) -> Wanted {
    let serving = controller.models.serving();
    Wanted {
        state_version: serving.state_version,
        turn: controller.turn_of_offers(is_killed),
        scores: serving
            .serves()
            .filter(|_| !is_killed)
            .map(|model| model.version.clone()),
    }
}

impl Controller {
    /// Which offers this gateway's offers may replace now.
    fn turn_of_offers(&self, is_killed: bool) -> Turn {
        let known = self.known.lock();
        if !known.pending.is_empty() {
            Turn::Ahead { of: None }
        } else if known.offers_anew {
            Turn::Anew
        } else if is_killed || known.rewritten.is_some() {
            Turn::First
        } else {
            Turn::InOrder
        }
    }

    /// The order of the offers has begun anew.
    fn offered_anew(&self) {
        self.known.lock().offers_anew = false;
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
        controller.offered_anew();
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
