//! Sampling of requests by a salted hash of the request id, or of another key.

use thiserror::Error;
use uuid::Uuid;
use xxhash_rust::xxh64::xxh64;

/// The character of `x-request-id` that Envoy rewrites (it packs the trace reason into the UUID's version digit).
const REWRITTEN_BY_ENVOY: usize = 14;

/// An id that Envoy made, without what it has written into it since: the same for every hop, traced or not. Any other
/// id stays as it is.
pub fn unrewritten(request_id: Uuid) -> Uuid {
    let mut bytes = request_id.into_bytes();
    // The character is the version. Envoy makes version 4, and writes 9, a or b, which no UUID has, for what is traced.
    if matches!(bytes[6] >> 4, 0x9..=0xb) {
        bytes[6] = bytes[6] & 0x0F | 0x40;
    }
    Uuid::from_bytes(bytes)
}

/// Decides for each request id whether it is in the sample. The same id always gets the same answer, on any
/// machine; samplers with different salts are independent of each other.
///
/// The hash is XXH64, because a proxy can compute it by itself (Envoy's `consistent_hashing` matcher, with the seed, the
/// modulus and the threshold given here) and so leave alone what is not chosen. It scatters, and hides nothing: who knows
/// the salt knows who is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampler {
    seed: u64,
    /// Keys whose hash, divided by [`Sampler::MODULUS`], leaves less than this are in.
    threshold: u32,
}

/// A fraction that is not one.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("the sampled fraction is {0}; allowed: 0 to 1")]
pub struct SamplerError(pub f64);

impl Sampler {
    /// Shares are counted in millionths.
    pub const MODULUS: u32 = 1_000_000;

    /// A sampler of this share, to the nearest millionth; a share that is not 0 takes at least one.
    ///
    /// # Errors
    /// A fraction outside [0, 1], or NaN.
    pub fn new(salt: &str, fraction: f64) -> Result<Sampler, SamplerError> {
        Sampler {
            seed: xxh64(salt.as_bytes(), 0),
            threshold: 0,
        }
        .at(fraction)
    }

    /// A sampler of another share with the same salt: the smaller of the two samples is part of the larger one.
    ///
    /// # Errors
    /// As [`Sampler::new`].
    pub fn at(&self, fraction: f64) -> Result<Sampler, SamplerError> {
        if !(0.0..=1.0).contains(&fraction) {
            return Err(SamplerError(fraction));
        }
        let millionths = (fraction * f64::from(Self::MODULUS)).round() as u32;
        Ok(Sampler {
            seed: self.seed,
            threshold: millionths.max(u32::from(fraction > 0.0)),
        })
    }

    /// The share of requests this sampler takes.
    pub fn fraction(&self) -> f64 {
        f64::from(self.threshold) / f64::from(Self::MODULUS)
    }

    /// XXH64's seed: XXH64 of the salt, with the seed 0.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many millionths this sampler takes.
    pub fn threshold(&self) -> u32 {
        self.threshold
    }

    /// Whether this request is in the sample, by its id in lowercase hyphenated form with `4` for the character at index
    /// 14, as it is in an id that Envoy has not written into. Every hop that sees the request comes to the same answer.
    pub fn selects(&self, request_id: Uuid) -> bool {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        request_id.hyphenated().encode_lower(&mut text);
        text[REWRITTEN_BY_ENVOY] = b'4';
        self.selects_key(&text)
    }

    /// Whether what has this key is in the sample: a user's id, for example, as it is.
    pub fn selects_key(&self, key: &[u8]) -> bool {
        xxh64(key, self.seed) % u64::from(Self::MODULUS) < u64::from(self.threshold)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    /// What `vectors/sampling.json` says, which every hop's tests read; made with Python's xxhash.
    #[derive(serde::Deserialize)]
    struct Vector {
        salt: String,
        fraction: f64,
        request_id: Option<Uuid>,
        key: Option<String>,
        selected: bool,
    }

    #[test]
    fn the_vectors_that_all_hops_share_hold() {
        let vectors: Vec<Vector> = serde_json::from_str(include_str!("../vectors/sampling.json")).unwrap();
        for vector in &vectors {
            let sampler = Sampler::new(&vector.salt, vector.fraction).unwrap();
            let selected = match (vector.request_id, &vector.key) {
                (Some(id), None) => sampler.selects(id),
                (None, Some(key)) => sampler.selects_key(key.as_bytes()),
                _ => panic!("a vector has an id or a key"),
            };
            assert_eq!(selected, vector.selected, "{:?} {:?}", vector.request_id, vector.key);
        }
    }

    fn ids(n: u128) -> impl Iterator<Item = Uuid> {
        // Ids as a generator makes them, from a fixed seed.
        (0..n).map(|i| {
            let spread = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
            uuid::Builder::from_random_bytes(spread.to_be_bytes()).into_uuid()
        })
    }

    #[test]
    fn a_tenth_of_the_requests_is_a_tenth() {
        let sampler = Sampler::new("ltr-shadow-v1", 0.10).unwrap();
        let taken = ids(50_000).filter(|id| sampler.selects(*id)).count();
        // Five standard deviations of a binomial around 5000.
        assert!((4665..=5335).contains(&taken), "{taken}");
    }

    #[test]
    fn none_takes_none_and_all_takes_all() {
        let none = Sampler::new("s", 0.0).unwrap();
        let all = Sampler::new("s", 1.0).unwrap();
        assert!(ids(2000).all(|id| !none.selects(id) && all.selects(id)));
    }

    #[test]
    fn shares_are_millionths_and_the_smallest_is_not_none() {
        let threshold = |fraction| Sampler::new("s", fraction).unwrap().threshold();
        assert_eq!(threshold(0.07), 70_000);
        assert_eq!(threshold(1e-9), 1);
        assert_eq!(threshold(0.0), 0);
        assert_eq!(threshold(1.0), Sampler::MODULUS);
    }

    #[test]
    fn samplers_with_different_salts_are_independent() {
        let a = Sampler::new("ltr-shadow-v1", 0.5).unwrap();
        let b = Sampler::new("ltr-rollout-v1", 0.5).unwrap();
        let both = ids(20_000).filter(|id| a.selects(*id) && b.selects(*id)).count();
        assert!((4690..=5310).contains(&both), "{both} of 20000 in both halves");
    }

    #[test]
    fn a_fraction_that_is_not_one_is_refused() {
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Sampler::new("s", wrong).is_err());
        }
        let message = Sampler::new("s", 1.5).unwrap_err().to_string();
        assert_eq!(message, "the sampled fraction is 1.5; allowed: 0 to 1");
    }

    #[test]
    fn an_id_is_the_same_traced_or_not_and_only_envoys_ids_change() {
        let id = |character: char| {
            format!("6f1b1a34-3c1e-{character}c5a-9e0d-2f5b8c7d9e10")
                .parse()
                .unwrap()
        };
        for traced in ['4', '9', 'a', 'b'] {
            assert_eq!(unrewritten(id(traced)), id('4'));
        }
        for other in ['0', '1', '5', '7', '8', 'c'] {
            assert_eq!(unrewritten(id(other)), id(other));
        }
    }

    proptest! {
        #[test]
        fn what_envoy_rewrites_changes_nothing(bits in any::<u128>(), rewritten in "[0-9a-f]") {
            let sampler = Sampler::new("ltr-shadow-v1", 0.5).unwrap();
            let id = Uuid::from_u128(bits);
            let mut other = id.to_string();
            other.replace_range(14..15, &rewritten);
            let other: Uuid = other.parse().unwrap();
            prop_assert_eq!(sampler.selects(id), sampler.selects(other));
        }

        #[test]
        fn the_same_key_gets_the_same_answer_and_none_panics(key in any::<Vec<u8>>()) {
            let sampler = Sampler::new("s", 0.5).unwrap();
            prop_assert_eq!(sampler.selects_key(&key), sampler.selects_key(&key));
        }

        #[test]
        fn a_larger_fraction_keeps_whom_a_smaller_one_took(bits in any::<u128>(), a in 0.0f64..=1.0, b in 0.0f64..=1.0) {
            let id = Uuid::from_u128(bits);
            let small = Sampler::new("s", a.min(b)).unwrap();
            let large = small.at(a.max(b)).unwrap();
            prop_assert!(!small.selects(id) || large.selects(id));
        }
    }
}
