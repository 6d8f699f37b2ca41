//! Who ranks a case: whether LTR serves it, and whether it is compared in shadow.

use std::sync::Arc;

use api::headers::{OPT_OUT, SHADOW};
use hyper::header::HeaderMap;
use ranking::{Fallback, Policy, Sampler, Trigger};
use uuid::Uuid;

use super::case::Case;
use crate::http::edge_copy::is_copy;
use crate::models::Model;
use crate::state::Gateway;

/// Who ranks a case.
pub(super) struct Decision {
    /// The model that is to answer, if one is.
    pub server: Option<Arc<Model>>,
    /// Why legacy answers where no model is asked although LTR should have answered.
    pub fallback: Option<Fallback>,
    pub compared: Option<Compared>,
    /// How it was decided who serves.
    pub policy: Policy,
}

/// A comparison in shadow.
pub(super) struct Compared {
    pub model: Arc<Model>,
    pub trigger: Trigger,
}

/// Decides by the rollout, the flags, and what the request says of itself.
pub(super) fn decide(gateway: &Gateway, case: &Case) -> Decision {
    let serving = gateway.models().serving();
    let flags = gateway.flags.in_force();
    let is_in = !case.is_copy && in_rollout(&gateway.settings.rollout.salt, serving.weight, case.id);
    let server = serving.serves().filter(|_| is_in && !flags.killed);
    let fallback = match server {
        Some(_) => None,
        None if flags.killed => Some(Fallback::KillSwitch),
        None => (is_in || !serving.any()).then(|| gateway.models().fallback_reason()),
    };
    let trigger = if flags.killed || case.headers.contains_key(OPT_OUT) {
        None
    } else {
        trigger(&case.headers, case.by_edge, || flags.shadow.selects(case.id))
    };
    Decision {
        server: server.cloned(),
        fallback,
        compared: trigger.and_then(|trigger| {
            let model = serving.challenger.clone()?;
            Some(Compared { model, trigger })
        }),
        // Only between the two a sampler has a choice.
        policy: if (1..100).contains(&serving.weight) {
            Policy::Rung
        } else {
            Policy::None
        },
    }
}

/// Why a request is to be compared, if it is.
fn trigger(headers: &HeaderMap, by_edge: bool, sampled: impl FnOnce() -> bool) -> Option<Trigger> {
    let asked = is_copy(headers) || headers.get(SHADOW).is_some_and(|value| value.as_bytes() == b"1");
    match (asked, by_edge) {
        (true, true) if is_copy(headers) => Some(Trigger::EdgeCopy),
        (true, true) => Some(Trigger::EdgeMark),
        _ if sampled() => Some(Trigger::Sampled),
        (true, false) => Some(Trigger::Forced),
        (false, _) => None,
    }
}

/// Whether LTR answers this request at this weight. The same request gets the same answer, and a request that
/// is in at one weight is in at every higher one.
fn in_rollout(salt: &str, weight: u8, id: Uuid) -> bool {
    weight > 0 && Sampler::new(salt, f64::from(weight) / 100.0).is_ok_and(|sampler| sampler.selects(id))
}
