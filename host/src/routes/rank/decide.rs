//! Decides who ranks a case: whether LTR answers it, whether it is compared in shadow, and whether neighbours of the
//! ranking are swapped.

use std::sync::Arc;

use api::headers::{OPT_OUT, SHADOW};
use hyper::header::HeaderMap;
use ranking::release::{Arm, Display};
use ranking::{Fallback, Policy, Trigger};

use super::case::Case;
use crate::http::edge_copy::is_copy;
use crate::models::Model;
use crate::release::{Controller, Served};
use crate::state::Gateway;

/// Who ranks a case.
pub(super) struct Decision {
    /// The model that is to answer; `None`: legacy answers.
    pub server: Option<Arc<Model>>,
    /// Why no model is asked although LTR should answer.
    pub fallback: Option<Fallback>,
    /// The comparison in shadow; `None`: the case is not compared.
    pub compared: Option<Compared>,
    /// How it was decided what is shown.
    pub policy: Policy,
    /// Whether LTR's answer is shown drafted in turn with legacy's.
    pub interleaves: bool,
    /// Whether a coin decides on two neighbours of the answer, whoever gives it.
    pub swaps: bool,
    /// The version of the release state that it was decided by; 0: none was read yet.
    pub state_version: u64,
    /// What the technical watch counts the request under; `None`: LTR should not answer it.
    pub served: Option<Served>,
}

impl Decision {
    /// The version of the model that is to answer.
    pub(super) fn version(&self) -> Option<&str> {
        self.server.as_ref().map(|model| model.version.as_str())
    }
}

/// A comparison in shadow.
pub(super) struct Compared {
    pub model: Arc<Model>,
    pub trigger: Trigger,
}

/// Decides by the rollout, the flags and the headers of the request.
pub(super) fn decide(gateway: &Gateway, case: &Case) -> Decision {
    let serving = gateway.models().serving();
    let flags = gateway.flags.in_force();
    let pseudonym = || ranking::pseudonym(&gateway.pseudonyms.salt, case.request.user_id);
    let arm = if case.is_copy {
        Arm {
            is_ltr: false,
            policy: Policy::None,
        }
    } else {
        gateway.shares.arm(&serving.exposure, pseudonym)
    };
    let is_in = arm.is_ltr;
    let interleaves = is_in && serving.exposure.display == Display::Interleaved;
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
    let is_forced = trigger == Some(Trigger::Forced);
    let is_whole = !interleaves && arm.policy != Policy::HoldOut;
    let swaps = is_whole && !case.is_copy && !is_forced && !flags.killed && gateway.swaps.selects(pseudonym);
    Decision {
        server: server.cloned(),
        fallback,
        compared: trigger.and_then(|trigger| {
            let model = serving.compared.clone()?;
            Some(Compared { model, trigger })
        }),
        policy: if swaps {
            Policy::Swap
        } else {
            policy(arm, interleaves, flags.killed)
        },
        interleaves,
        swaps,
        state_version: serving.state_version,
        served: Controller::served(&serving).filter(|_| is_in && !flags.killed),
    }
}

/// Which sampler is logged. Users of an interleaved share are of that arm by the intention to show them both rankings, also
/// where LTR then fails and they see legacy's: as the legacy arm they would be compared with themselves. While LTR is
/// killed nobody is intended to see anything else.
fn policy(arm: Arm, interleaves: bool, is_killed: bool) -> Policy {
    match (interleaves, is_killed) {
        (true, false) => Policy::Interleaved,
        (true, true) => Policy::None,
        (false, _) => arm.policy,
    }
}

/// Why a request is compared; `None`: it is not.
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
