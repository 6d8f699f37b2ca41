//! The demand side: how useful a lawyer is to a client, and what the client does.

use chrono::{DateTime, Duration, Utc};
use clap::ValueEnum;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use ranking::{ActionKind, Weights};
use serde::Serialize;
use uuid::Uuid;

use super::chance::{exponential, gumbel, normal, sigmoid, uuid};
use super::market::Features;

/// Scale of a client's random deviation from the market's taste.
const TASTE: f64 = 0.9;
/// By default a client looks at position p with probability 1 / (1 + FALL * (p - 1)), so most clients
/// read most of the list.
const FALL: f64 = 0.05;

/// With this probability a client who made contact signs, on an ordinary day.
pub(super) const SIGNS: f64 = 0.8;

/// How attention falls from the top of a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Attention {
    /// Most clients read most of the list.
    Patient,
    /// Position p is looked at with probability p^-eta.
    Eta(f64),
}

impl Attention {
    fn at(self, position: u32) -> f64 {
        match self {
            Attention::Patient => 1.0 / (1.0 + FALL * f64::from(position - 1)),
            Attention::Eta(eta) => f64::from(position).powf(-eta),
        }
    }
}

/// What clients truly want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Truth {
    /// Interactions and thresholds, which a weighted sum cannot express
    Interactions,
    /// The legacy weighted sum itself, so that no model can be better
    Legacy,
}

impl Truth {
    /// The utility of a lawyer for a case. Clients become interested from about 0.4.
    pub(super) fn utility(self, features: &Features, quality: f64, legacy: &Weights, drift: Drift) -> f64 {
        match self {
            Truth::Legacy => 9.0 * (legacy.score(features) - 0.5),
            Truth::Interactions => interactions(features, quality, drift),
        }
    }
}

/// What the weights of the truth are multiplied with: price, nearness, success rate, bad review.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Drift(pub [f64; 4]);

#[cfg(test)]
impl Drift {
    /// The weights as they are.
    pub(super) const NONE: Drift = Drift([1.0; 4]);
}

/// A price counts only if the lawyer practises the area, nearness only for urgent cases, and the
/// success rate only near the area. A bad review always deters. A missing price or review counts as
/// average.
fn interactions(features: &Features, quality: f64, Drift([to_price, to_geo, to_success, to_review]): Drift) -> f64 {
    let [area, _, success, geo, _, urgency, review, _, _, price, _] = *features;
    let known = |value: f64, otherwise: f64| if value.is_nan() { otherwise } else { value };
    let when = |condition: bool, value: f64| if condition { value } else { 0.0 };
    -2.0 + when(area > 0.6, 3.4 * to_price * known(price, 0.5))
        + when(urgency > 0.5, 2.2 * to_geo * geo)
        + when(area > 0.3, 1.4 * to_success * success)
        - when(known(review, 0.6) < 0.45, 2.2 * to_review)
        + 0.25 * quality
}

/// One lawyer in the list that a client sees.
pub(super) struct Shown {
    pub lawyer: usize,
    pub rank_pos: u32,
    pub utility: f64,
}

/// An action of a client, and when its event reaches the gateway.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub event_id: Uuid,
    pub kind: ActionKind,
    pub lawyer: usize,
    pub rank_pos: u32,
    pub ts: DateTime<Utc>,
    pub delivered_at: DateTime<Utc>,
    /// When the same event is sent a second time, if it is.
    pub repeated_at: Option<DateTime<Utc>>,
}

/// The actions of a client. The client reads the list from the top, opens profiles within minutes,
/// contacts lawyers within hours, and signs with at most one of these within days, with the probability `signs`.
pub(super) fn respond(
    rng: &mut ChaCha8Rng,
    opened_at: DateTime<Utc>,
    shown: &[Shown],
    attention: Attention,
    signs: f64,
) -> Vec<Act> {
    let mut acts = Vec::new();
    let mut best: Option<(f64, &Shown, DateTime<Utc>)> = None;
    for place in shown {
        let examined = rng.random::<f64>() < attention.at(place.rank_pos);
        let liking = place.utility + TASTE * normal(rng);
        let clicks = rng.random::<f64>() < sigmoid(1.6 * (liking - 0.4));
        let contacts = rng.random::<f64>() < sigmoid(1.8 * (liking - 0.6));
        let choice = place.utility + TASTE * gumbel(rng);
        if !(examined && clicks) {
            continue;
        }
        let clicked_at = opened_at + hours(exponential(rng, 8.0 / 60.0));
        acts.push(act(rng, ActionKind::ClickProfile, place, clicked_at));
        if contacts {
            let contacted_at = clicked_at + hours(exponential(rng, 5.0));
            acts.push(act(rng, ActionKind::ContactMade, place, contacted_at));
            if best.as_ref().is_none_or(|(so_far, ..)| choice > *so_far) {
                best = Some((choice, place, contacted_at));
            }
        }
    }
    if let Some((_, place, contacted_at)) = best
        && rng.random_bool(signs)
    {
        let signed_at = contacted_at + hours(exponential(rng, 30.0));
        acts.push(act(rng, ActionKind::ContractSigned, place, signed_at));
    }
    acts
}

/// Most events arrive at once, some late (the phone was offline), some twice (a retry after a lost
/// response).
fn act(rng: &mut ChaCha8Rng, kind: ActionKind, place: &Shown, ts: DateTime<Utc>) -> Act {
    let late = rng.random_bool(0.04);
    let delivered_at = ts
        + if late {
            hours(rng.random_range(1.0..36.0))
        } else {
            Duration::zero()
        };
    let repeated = rng.random_bool(0.03);
    Act {
        event_id: uuid(rng),
        kind,
        lawyer: place.lawyer,
        rank_pos: place.rank_pos,
        ts,
        delivered_at,
        repeated_at: repeated.then(|| delivered_at + hours(rng.random_range(0.0..24.0))),
    }
}

fn hours(hours: f64) -> Duration {
    Duration::milliseconds((hours * 3_600_000.0) as i64)
}
