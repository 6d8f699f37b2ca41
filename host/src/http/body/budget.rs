//! The bytes that all request bodies together may hold.

use std::cmp::Ordering;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use metrics::counter;

use crate::http::error::ApiError;

/// A body whose decoding takes longer than other requests should wait for, in bytes.
pub const LARGE: usize = 256 << 10;
/// A body up to this size is not counted and never refused: the connections bound how many there are, and as much is
/// read ahead for each of them anyway.
pub const UNCOUNTED: usize = 64 << 10;

/// Room for bodies. A quarter of it is kept for those that are not large, so that bulk loads leave cases to be ranked.
pub struct Budget {
    total: usize,
    held: AtomicUsize,
}

impl Budget {
    pub fn new(total: usize) -> Budget {
        Budget {
            total,
            held: AtomicUsize::new(0),
        }
    }

    pub fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// What may be held when a body of `bytes` has come to it.
    fn limit(&self, bytes: usize) -> usize {
        match bytes > LARGE {
            true => self.total - self.total / 4,
            false => self.total,
        }
    }

    fn take(&self, more: usize, limit: usize) -> bool {
        let add = |held: usize| held.checked_add(more).filter(|&held| held <= limit);
        self.held.fetch_update(Relaxed, Relaxed, add).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Relaxed);
    }
}

/// What one body holds. Given back on drop, however its request ends.
pub struct Claim<'b> {
    budget: &'b Budget,
    bytes: usize,
}

impl<'b> Claim<'b> {
    pub fn new(budget: &'b Budget) -> Claim<'b> {
        Claim { budget, bytes: 0 }
    }

    /// Whether a body of `bytes` would have room now. Takes none.
    ///
    /// # Errors
    /// 503 where it has not.
    pub fn check(&self, bytes: usize) -> Result<(), ApiError> {
        let fits = bytes <= UNCOUNTED || self.budget.held().saturating_add(bytes) <= self.budget.limit(bytes);
        if fits { Ok(()) } else { Err(self.refuse()) }
    }

    /// Holds `bytes` in all from now on, more or fewer than before.
    ///
    /// # Errors
    /// 503 where there is no room for more; it holds what it held.
    pub fn resize(&mut self, bytes: usize) -> Result<(), ApiError> {
        let limit = self.budget.limit(bytes);
        // What would never fit beside another takes all there is, and passes alone.
        let counted = if bytes <= UNCOUNTED { 0 } else { bytes.min(limit) };
        match counted.cmp(&self.bytes) {
            Ordering::Equal => {}
            Ordering::Less => self.budget.give_back(self.bytes - counted),
            Ordering::Greater if self.budget.take(counted - self.bytes, limit) => {}
            Ordering::Greater => return Err(self.refuse()),
        }
        self.bytes = counted;
        Ok(())
    }

    fn refuse(&self) -> ApiError {
        counter!("ltr_bodies_refused_total").increment(1);
        let total = self.budget.total >> 20;
        ApiError {
            allowed: Some(format!("{total} MiB for all bodies together (host.max_body_total_mb)")),
            closes: true,
            ..ApiError::unavailable(
                "bodies_full",
                format!(
                    "other request bodies fill the {total} MiB that all of them may hold together (host.max_body_total_mb); send it again later"
                ),
            )
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1 << 20;

    fn claim(budget: &Budget, bytes: usize) -> Option<Claim<'_>> {
        let mut claim = Claim::new(budget);
        claim.resize(bytes).ok().map(|()| claim)
    }

    #[test]
    fn large_bodies_leave_a_quarter_to_the_others_and_small_ones_always_pass() {
        let budget = Budget::new(8 * MIB);
        let large: Vec<Claim> = (0..20).map_while(|_| claim(&budget, MIB)).collect();
        assert_eq!((large.len(), budget.held()), (6, 6 * MIB));
        let medium: Vec<Claim> = (0..20).map_while(|_| claim(&budget, LARGE)).collect();
        assert_eq!((medium.len(), budget.held()), (8, 8 * MIB));
        assert!((0..10_000).all(|_| claim(&budget, UNCOUNTED).is_some()));
        drop((large, medium));
        assert_eq!(budget.held(), 0);
        let huge = claim(&budget, 100 * MIB);
        assert!(
            huge.is_some() && claim(&budget, MIB).is_none(),
            "alone, anything passes"
        );
    }

    #[test]
    fn a_refusal_names_the_key_and_says_when_to_come_again() {
        let budget = Budget::new(MIB);
        let _other = claim(&budget, MIB / 2);
        let mut claim = Claim::new(&budget);
        let error = claim.resize(MIB / 2).unwrap_err();
        assert_eq!((error.status.as_u16(), error.retry_after), (503, Some(1)));
        assert!(error.message.contains("host.max_body_total_mb"), "{}", error.message);
        assert_eq!(budget.held(), MIB / 2);
    }

    proptest! {
        #[test]
        fn never_more_is_held_than_the_total_and_nothing_is_left_behind(
            sizes in prop::collection::vec((0..8_usize, 0..4 * MIB), 1..200)
        ) {
            let budget = Budget::new(8 * MIB);
            let mut claims: Vec<Claim> = (0..8).map(|_| Claim::new(&budget)).collect();
            for (which, bytes) in sizes {
                let before = claims[which].bytes;
                if claims[which].resize(bytes).is_err() {
                    prop_assert_eq!(claims[which].bytes, before);
                }
                prop_assert!(budget.held() <= 8 * MIB);
                prop_assert_eq!(budget.held(), claims.iter().map(|claim| claim.bytes).sum::<usize>());
            }
            drop(claims);
            prop_assert_eq!(budget.held(), 0);
        }
    }
}
