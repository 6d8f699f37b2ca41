//! Whether the samplers that choose what is displayed and compared choose as often as they should.

use serde::Serialize;

use super::{EvidenceDay, Sampled};
use crate::events::{Policy, Source};
use crate::release::Exposure;
use crate::statistics::sample_ratio::SampleRatio;

/// With what probability a sampler that is right is ever called broken, however often one looks.
pub const MISMATCH_ALPHA: f64 = 0.001;

/// How a sampler stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SamplerTest {
    /// `ladder`: who sees LTR. `hold_out`: who never does. `drafts` and `swaps`: coins. `shadow`: which cases are compared.
    pub sampler: &'static str,
    /// Users, or coins.
    pub n: u64,
    /// The share that is asked for.
    pub expected: f64,
    /// The share that was found; `None` before the first.
    pub observed: Option<f64>,
    /// Logarithm of the evidence for another share.
    pub log_e: f64,
    /// Where the sampler counts as broken.
    pub log_level: f64,
    /// Whether the evidence has ever been there. What the sampler's groups are compared by is not to be trusted then.
    pub is_broken: bool,
    /// Whether a trial rests on it.
    pub decides_trials: bool,
}

/// Tests the samplers by whole days within one exposure, in order; `None`: it may have changed in between. `shadow`: the
/// share of cases that is compared; `None`: it is not known, because it is set elsewhere.
pub fn samplers(days: &[&EvidenceDay], exposure: Option<&Exposure>, shadow: Option<f64>) -> Vec<SamplerTest> {
    let split = exposure.filter(|exposure| exposure.share > 0.0);
    let compared = |at: usize| {
        // A model may come or go within a day, so that only days between days with comparisons are whole.
        let has_some = |at: Option<usize>| {
            at.and_then(|at| days.get(at))
                .is_some_and(|day| day.sampled.compared[0] > 0)
        };
        let is_whole = [at.checked_sub(1), Some(at), Some(at + 1)].into_iter().all(has_some);
        if is_whole { days[at].sampled.compared } else { [0, 0] }
    };
    let of = |count: fn(&Sampled) -> [u64; 2]| move |at: usize| count(&days[at].sampled);
    let (ladder, hold_out) = (split.map(|split| split.share), split.map(|split| split.hold_out));
    let tests = [
        test("ladder", true, ladder, days.len(), of(Sampled::ladder)),
        test("hold_out", true, hold_out, days.len(), of(Sampled::hold_out)),
        test("drafts", true, Some(0.5), days.len(), of(|sampled| sampled.drafts)),
        test("swaps", false, Some(0.5), days.len(), of(|sampled| sampled.swaps)),
        test("shadow", false, shadow, days.len(), compared),
    ];
    tests.into_iter().flatten().filter(|test| test.n > 0).collect()
}

/// `None`: the share leaves nothing to chance.
fn test(
    sampler: &'static str,
    decides_trials: bool,
    expected: Option<f64>,
    days: usize,
    counts: impl Fn(usize) -> [u64; 2],
) -> Option<SamplerTest> {
    let mut ratio = SampleRatio::new(expected?).ok()?;
    for [inside, outside] in (0..days).map(counts) {
        ratio.add_day(inside, outside);
    }
    Some(SamplerTest {
        sampler,
        n: ratio.n(),
        expected: ratio.expected(),
        observed: ratio.observed(),
        log_e: ratio.log_e(),
        log_level: -MISMATCH_ALPHA.ln(),
        is_broken: ratio.ever(MISMATCH_ALPHA),
        decides_trials,
    })
}

impl Sampled {
    /// Users of LTR's share, and those beside it. Within a share, who got legacy as everybody does was in it, and could be
    /// shown no draft. Whose neighbours were swapped would have been shown the same ranking whole.
    fn ladder(&self) -> [u64; 2] {
        let of = |is: fn(Policy, Source) -> bool| {
            let users = self.shown.iter().filter(|(policy, source, _)| is(*policy, *source));
            users.map(|(.., users)| users).sum()
        };
        [
            of(|policy, source| match policy {
                Policy::Interleaved | Policy::None => true,
                Policy::Rung | Policy::Swap => source != Source::Legacy,
                Policy::HoldOut | Policy::Forced => false,
            }),
            of(|policy, source| matches!(policy, Policy::Rung | Policy::Swap) && source == Source::Legacy),
        ]
    }

    /// Users who are held out, and all others.
    fn hold_out(&self) -> [u64; 2] {
        let mut counts = [0, 0];
        for (policy, _, users) in &self.shown {
            counts[usize::from(*policy != Policy::HoldOut)] += users;
        }
        counts
    }
}
