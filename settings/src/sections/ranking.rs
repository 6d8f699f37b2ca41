//! Ranking features and presets.

use std::collections::BTreeMap;

use ranking::Fairness;
use ranking::features::DEFAULT_FEATURES;
use ranking::weights::{DEFAULT_PRESET, DEFAULT_PRESETS};

use crate::section::Rule::Words;
use crate::section::{SHARE, Section, section, section_of};

section! {
    /// Features and presets of the ranking.
    ["ranking"] Ranking {
        /// Feature names; every row holds them in this order.
        features: Vec<String> = DEFAULT_FEATURES.map(String::from).to_vec(), Words("a list of 1 to 4096 different names");
        /// Preset of a request that names none.
        default_preset: String = DEFAULT_PRESET.into(), Words("the name of a table under ranking.presets");
    } sections {
        /// The fairness re-rank.
        fairness: Fairness = Fairness::default();
        /// Weights by feature, by preset.
        presets: BTreeMap<String, BTreeMap<String, f64>> = default_presets();
    }
}

section_of! {
    /// The fairness re-rank of legacy and LTR rankings alike.
    ["ranking.fairness"] FAIRNESS: Fairness {
        /// The elite reaches at least this far below the best score.
        elite_floor, SHARE;
        /// The elite reaches this share of the best score below it, if that is further.
        elite_share, SHARE;
        /// Weight of the score inside the elite.
        score_weight, SHARE;
        /// Weight of free capacity inside the elite.
        equity_weight, SHARE;
        /// Equity of a lawyer at or over capacity.
        equity_floor, SHARE;
        /// Bonus for a lawyer of an under-represented group.
        lambda, SHARE;
        /// A group with less than this share of the elite is under-represented.
        tau, SHARE;
    }
}

/// Weights by feature, by preset: a free section.
pub(crate) const PRESETS: Section = Section {
    name: super::PRESETS,
    about: &[
        " Legacy weights by preset: one per feature, 0 leaves it out; normalised to sum 1.",
        " One preset in a file replaces all of these.",
    ],
    keys: &[],
};

fn default_presets() -> BTreeMap<String, BTreeMap<String, f64>> {
    let weights = |raw: [f64; 11]| DEFAULT_FEATURES.map(String::from).into_iter().zip(raw).collect();
    DEFAULT_PRESETS
        .map(|(name, raw)| (name.to_owned(), weights(raw)))
        .into()
}
