//! The distinct cases of a log, and where the contracted ones were ranked: 6 bytes a case, 28 with a contract.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
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

/// The contract of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contract {
    /// Days since 1970, in UTC, of the first comparison.
    pub day: u16,
    /// Of the user's pseudonym.
    pub user: Fingerprint,
    pub ranks: Ranks,
}

impl Contract {
    /// Of a case that was compared on this day.
    pub(super) fn new(ts_utc: DateTime<Utc>, user: Uuid, ranks: Ranks) -> Contract {
        let day = ts_utc.timestamp().div_euclid(SECONDS_A_DAY);
        Contract {
            // Two centuries fit; what lies outside is of its first or its last day.
            day: day.clamp(0, i64::from(u16::MAX)) as u16,
            user: fingerprint(user),
            ranks,
        }
    }

    /// Of the same case, compared twice. The earlier day counts, and of one day the lesser fingerprint.
    fn with(self, again: Contract) -> Contract {
        let ranks = self.ranks.best(again.ranks);
        let first = if (again.day, again.user) < (self.day, self.user) {
            again
        } else {
            self
        };
        Contract { ranks, ..first }
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
pub(super) type Fingerprint = [u8; 6];

const SECONDS_A_DAY: i64 = 86_400;

/// 28 bytes, because a `Uuid` is bytes. Equal if case and user are: whoever has somebody else's case compared says nothing
/// of it in the other's name.
#[derive(Clone, Copy, Debug)]
struct Contracted {
    case: Uuid,
    contract: Contract,
}

impl Ord for Contracted {
    fn cmp(&self, other: &Contracted) -> Ordering {
        (self.case, self.contract.user).cmp(&(other.case, other.contract.user))
    }
}

impl PartialOrd for Contracted {
    fn partial_cmp(&self, other: &Contracted) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Contracted {
    fn eq(&self, other: &Contracted) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Contracted {}

impl Cases {
    pub(super) fn new() -> Cases {
        Cases {
            open: Sorted::new(|_, _| {}),
            contracted: Sorted::new(|kept, again| kept.contract = kept.contract.with(again.contract)),
        }
    }

    /// Adds the case of a comparison, with its contract if it has one.
    pub(super) fn add(&mut self, case: Uuid, contract: Option<Contract>) {
        match contract {
            None => self.open.add(fingerprint(case)),
            Some(contract) => self.contracted.add(Contracted { case, contract }),
        }
    }

    /// What all of these cases come to.
    pub(super) fn finish(self) -> Closed {
        let (open, contracted) = (self.open.finish(), self.contracted.finish());
        let mut last = None;
        let firsts_of_cases = contracted
            .iter()
            .filter(|entry| last.replace(entry.case) != Some(entry.case));
        let only_contracted = firsts_of_cases.filter(|entry| !open.contains(&fingerprint(entry.case)));
        let cases = (open.len() + only_contracted.count()) as u64;
        drop(open);
        let mut closed = Closed {
            cases,
            contracts: Vec::with_capacity(contracted.len()),
            firsts: BTreeMap::new(),
        };
        let mut last = None;
        for &Contracted { case, contract } in contracted.iter() {
            match closed.contracts.last_mut() {
                Some(of_case) if last == Some(case) => *of_case = contract.with(*of_case),
                _ => closed.contracts.push(contract),
            }
            last = Some(case);
            let first = closed.firsts.entry(contract.user).or_insert(contract);
            // Cases come in the order of their ids, so that the least id of the first day stays.
            if contract.day < first.day {
                *first = contract;
            }
        }
        closed
    }
}

/// What cases come to.
#[derive(Debug, PartialEq)]
pub(super) struct Closed {
    /// Distinct cases.
    pub cases: u64,
    /// The contract of each contracted case with its best ranks, in the order of the cases' ids.
    pub contracts: Vec<Contract>,
    /// By user, the contract that counts where a user counts once: the first, which has nothing to do with how it was
    /// ranked; of one day the one of the least case id. Its ranks are those of the user's own comparisons.
    pub firsts: BTreeMap<Fingerprint, Contract>,
}

fn fingerprint(id: Uuid) -> Fingerprint {
    let [fingerprint @ .., _, _] = xxh64(id.as_bytes(), 0).to_be_bytes();
    fingerprint
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_contract_takes_28_bytes() {
        assert_eq!(size_of::<Contracted>(), 28);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]
        #[test]
        fn cases_are_counted_and_contracts_have_their_best_ranks(
            added in proptest::collection::vec(
                (0u128..1500, proptest::option::weighted(0.3, ([1u16..9, 1u16..9], 0i64..50, 0u128..3))), 0..9000)
        ) {
            let mut cases = Cases::new();
            let mut distinct = BTreeSet::new();
            let mut best: BTreeMap<u128, (u16, Fingerprint, Ranks)> = BTreeMap::new();
            for (case, contract) in added {
                let contract = contract.map(|([legacy, ltr], hours, user)| {
                    let ts_utc = DateTime::from_timestamp(3600 * hours, 0).unwrap();
                    Contract::new(ts_utc, Uuid::from_u128(user), Ranks { legacy, ltr })
                });
                cases.add(Uuid::from_u128(case), contract);
                distinct.insert(case);
                if let Some(Contract { day, user, ranks }) = contract {
                    let kept = best.entry(case).or_insert((day, user, ranks));
                    let first = (kept.0, kept.1).min((day, user));
                    *kept = (first.0, first.1, kept.2.best(ranks));
                }
            }
            let closed = cases.finish();
            prop_assert_eq!(closed.cases, distinct.len() as u64);
            let expected = best.into_values().map(|(day, user, ranks)| Contract { day, user, ranks });
            prop_assert_eq!(closed.contracts, expected.collect::<Vec<_>>());
        }
    }
}
