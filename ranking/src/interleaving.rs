//! Team-draft interleaving: one list from two rankings, and which of them its clients preferred.
//!
//! Two captains pick lawyers in turn, each the best of its own ranking who is still free; a coin says who picks first in
//! each round (Radlinski, Kurup, Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008; Chapelle,
//! Joachims, Radlinski, Yue, TOIS 30(1), 2012). Both teams stand equally high on average, so a client who does not care
//! chooses from each equally often, however attention falls with rank: propensities are not needed.
//!
//! A lawyer whom both captains want at the beginning of a round is nobody's pick ([`Source::Interleaved`]): who brought
//! them in would be chance, and their outcome would be noise. The common prefix of both rankings is of this kind.

use std::cmp::Ordering;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use uuid::Uuid;

use crate::candidates::Candidate;
use crate::events::{Coin, Source};
use crate::labels::Grade;
use crate::pseudonym::keyed;

/// How many places make the top of a ranking: those that [`draft`] keeps every group visible in.
pub const TOP: usize = 3;

/// An interleaved ranking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The candidates' indices in drafted order, each once.
    pub order: Vec<usize>,
    /// Who brought each in, as [`crate::Impression::drafted_by`] logs it: [`Source::Legacy`], [`Source::Ltr`], or
    /// [`Source::Interleaved`] where both wanted the same lawyer.
    pub drafted_by: Vec<Source>,
}

/// The coins of one ranking. They follow from request and case, so that a retry gets the same list; the salt keeps a
/// client who chooses the request's id from choosing the coins. Those of a draft and those of a swap are independent.
#[derive(Clone, Debug)]
pub struct Coins(ChaCha8Rng);

impl Coins {
    /// The coins of a draft for this request and case.
    pub fn new(salt: &[u8], request_id: Uuid, case_id: Uuid) -> Coins {
        Coins::of(b"draft of ", salt, request_id, case_id)
    }

    /// The coins of a swap: see [`crate::swaps`].
    pub fn of_swap(salt: &[u8], request_id: Uuid, case_id: Uuid) -> Coins {
        Coins::of(b"swap of ", salt, request_id, case_id)
    }

    fn of(purpose: &[u8], salt: &[u8], request_id: Uuid, case_id: Uuid) -> Coins {
        let parts: [&[u8]; 3] = [purpose, request_id.as_bytes(), case_id.as_bytes()];
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(keyed(salt, &parts).as_bytes());
        Coins(ChaCha8Rng::from_seed(seed))
    }

    /// Tosses one; of a draft: whether legacy picks first.
    pub(crate) fn toss(&mut self) -> bool {
        self.0.next_u32() >> 31 == 1
    }

    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / (f64::from(u32::MAX) + 1.0)
    }
}

/// Drafts one list from two rankings of the same candidates, each given as the candidates' indices, best first. `None`:
/// some outcome of the coins would break a promise of the re-rank ([`keeps_promises`]). That does not depend on how the
/// coins fall, which would load them.
///
/// # What a draft keeps of the re-rank
/// *Whatever both rankings agree on.* Each pick is the best free lawyer of one ranking; if both have a before b, then b is
/// nobody's best while a is free, so a comes first. If a lawyer is before another by fairness in both rankings (elite,
/// boost, free capacity, longest since offered), then also in the draft.
///
/// *Places.* A lawyer at place p of one ranking is at place 2p of the draft or above: after its captain's p-th pick the
/// lawyer is taken, and p rounds make at most 2p places. So the first 2k places have the first k of both rankings.
///
/// Agreement is not enough for *groups*: M1 F1 and M2 F2 may be drafted as M1 M2 F1 F2, and a group that both rankings
/// show at the top would be gone from it. Hence the predicate.
///
/// # Panics
/// The two are not rankings of the same candidates.
pub fn draft(candidates: &[Candidate], legacy: &[usize], ltr: &[usize], coins: &mut Coins) -> Option<Draft> {
    assert_permutation(legacy, candidates.len());
    assert_permutation(ltr, candidates.len());
    if !keeps_promises(candidates, legacy, ltr) {
        return None;
    }
    Some(drafted(legacy, ltr, || coins.toss()))
}

/// Whether, however the coins fall, each group that both rankings show among their first [`TOP`] is among the first of
/// the draft. A group is a value of an attribute; an unknown one is none.
pub fn keeps_promises(candidates: &[Candidate], legacy: &[usize], ltr: &[usize]) -> bool {
    // Coins change only the order inside a pair, and one pair at most lies across the edge of the top.
    let outcomes = [true, false].map(|legacy_first| drafted(legacy, ltr, || legacy_first).order);
    let groups = legacy.iter().take(TOP).flat_map(|&at| &candidates[at].groups);
    groups
        .filter(|(_, group)| !group.is_empty())
        .filter(|(attribute, group)| shows(candidates, ltr, attribute, group))
        .all(|(attribute, group)| outcomes.iter().all(|order| shows(candidates, order, attribute, group)))
}

/// Whether one of the first [`TOP`] is of this group.
pub(crate) fn shows(candidates: &[Candidate], order: &[usize], attribute: &str, group: &str) -> bool {
    let mut top = order.iter().take(TOP);
    top.any(|&at| candidates[at].groups.get(attribute).is_some_and(|of| of == group))
}

/// Rounds, until all are taken. Where the captains want two lawyers, neither can take the other's: both picks are made,
/// and the coin decides their order alone.
fn drafted(legacy: &[usize], ltr: &[usize], mut legacy_first: impl FnMut() -> bool) -> Draft {
    let mut draft = Draft {
        order: Vec::with_capacity(legacy.len()),
        drafted_by: Vec::with_capacity(legacy.len()),
    };
    let mut taken = vec![false; legacy.len()];
    let mut captains = [legacy.iter(), ltr.iter()];
    loop {
        let [of_legacy, of_ltr] = captains.each_mut().map(|best| best.find(|&&at| !taken[at]));
        let (Some(&of_legacy), Some(&of_ltr)) = (of_legacy, of_ltr) else {
            return draft;
        };
        let mut picks = [(of_legacy, Source::Legacy), (of_ltr, Source::Ltr)];
        if of_legacy == of_ltr {
            picks[0].1 = Source::Interleaved;
        } else if !legacy_first() {
            picks.reverse();
        }
        for (at, team) in picks {
            if !taken[at] {
                taken[at] = true;
                draft.order.push(at);
                draft.drafted_by.push(team);
            }
        }
    }
}

fn assert_permutation(order: &[usize], n: usize) {
    let mut seen = vec![false; n];
    for &at in order {
        assert!(
            !std::mem::replace(&mut seen[at], true),
            "candidate {at} is ranked twice"
        );
    }
    assert_eq!(order.len(), n, "every candidate is ranked");
}

/// Who won a case: 1 LTR, -1 legacy, 0 neither. By the gains ([`Grade::gain`]) of the lawyers that each team brought in,
/// counting outcomes of at least `least`: [`Grade::Contracted`] for contracts alone, [`Grade::Clicked`] for all.
///
/// `drafted_by` and `grades`: one a lawyer, in shown order. Over cases this is the D of a paired test; see
/// [`crate::statistics::betting::from_difference`].
///
/// # Panics
/// The lengths differ.
pub fn credit(drafted_by: &[Source], grades: &[Grade], least: Grade) -> i8 {
    assert_eq!(drafted_by.len(), grades.len(), "one grade a lawyer");
    let of = |team: Source| -> f64 {
        let outcomes = drafted_by.iter().zip(grades);
        let own = outcomes.filter(|(by, grade)| **by == team && **grade >= least);
        own.map(|(_, grade)| grade.gain()).sum()
    };
    // Gains are integers: the comparison is exact.
    match of(Source::Ltr).total_cmp(&of(Source::Legacy)) {
        Ordering::Greater => 1,
        Ordering::Less => -1,
        Ordering::Equal => 0,
    }
}

/// The coins of a draft as swaps of neighbours, so that interleaved traffic says what tossed swaps do; see
/// [`crate::propensities::Swaps`]. Rounds do not depend on coins, so each contested pair stands at two neighbouring
/// places whichever way its coin fell.
///
/// `drafted_by`: one a lawyer, in shown order, as [`draft`] made it.
pub fn tosses(drafted_by: &[Source]) -> Vec<Coin> {
    let contested = drafted_by
        .iter()
        .zip(1_u32..)
        .filter(|(by, _)| **by != Source::Interleaved);
    let contested: Vec<(&Source, u32)> = contested.collect();
    let pairs = contested.chunks_exact(2);
    pairs
        .map(|pair| Coin {
            pair: [pair[0].1, pair[1].1],
            swapped: *pair[0].0 == Source::Ltr,
            probability: 0.5,
        })
        .collect()
}

#[cfg(test)]
mod tests;
