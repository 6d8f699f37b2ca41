//! The distinct cases of a log, and where the contracted ones were ranked: 6 bytes a case, 20 with a contract.

use std::cmp::Ordering;

use uuid::Uuid;
use xxhash_rust::xxh64::xxh64;

use super::sorted::Sorted;

/// Where each ranking put the contracted lawyer of a case; 1-based.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ranks {
    pub legacy: u16,
    pub ltr: u16,
}

impl Ranks {
    /// The better rank of each ranking.
    pub(super) fn best(self, other: Ranks) -> Ranks {
        Ranks {
            legacy: self.legacy.min(other.legacy),
            ltr: self.ltr.min(other.ltr),
        }
    }
}

/// Cases as comparisons name them: in any order, and more than once.
///
/// Contracted cases are told apart by their ids, and the others by 48 bits of a hash. Of `n` cases, the number of pairs
/// that are taken for one is n^2 / 2^49 on average: with 3,000 cases one count of 60 million is too low, with a million
/// one of 560, and then by one.
#[derive(Clone, Debug)]
pub(super) struct Cases {
    /// Of cases in whose comparison nobody signed; another comparison of the case may have a contract.
    open: Sorted<Fingerprint>,
    contracted: Sorted<Contracted>,
}

/// Six of the eight bytes of a case's hash.
type Fingerprint = [u8; 6];

/// 20 bytes, because a `Uuid` is bytes. Equal if the case is.
#[derive(Clone, Copy, Debug)]
struct Contracted {
    case: Uuid,
    ranks: Ranks,
}

impl Ord for Contracted {
    fn cmp(&self, other: &Contracted) -> Ordering {
        self.case.cmp(&other.case)
    }
}

impl PartialOrd for Contracted {
    fn partial_cmp(&self, other: &Contracted) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Contracted {
    fn eq(&self, other: &Contracted) -> bool {
        self.case == other.case
    }
}

impl Eq for Contracted {}

impl Cases {
    pub(super) fn new() -> Cases {
        Cases {
            open: Sorted::new(|_, _| {}),
            contracted: Sorted::new(|kept, again| kept.ranks = kept.ranks.best(again.ranks)),
        }
    }

    /// Adds the case of a comparison, with the ranks of its contracted lawyer if it has one.
    pub(super) fn add(&mut self, case: Uuid, contracted: Option<Ranks>) {
        match contracted {
            None => self.open.add(fingerprint(case)),
            Some(ranks) => self.contracted.add(Contracted { case, ranks }),
        }
    }

    /// The number of distinct cases, and the best ranks of each contracted case, in the order of the cases' ids.
    pub(super) fn finish(self) -> (u64, Vec<Ranks>) {
        let (open, contracted) = (self.open.finish(), self.contracted.finish());
        let only_contracted = contracted
            .iter()
            .filter(|entry| !open.contains(&fingerprint(entry.case)));
        let cases = open.len() + only_contracted.count();
        drop(open);
        let mut ranks = Vec::with_capacity(contracted.len());
        ranks.extend(contracted.iter().map(|entry| entry.ranks));
        (cases as u64, ranks)
    }
}

fn fingerprint(case: Uuid) -> Fingerprint {
    let [fingerprint @ .., _, _] = xxh64(case.as_bytes(), 0).to_be_bytes();
    fingerprint
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_contract_takes_twenty_bytes() {
        assert_eq!(size_of::<Contracted>(), 20);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]
        #[test]
        fn cases_are_counted_and_contracts_have_their_best_ranks(
            added in proptest::collection::vec((0u128..1500, proptest::option::weighted(0.3, [1u16..9, 1u16..9])), 0..9000)
        ) {
            let mut cases = Cases::new();
            let mut distinct = BTreeSet::new();
            let mut best: BTreeMap<u128, Ranks> = BTreeMap::new();
            for (case, ranks) in added {
                let ranks = ranks.map(|[legacy, ltr]| Ranks { legacy, ltr });
                cases.add(Uuid::from_u128(case), ranks);
                distinct.insert(case);
                if let Some(ranks) = ranks {
                    best.entry(case).and_modify(|kept| *kept = kept.best(ranks)).or_insert(ranks);
                }
            }
            let (count, ranks) = cases.finish();
            prop_assert_eq!(count, distinct.len() as u64);
            prop_assert_eq!(ranks, best.into_values().collect::<Vec<_>>());
        }
    }
}
