//! The distinct cases of a log, and where the contracted ones were ranked: 6 bytes a case, 20 with a contract.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use uuid::Uuid;
use xxhash_rust::xxh64::xxh64;

/// Entries are spread over this many vectors by the first byte of their hash, so that sorting one, or growing it, needs
/// little memory beside it.
const BUCKETS: usize = 256;

/// Where each ranking put the contracted lawyer of a case; 1-based.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
/// Contracted cases are told apart by their ids, and the others by 56 bits of a hash. Of `n` cases, the number of pairs
/// that are taken for one is n^2 / 2^57 on average: at a million cases, 1 of 140,000 counts is too low, by one.
#[derive(Clone, Debug)]
pub(super) struct Cases {
    buckets: Vec<Bucket>,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    /// Of cases in whose comparison nobody signed; another comparison of the case may have a contract.
    open: Vec<Fingerprint>,
    contracted: Vec<Contracted>,
}

/// The bytes of a case's hash that do not choose the bucket; one of the eight is not used.
type Fingerprint = [u8; 6];

/// 20 bytes, because a `Uuid` is bytes.
#[derive(Clone, Copy, Debug)]
struct Contracted {
    case: Uuid,
    ranks: Ranks,
}

impl Cases {
    pub(super) fn new() -> Cases {
        Cases {
            buckets: vec![Bucket::default(); BUCKETS],
        }
    }

    /// Adds the case of a comparison, with the ranks of its contracted lawyer if it has one.
    pub(super) fn add(&mut self, case: Uuid, contracted: Option<Ranks>) {
        let (bucket, fingerprint) = place(case);
        let Bucket {
            open,
            contracted: signed,
        } = &mut self.buckets[bucket];
        match contracted {
            None => push(open, fingerprint, settle_open),
            Some(ranks) => push(signed, Contracted { case, ranks }, settle_contracted),
        }
    }

    /// The number of distinct cases, and the best ranks of each contracted case, in the order of the cases' ids.
    pub(super) fn finish(mut self) -> (u64, Vec<Ranks>) {
        let mut cases = 0;
        let mut contracted = Vec::with_capacity(BUCKETS);
        for bucket in &mut self.buckets {
            let Bucket {
                mut open,
                contracted: mut signed,
            } = std::mem::take(bucket);
            settle_open(&mut open);
            settle_contracted(&mut signed);
            let only_signed = signed
                .iter()
                .filter(|entry| open.binary_search(&place(entry.case).1).is_err());
            cases += open.len() + only_signed.count();
            contracted.push(signed);
        }
        (cases as u64, in_order(contracted))
    }
}

/// The bucket and the fingerprint of a case.
fn place(case: Uuid) -> (usize, Fingerprint) {
    let [bucket, _, fingerprint @ ..] = xxh64(case.as_bytes(), 0).to_be_bytes();
    (usize::from(bucket), fingerprint)
}

/// Appends an entry. A full vector is settled, and grows by a sixteenth if that does not make room: doubling would leave
/// up to half of the memory empty. Most of what is sorted is sorted already, which a stable sort makes use of.
fn push<T>(entries: &mut Vec<T>, entry: T, settle: fn(&mut Vec<T>)) {
    if entries.len() == entries.capacity() {
        settle(entries);
        let room = (entries.len() / 16).max(8);
        if entries.capacity() - entries.len() < room {
            entries.reserve_exact(room);
        }
    }
    entries.push(entry);
}

fn settle_open(entries: &mut Vec<Fingerprint>) {
    entries.sort();
    entries.dedup();
}

fn settle_contracted(entries: &mut Vec<Contracted>) {
    entries.sort_by_key(|entry| entry.case);
    entries.dedup_by(|again, kept| {
        let is_same = again.case == kept.case;
        if is_same {
            kept.ranks = kept.ranks.best(again.ranks);
        }
        is_same
    });
}

/// Merges sorted vectors.
fn in_order(buckets: Vec<Vec<Contracted>>) -> Vec<Ranks> {
    let mut ranks = Vec::with_capacity(buckets.iter().map(Vec::len).sum());
    let mut rest: Vec<_> = buckets.into_iter().map(Vec::into_iter).collect();
    let mut next = BinaryHeap::with_capacity(rest.len());
    let entry = |bucket: usize, of: Contracted| Reverse((of.case, of.ranks, bucket));
    for (bucket, rest) in rest.iter_mut().enumerate() {
        next.extend(rest.next().map(|first| entry(bucket, first)));
    }
    while let Some(Reverse((_, lowest, bucket))) = next.pop() {
        ranks.push(lowest);
        next.extend(rest[bucket].next().map(|following| entry(bucket, following)));
    }
    ranks
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cases_are_counted_and_contracts_have_their_best_ranks(
            added in proptest::collection::vec((0u128..400, proptest::option::weighted(0.3, [1u16..9, 1u16..9])), 0..3000)
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

    #[test]
    fn a_case_takes_little_memory_whatever_its_id_and_however_often_it_comes() {
        let mut cases = Cases::new();
        for _ in 0..3 {
            for n in 0..100_000 {
                let ranks = Ranks { legacy: 1, ltr: 2 };
                // As a client that counts would number its cases.
                cases.add(Uuid::from_u128(n << 64), (n % 4 == 0).then_some(ranks));
            }
        }
        let bytes = |bucket: &Bucket| 6 * bucket.open.capacity() + 20 * bucket.contracted.capacity();
        let bytes: usize = cases.buckets.iter().map(bytes).sum();
        assert_eq!(size_of::<Contracted>(), 20);
        assert!(
            bytes < 1_100_000,
            "75,000 times 6 and 25,000 times 20 are 950,000, not {bytes}"
        );
        assert_eq!(cases.finish().0, 100_000);
    }
}
