//! The legacy ranking's score: a weighted mean of the features that are present.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::features::Schema;

/// One weight a feature, each at least 0, together 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights(Vec<f64>);

/// Why weights or presets were refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum WeightsError {
    /// [`Weights::new`] got a weight that is negative, infinite or NaN.
    #[error("weight {index} is {value}; a weight is a finite number of at least 0")]
    BadWeight {
        /// Place of the weight, from 0, in schema order.
        index: usize,
        /// The weight as given.
        value: f64,
    },
    /// [`Weights::new`] got weights that cannot be normalised to sum 1.
    #[error("the weights sum to {sum}; the sum must be above 0 and finite")]
    BadSum {
        /// Sum of the raw weights: 0, or infinite.
        sum: f64,
    },
    /// [`Presets::new`] got no preset.
    #[error("no preset is defined; at least the default one is needed")]
    NoPreset,
    /// A preset weighs a feature that the schema does not have.
    #[error("preset {preset:?}: unknown feature {feature:?}; allowed: {}", allowed.join(", "))]
    UnknownFeature {
        /// Name of the preset.
        preset: String,
        /// The unknown feature; of several, the first by name.
        feature: String,
        /// All features of the schema, in order.
        allowed: Vec<String>,
    },
    /// A preset lacks a feature of the schema.
    #[error("preset {preset:?}: no weight for feature {feature:?}; each feature needs one (0 leaves it out)")]
    MissingFeature {
        /// Name of the preset.
        preset: String,
        /// The feature without a weight; of several, the first in schema order.
        feature: String,
    },
    /// A preset has a weight that is negative, infinite or NaN.
    #[error("preset {preset:?}: weight of {feature:?} is {value}; a weight is a finite number of at least 0")]
    BadPresetWeight {
        /// Name of the preset.
        preset: String,
        /// The feature with that weight.
        feature: String,
        /// The weight as given.
        value: f64,
    },
    /// A preset's weights cannot be normalised to sum 1.
    #[error("preset {preset:?}: the weights sum to {sum}; the sum must be above 0 and finite")]
    BadPresetSum {
        /// Name of the preset.
        preset: String,
        /// Sum of its raw weights: 0, or infinite.
        sum: f64,
    },
    /// The default preset is not among the presets.
    #[error("default preset {name:?} is not defined; allowed: {}", allowed.join(", "))]
    UnknownDefault {
        /// The name that was given for the default preset.
        name: String,
        /// Names of the defined presets, sorted.
        allowed: Vec<String>,
    },
}

impl Weights {
    /// Normalises raw weights, in schema order, to sum 1.
    ///
    /// # Errors
    /// A weight that is negative or not finite; a sum of 0 or beyond what an `f64` holds.
    pub fn new(raw: &[f64]) -> Result<Weights, WeightsError> {
        for (index, &value) in raw.iter().enumerate() {
            if !value.is_finite() || value < 0.0 {
                return Err(WeightsError::BadWeight { index, value });
            }
        }
        let sum: f64 = raw.iter().sum();
        if !sum.is_finite() || sum <= 0.0 {
            return Err(WeightsError::BadSum { sum });
        }
        Ok(Weights(raw.iter().map(|w| w / sum).collect()))
    }

    /// The weights, in schema order.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// The weights by feature name, as an impression's `weights_used` carries them.
    pub fn named(&self, schema: &Schema) -> BTreeMap<String, f64> {
        schema.names().iter().cloned().zip(self.0.iter().copied()).collect()
    }

    /// Weighted mean over the features present: the weight of a missing one (NaN) is shared out over the
    /// others in proportion. 0.0 where no feature with a weight is present.
    ///
    /// `features`: one value a weight, in schema order.
    pub fn score(&self, features: &[f64]) -> f64 {
        debug_assert_eq!(features.len(), self.0.len());
        let mut sum = 0.0;
        let mut present = 0.0;
        let mut missing = false;
        for (weight, value) in self.0.iter().zip(features) {
            if value.is_nan() {
                missing = true;
            } else {
                sum += weight * value;
                present += weight;
            }
        }
        match (missing, present > 0.0) {
            (false, _) => sum,
            (true, true) => sum / present,
            (true, false) => 0.0,
        }
    }
}

/// Named weights, and which of them serve when a request names none.
#[derive(Clone, Debug, PartialEq)]
pub struct Presets {
    by_name: BTreeMap<String, Weights>,
    default: String,
}

/// The marketplace's presets before normalising: name, then one weight a feature of [`crate::features::DEFAULT_FEATURES`].
pub const DEFAULT_PRESETS: [(&str, [f64; 11]); 3] = [
    (
        "balanced",
        [0.30, 0.25, 0.15, 0.10, 0.10, 0.05, 0.05, 0.03, 0.02, 0.02, 0.01],
    ),
    ("fast", [0.40, 0.15, 0.20, 0.15, 0.05, 0.03, 0.02, 0.0, 0.0, 0.02, 0.0]),
    (
        "expert",
        [0.25, 0.30, 0.15, 0.05, 0.15, 0.05, 0.03, 0.02, 0.03, 0.0, 0.02],
    ),
];

/// The preset that serves when a request names none, by default.
pub const DEFAULT_PRESET: &str = "balanced";

impl Presets {
    /// Builds presets from `{preset: {feature: weight}}`. Each preset names every feature of the schema;
    /// weight 0 leaves one out.
    ///
    /// # Errors
    /// See [`WeightsError`]: each names the preset, the feature and what is allowed.
    pub fn new(
        schema: &Schema,
        raw: &BTreeMap<String, BTreeMap<String, f64>>,
        default: &str,
    ) -> Result<Presets, WeightsError> {
        if raw.is_empty() {
            return Err(WeightsError::NoPreset);
        }
        let mut by_name = BTreeMap::new();
        for (preset, weights) in raw {
            by_name.insert(preset.clone(), preset_weights(schema, preset, weights)?);
        }
        if !by_name.contains_key(default) {
            return Err(WeightsError::UnknownDefault {
                name: default.to_owned(),
                allowed: by_name.into_keys().collect(),
            });
        }
        Ok(Presets {
            by_name,
            default: default.to_owned(),
        })
    }

    /// The weights of a preset.
    pub fn get(&self, name: &str) -> Option<&Weights> {
        self.by_name.get(name)
    }

    /// The weights that serve when a request names none.
    pub fn default_weights(&self) -> &Weights {
        &self.by_name[&self.default]
    }

    /// The name of the preset that serves when a request names none.
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// All preset names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

impl Default for Presets {
    fn default() -> Presets {
        let by_name = DEFAULT_PRESETS
            .iter()
            .map(|(name, raw)| {
                let weights = Weights::new(raw).expect("the built-in weights are positive and finite");
                ((*name).to_owned(), weights)
            })
            .collect();
        Presets {
            by_name,
            default: DEFAULT_PRESET.to_owned(),
        }
    }
}

fn preset_weights(schema: &Schema, preset: &str, weights: &BTreeMap<String, f64>) -> Result<Weights, WeightsError> {
    let preset_name = || preset.to_owned();
    if let Some(feature) = weights.keys().find(|f| schema.index_of(f).is_none()) {
        return Err(WeightsError::UnknownFeature {
            preset: preset_name(),
            feature: feature.clone(),
            allowed: schema.names().to_vec(),
        });
    }
    let mut raw = Vec::with_capacity(schema.len());
    for feature in schema.names() {
        let value = *weights.get(feature).ok_or_else(|| WeightsError::MissingFeature {
            preset: preset_name(),
            feature: feature.clone(),
        })?;
        raw.push(value);
    }
    Weights::new(&raw).map_err(|error| match error {
        WeightsError::BadWeight { index, value } => WeightsError::BadPresetWeight {
            preset: preset_name(),
            feature: schema.names()[index].clone(),
            value,
        },
        WeightsError::BadSum { sum } => WeightsError::BadPresetSum {
            preset: preset_name(),
            sum,
        },
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn presets_sum_to_one_after_normalising() {
        for name in Presets::default().names() {
            let presets = Presets::default();
            let sum: f64 = presets.get(name).unwrap().values().iter().sum();
            assert!((sum - 1.0).abs() < 1e-12, "{name}: {sum}");
        }
        // Balanced is written with a sum of 1.08.
        let balanced = Presets::default().default_weights().values()[0];
        assert!((balanced - 0.30 / 1.08).abs() < 1e-12);
    }

    #[test]
    fn a_missing_feature_hands_its_weight_to_the_others() {
        let weights = Weights::new(&[2.0, 1.0, 1.0]).unwrap();
        assert_eq!(weights.score(&[1.0, 0.0, 0.0]), 0.5);
        assert_eq!(weights.score(&[1.0, f64::NAN, 0.0]), 0.5 / 0.75);
        assert_eq!(weights.score(&[f64::NAN, f64::NAN, f64::NAN]), 0.0);
        let one_sided = Weights::new(&[1.0, 0.0]).unwrap();
        assert_eq!(one_sided.score(&[f64::NAN, 0.7]), 0.0);
    }

    #[test]
    fn bad_presets_are_refused_with_preset_feature_and_what_is_allowed() {
        let schema = Schema::new(["a", "b"]).unwrap();
        let preset = |pairs: &[(&str, f64)]| -> BTreeMap<String, BTreeMap<String, f64>> {
            let weights = pairs.iter().map(|(f, w)| ((*f).to_owned(), *w)).collect();
            [("p".to_owned(), weights)].into()
        };
        let message = |pairs: &[(&str, f64)]| Presets::new(&schema, &preset(pairs), "p").unwrap_err().to_string();
        assert_eq!(
            message(&[("a", 1.0), ("b", 1.0), ("c", 1.0)]),
            "preset \"p\": unknown feature \"c\"; allowed: a, b"
        );
        assert!(message(&[("a", 1.0)]).contains("no weight for feature \"b\""));
        assert!(message(&[("a", 1.0), ("b", -1.0)]).contains("weight of \"b\" is -1"));
        assert!(message(&[("a", 0.0), ("b", 0.0)]).contains("sum to 0"));
        let ok = preset(&[("a", 1.0), ("b", 1.0)]);
        assert_eq!(
            Presets::new(&schema, &ok, "q").unwrap_err().to_string(),
            "default preset \"q\" is not defined; allowed: p"
        );
        assert_eq!(
            Presets::new(&schema, &BTreeMap::new(), "p"),
            Err(WeightsError::NoPreset)
        );
    }

    proptest! {
        #[test]
        fn a_score_lies_between_the_smallest_and_largest_present_feature(
            pairs in proptest::collection::vec((0.001f64..1.0, proptest::option::of(0.0f64..=1.0)), 1..20)
        ) {
            let raw: Vec<f64> = pairs.iter().map(|(w, _)| *w).collect();
            let features: Vec<f64> = pairs.iter().map(|(_, f)| f.unwrap_or(f64::NAN)).collect();
            let score = Weights::new(&raw).unwrap().score(&features);
            let present: Vec<f64> = features.into_iter().filter(|f| !f.is_nan()).collect();
            if present.is_empty() {
                prop_assert_eq!(score, 0.0);
            } else {
                let low = present.iter().copied().fold(f64::INFINITY, f64::min);
                let high = present.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                prop_assert!(score >= low - 1e-12 && score <= high + 1e-12);
            }
        }
    }
}
