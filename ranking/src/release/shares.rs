//! Who gets which ranking: by a hash of the user, so that a user stays in an arm whatever gateway
//! answers, and analysis by intention to treat is possible. The arm does not depend on what happened:
//! a fallback changes what a user sees, and not the arm.

use uuid::Uuid;

use super::Exposure;
use crate::events::Policy;
use crate::sampling::{Sampler, SamplerError};

/// The two samplers, each with a salt of its own, so that they are independent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    ladder: Sampler,
    hold_out: Sampler,
}

/// The arm of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arm {
    /// Whether LTR answers.
    pub is_ltr: bool,
    /// Which sampler decided; [`Policy::None`] where all users get the same.
    pub policy: Policy,
}

impl Shares {
    /// Samplers with these salts.
    ///
    /// # Errors
    /// Never; the signature is that of [`Sampler::new`].
    pub fn new(ladder_salt: &str, hold_out_salt: &str) -> Result<Shares, SamplerError> {
        Ok(Shares {
            ladder: Sampler::new(ladder_salt, 0.0)?,
            hold_out: Sampler::new(hold_out_salt, 0.0)?,
        })
    }

    /// The arm at this exposure. `user` gives the user's pseudonym, which is also what the log has, so
    /// that an analysis finds the arm again; it is asked for only if chance decides. A user who is in at
    /// one share is in at every larger one.
    pub fn arm(&self, exposure: &Exposure, user: impl FnOnce() -> Uuid) -> Arm {
        let all = |is_ltr| Arm {
            is_ltr,
            policy: Policy::None,
        };
        if exposure.share <= 0.0 {
            return all(false);
        }
        if exposure.share >= 1.0 && exposure.hold_out <= 0.0 {
            return all(true);
        }
        let user = user();
        // A share outside 0 to 1 selects nobody.
        let selects = |sampler: &Sampler, share| {
            sampler
                .at(share)
                .is_ok_and(|sampler| sampler.selects_key(user.as_bytes()))
        };
        if selects(&self.hold_out, exposure.hold_out) {
            return Arm {
                is_ltr: false,
                policy: Policy::HoldOut,
            };
        }
        if exposure.share >= 1.0 {
            return all(true);
        }
        Arm {
            is_ltr: selects(&self.ladder, exposure.share),
            policy: Policy::Rung,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares() -> Shares {
        Shares::new("ltr-rollout-v1", "ltr-hold-out-v1").unwrap()
    }

    fn users(n: u128) -> impl Iterator<Item = Uuid> {
        (0..n).map(|i| Uuid::from_u128((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)))
    }

    fn live(hold_out: f64) -> Exposure {
        Exposure {
            hold_out,
            ..Exposure::whole(1.0)
        }
    }

    #[test]
    fn five_per_cent_of_live_users_are_held_out() {
        let arms: Vec<Arm> = users(40_000).map(|user| shares().arm(&live(0.05), || user)).collect();
        let held = arms.iter().filter(|arm| arm.policy == Policy::HoldOut).count();
        // Five standard deviations of a binomial around 2,000.
        assert!((1_782..=2_218).contains(&held), "{held}");
        assert!(arms.iter().all(|arm| arm.is_ltr == (arm.policy == Policy::None)));
    }

    #[test]
    fn a_rung_takes_its_share_independently_of_the_hold_out() {
        let rung = Exposure {
            hold_out: 0.5,
            ..Exposure::whole(0.2)
        };
        let ltr = users(40_000)
            .filter(|user| shares().arm(&rung, || *user).is_ltr)
            .count();
        assert!((3_700..=4_300).contains(&ltr), "{ltr} of 4,000 expected");
    }

    #[test]
    fn where_all_get_the_same_nobody_is_asked_who_they_are() {
        let asked = || panic!("nothing is decided by the user");
        assert!(!shares().arm(&Exposure::NONE, asked).is_ltr);
        assert!(shares().arm(&live(0.0), asked).is_ltr);
    }

    proptest! {
        #[test]
        fn whoever_is_in_stays_in_while_the_share_rises(bits in any::<u128>(), a in 0.0..=1.0, b in 0.0..=1.0) {
            let user = Uuid::from_u128(bits);
            let (small, large) = (f64::min(a, b), f64::max(a, b));
            let is_in = |share| shares().arm(&Exposure::whole(share), || user).is_ltr;
            prop_assert!(!is_in(small) || is_in(large));
        }
    }
}
