//! The memory budget of all request bodies together.

use std::cmp::Ordering;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use metrics::counter;

use crate::http::error::ApiError;

/// Bodies above this size, in bytes, are large: their decoding takes longer than other requests
/// should wait.
pub(super) const LARGE: usize = 256 << 10;
/// Bodies up to this size, in bytes, are not counted and never refused. The limit of connections
/// bounds their number, and each connection reads as much ahead anyway.
pub(super) const UNCOUNTED: usize = 64 << 10;

/// The budget. A quarter of it is reserved for bodies that are not large, so that bulk loads do not
/// block rankings.
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

    /// The maximum of held bytes after a body of `bytes` is added.
    fn limit(&self, bytes: usize) -> usize {
        if bytes > LARGE {
            self.total - self.total / 4
        } else {
            self.total
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

/// The part of the budget that one body holds. Released on drop, however its request ends.
pub struct Claim<'b> {
    budget: &'b Budget,
    bytes: usize,
}

impl<'b> Claim<'b> {
    /// An empty claim. It grows by [`Claim::resize`].
    pub fn new(budget: &'b Budget) -> Claim<'b> {
        Claim { budget, bytes: 0 }
    }

    /// Checks that a body of `bytes` has room now. Claims nothing.
    ///
    /// # Errors
    /// 503 if it has no room.
    pub fn check(&self, bytes: usize) -> Result<(), ApiError> {
        let fits = bytes <= UNCOUNTED || self.budget.held().saturating_add(bytes) <= self.budget.limit(bytes);
        if fits { Ok(()) } else { Err(self.refuse()) }
    }

    /// Changes the claim to `bytes` in total.
    ///
    /// # Errors
    /// 503 if there is no room; the claim is then unchanged.
    pub fn resize(&mut self, bytes: usize) -> Result<(), ApiError> {
        let limit = self.budget.limit(bytes);
        // A body larger than its limit claims all of it, so it passes only alone.
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
                    "no room for this body within the {total} MiB of all request bodies (host.max_body_total_mb); retry later"
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
    fn large_bodies_leave_a_quarter_free_and_small_ones_always_pass() {
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
    fn a_refusal_names_the_key_and_when_to_retry() {
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
        fn claims_never_exceed_the_total_and_are_all_released(
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
