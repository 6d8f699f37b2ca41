//! Swaps of neighbours on purpose, so that attention can be told from relevance: for a share of the users, a fair coin
//! decides whether two neighbours of the displayed ranking change places. What the tosses say:
//! [`crate::propensities::Swaps`].
//!
//! Whoever is in the share is outside the arms that rankings are compared by, also where no coin is tossed: whether one
//! may be tossed depends on the ranking, so the rest would be other cases of one ranking than of another.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::candidates::Candidate;
use crate::events::Coin;
use crate::fairness::Ranked;
use crate::interleaving::{Coins, TOP, shows};
use crate::sampling::{Sampler, SamplerError};

/// The lowest upper place of a pair.
pub const LOWEST: u32 = 99;

/// The largest weight of a pair.
pub const HEAVIEST: f64 = 1e6;

/// Two neighbouring places over which a coin may be tossed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The upper place, from 1 to [`LOWEST`]; the lower one is the next.
    pub upper: u32,
    /// How often this pair is chosen, relative to the other pairs' weights; above 0, at most [`HEAVIEST`].
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

impl Pair {
    /// The first two places. They say most: they have most clicks, and attention falls most between them.
    pub const FIRST: Pair = Pair { upper: 1, weight: 1.0 };

    /// Both places, from 1.
    pub fn places(&self) -> [u32; 2] {
        [self.upper, self.upper + 1]
    }
}

/// Who is in the share, and which pairs are tossed.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    sampler: Sampler,
    pairs: Vec<Pair>,
}

/// A design that there cannot be.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum InvalidDesign {
    /// The share is none.
    #[error(transparent)]
    Share(#[from] SamplerError),
    /// There is no pair.
    #[error("there is no pair")]
    NoPair,
    /// An upper place that is 0 or too low.
    #[error("upper is {0}")]
    Place(u32),
    /// A pair that is named twice.
    #[error("upper is {0} twice")]
    Twice(u32),
    /// A weight that is not above 0, or too large.
    #[error("the weight of upper {upper} is {weight}")]
    Weight {
        /// The pair's upper place.
        upper: u32,
        /// Its weight.
        weight: f64,
    },
}

impl Design {
    /// A design for this share of the users, 0 to 1. `salt` is the sampler's alone, so that it is independent of the others.
    ///
    /// # Errors
    /// A share that is none, no pair, or a pair that is none.
    pub fn new(salt: &str, share: f64, pairs: &[Pair]) -> Result<Design, InvalidDesign> {
        let sampler = Sampler::new(salt, share)?;
        if pairs.is_empty() {
            return Err(InvalidDesign::NoPair);
        }
        for (at, Pair { upper, weight }) in pairs.iter().copied().enumerate() {
            if !(1..=LOWEST).contains(&upper) {
                return Err(InvalidDesign::Place(upper));
            }
            if pairs[..at].iter().any(|other| other.upper == upper) {
                return Err(InvalidDesign::Twice(upper));
            }
            if !(weight > 0.0 && weight <= HEAVIEST) {
                return Err(InvalidDesign::Weight { upper, weight });
            }
        }
        Ok(Design {
            sampler,
            pairs: pairs.to_vec(),
        })
    }

    /// Whether this user is in the share. `user` gives the pseudonym, and is asked only if there is a share.
    pub fn selects(&self, user: impl FnOnce() -> Uuid) -> bool {
        self.sampler.threshold() > 0 && self.sampler.selects_key(user().as_bytes())
    }

    /// Tosses a coin over one pair of the places that are shown. `None`: the pair is not shown, or swapped it would break a
    /// promise of the re-rank ([`keeps_promises`]). That does not depend on how the coin falls, which would load it.
    pub fn toss(&self, coins: &mut Coins, candidates: &[Candidate], shown: &[Ranked]) -> Option<Coin> {
        let pair = self.choose(coins.uniform());
        let swapped = coins.toss();
        keeps_promises(candidates, shown, pair.upper as usize - 1).then_some(Coin {
            pair: pair.places(),
            swapped,
            probability: 0.5,
        })
    }

    /// The pair at this point of all weights, 0 to below 1.
    fn choose(&self, at: f64) -> Pair {
        let mut left = at * self.pairs.iter().map(|pair| pair.weight).sum::<f64>();
        let chosen = self.pairs.iter().find(|pair| {
            left -= pair.weight;
            left < 0.0
        });
        // Sums are rounded: what is left over belongs to the last.
        *chosen.unwrap_or(&self.pairs[self.pairs.len() - 1])
    }
}

/// Whether the lawyers at the index `upper` and behind it may change places: both are shown, the score alone has put the
/// upper one there ([`Ranked::leads_by_score`]), and each group that is visible among the first [`TOP`] stays so.
pub fn keeps_promises(candidates: &[Candidate], shown: &[Ranked], upper: usize) -> bool {
    let (Some(ahead), Some(behind)) = (shown.get(upper), shown.get(upper + 1)) else {
        return false;
    };
    if !ahead.leads_by_score(behind) {
        return false;
    }
    if upper + 1 != TOP {
        // The first places have the same lawyers afterwards.
        return true;
    }
    let mut top: Vec<usize> = shown.iter().take(TOP).map(|ranked| ranked.index).collect();
    top[upper] = behind.index;
    let groups = candidates[ahead.index].groups.iter();
    groups
        .filter(|(_, group)| !group.is_empty())
        .all(|(attribute, group)| shows(candidates, &top, attribute, group))
}

#[cfg(test)]
mod tests;
