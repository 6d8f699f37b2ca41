//! Models of known quality against the simulated truth, to try out what decides on models.
//!
//! A ranker scores the truth's utility, as far as features tell it, mixed with an error: a function of the features that
//! is orthogonal to that utility and to the legacy score within cases. The share of the error is the one dial.

use anyhow::ensure;
use chrono::{DateTime, NaiveDate, Utc};
use clap::ValueEnum;
use rand::RngExt;
use ranking::Weights;
use ranking::features::DEFAULT_FEATURES;
use runtime::Window;
use serde::Serialize;
use serde_json::json;
use settings::Settings;

use super::chance::{sigmoid, stream};
use super::client::{Drift, Truth};
use super::market::{Features, Market};
use crate::feature_map::FeatureMap;
use crate::files;
use crate::lightgbm::{Booster, Dataset, Parameters, Predictor};
use crate::outcome::Permanent;
use crate::publish::{Bypass, Publication, Published, publish_around_gate};

/// How good a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// As good as the legacy ranking, with errors of its own
    Equal,
    /// As good as the features allow
    Better,
    /// It knows nothing
    Random,
}

impl Quality {
    fn name(self) -> &'static str {
        match self {
            Quality::Equal => "equal",
            Quality::Better => "better",
            Quality::Random => "random",
        }
    }
}

/// Cases that a model is grown on, and as many others that its worth is measured on.
const CASES: u64 = 1_200;
/// Trees of a model.
const ROUNDS: usize = 80;
/// Questions that the error is made of.
const QUESTIONS: usize = 48;
/// Models that are grown to find the one that is worth as much as the legacy ranking.
const TRIES: usize = 8;
/// Rows whose scores gateways check.
const GOLDEN_ROWS: usize = 16;

/// Of LightGBM, for the same model on every machine.
const PARAMETERS: [(&str, &str); 8] = [
    ("objective", "regression"),
    ("num_leaves", "31"),
    ("learning_rate", "0.15"),
    ("min_data_in_leaf", "10"),
    ("deterministic", "true"),
    ("force_row_wise", "true"),
    ("num_threads", "1"),
    ("verbosity", "-1"),
];

/// A model of known quality.
pub(super) struct Ranker {
    quality: Quality,
    truth: Truth,
    model: String,
    golden: Vec<Vec<f64>>,
    data_sha256: String,
    worth: Worth,
}

/// What a list is worth to a client who looks at place p with the probability 1/p: lawyers whom they would contact.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Worth {
    pub legacy: f64,
    pub ranker: f64,
}

impl Ranker {
    /// Grows a model; the same arguments give the same model.
    ///
    /// # Errors
    /// A quality that the truth leaves no room for; a failure of LightGBM.
    pub(super) fn grow(
        quality: Quality,
        truth: Truth,
        drift: Drift,
        market: &Market,
        seed: u64,
        legacy: &Weights,
    ) -> anyhow::Result<Ranker> {
        ensure!(
            truth != Truth::Legacy || quality != Quality::Better,
            Permanent::Usage(
                "--publish-ranker better: allowed with --truth legacy: equal, random, because nothing is better than the truth"
                    .to_owned()
            )
        );
        let sample = |of: &str| {
            Sample::draw(
                of,
                |rows: &Features, quality| truth.utility(rows, quality, legacy, drift),
                market,
                seed,
                legacy,
            )
        };
        let (training, measuring) = (sample("training"), sample("measuring"));
        let of_legacy = measuring.worth(&measuring.legacy);
        let grown = |error: f64| -> anyhow::Result<(String, f64)> {
            let model = fit(&training.rows, &training.mixed(error))?;
            let scores = Predictor::from_text(&model)?.predict(&measuring.rows)?;
            Ok((model, measuring.worth(&scores)))
        };
        let (model, of_ranker) = match quality {
            Quality::Better => grown(0.0)?,
            Quality::Random => grown(1.0)?,
            Quality::Equal => equal(of_legacy, grown)?,
        };
        let bytes: Vec<u8> = training.rows.iter().flat_map(|value| value.to_le_bytes()).collect();
        let golden = measuring.rows.chunks_exact(DEFAULT_FEATURES.len());
        Ok(Ranker {
            quality,
            truth,
            model,
            golden: golden.take(GOLDEN_ROWS).map(<[f64]>::to_vec).collect(),
            data_sha256: files::sha256(&bytes),
            worth: Worth {
                legacy: of_legacy,
                ranker: of_ranker,
            },
        })
    }

    /// Publishes the model as the version of `as_of`, around the gate.
    ///
    /// # Errors
    /// As [`publish_around_gate`].
    pub(super) async fn publish(&self, as_of: DateTime<Utc>, settings: &Settings) -> anyhow::Result<Published> {
        let names: Vec<String> = DEFAULT_FEATURES.iter().map(|name| (*name).to_owned()).collect();
        let width = names.len();
        let feature_map = FeatureMap::new(names, vec![0.0; width], vec![1.0; width])?;
        let feature_map_json = feature_map.to_json();
        let publication = Publication {
            model: self.model.as_bytes(),
            feature_map_json: feature_map_json.as_bytes(),
            feature_map: &feature_map,
            training_window: Window {
                start: as_of.to_rfc3339(),
                end: as_of.to_rfc3339(),
            },
            data_sha256: &self.data_sha256,
            metrics: json!({ "simulated": {
                "truth": self.truth,
                "quality": self.quality,
                "worth": self.worth,
            } }),
            rows: self.golden.clone(),
        };
        let bypass = Bypass::new(format!("simulate --publish-ranker {}", self.quality.name()));
        publish_around_gate(&publication, &bypass, as_of, settings).await
    }
}

/// The model that is worth as much as the legacy ranking: the more error, the less it is worth.
fn equal(of_legacy: f64, grown: impl Fn(f64) -> anyhow::Result<(String, f64)>) -> anyhow::Result<(String, f64)> {
    let mut best = grown(0.0)?;
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..TRIES {
        let error = f64::midpoint(low, high);
        let model = grown(error)?;
        if model.1 > of_legacy {
            low = error;
        } else {
            high = error;
        }
        if (model.1 - of_legacy).abs() < (best.1 - of_legacy).abs() {
            best = model;
        }
    }
    Ok(best)
}

/// Lawyers of many cases, with all that rankers are made from and judged by. Rows of a case follow each other.
struct Sample {
    /// Row-major.
    rows: Vec<f64>,
    /// To clients, with what no feature says.
    utility: Vec<f64>,
    /// As far as features say it.
    seen: Vec<f64>,
    legacy: Vec<f64>,
    /// The error, orthogonal to the two before within cases and as wide as the utility that is seen.
    error: Vec<f64>,
    /// Lawyers of a case.
    width: usize,
}

impl Sample {
    fn draw(of: &str, utility: impl Fn(&Features, f64) -> f64, market: &Market, seed: u64, legacy: &Weights) -> Sample {
        let questions = questions(seed);
        let mut sample = Sample {
            rows: Vec::new(),
            utility: Vec::new(),
            seen: Vec::new(),
            legacy: Vec::new(),
            error: Vec::new(),
            width: 0,
        };
        // A stream of cases that no simulated day has.
        let seed = stream(seed, "ranker", of, 0).random();
        for index in 0..CASES {
            let case = market.case(seed, NaiveDate::default(), index);
            sample.width = case.offers.len();
            for offer in &case.offers {
                let quality = market.lawyers[offer.lawyer].quality;
                sample.rows.extend(offer.features);
                sample.utility.push(utility(&offer.features, quality));
                sample.seen.push(utility(&offer.features, 0.0));
                sample.legacy.push(legacy.score(&offer.features));
                sample
                    .error
                    .push(questions.iter().map(|question| question.ask(&offer.features)).sum());
            }
        }
        sample.straighten();
        sample
    }

    /// Makes the error orthogonal to what is seen and to the legacy score, and as wide as the first (Gram and Schmidt).
    fn straighten(&mut self) {
        let [seen, mut legacy, mut error] = [&self.seen, &self.legacy, &self.error].map(|values| self.centred(values));
        subtract(&mut legacy, &seen);
        subtract(&mut error, &seen);
        subtract(&mut error, &legacy);
        let scale = (product(&seen, &seen) / product(&error, &error).max(f64::MIN_POSITIVE)).sqrt();
        self.error = error.into_iter().map(|value| scale * value).collect();
    }

    /// Differences from the case's mean: the rest orders nobody.
    fn centred(&self, values: &[f64]) -> Vec<f64> {
        let centred = values.chunks_exact(self.width).flat_map(|case| {
            let mean = case.iter().sum::<f64>() / case.len() as f64;
            case.iter().map(move |value| value - mean)
        });
        centred.collect()
    }

    /// What a model is to say that has this share of error.
    fn mixed(&self, error: f64) -> Vec<f32> {
        let mixed = self.seen.iter().zip(&self.error);
        mixed
            .map(|(seen, wrong)| ((1.0 - error) * seen + error * wrong) as f32)
            .collect()
    }

    /// The mean worth of the lists that these scores give.
    fn worth(&self, scores: &[f64]) -> f64 {
        let cases = scores
            .chunks_exact(self.width)
            .zip(self.utility.chunks_exact(self.width));
        let of_case = |(scores, utility): (&[f64], &[f64])| -> f64 {
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
            let contacts =
                |lawyer: usize| sigmoid(1.6 * (utility[lawyer] - 0.4)) * sigmoid(1.8 * (utility[lawyer] - 0.6));
            (1..)
                .zip(order)
                .map(|(place, lawyer)| contacts(lawyer) / f64::from(place))
                .sum()
        };
        cases.map(of_case).sum::<f64>() / CASES as f64
    }
}

/// Takes out of values what points the same way as others.
fn subtract(values: &mut [f64], others: &[f64]) {
    let share = product(values, others) / product(others, others).max(f64::MIN_POSITIVE);
    for (value, other) in values.iter_mut().zip(others) {
        *value -= share * other;
    }
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Whether of two features exactly one is large: of the utility such a question says nothing.
struct Question {
    features: [usize; 2],
    thresholds: [f64; 2],
}

fn questions(seed: u64) -> Vec<Question> {
    let rng = &mut stream(seed, "questions", "", 0);
    let question = |_| Question {
        features: [(); 2].map(|()| rng.random_range(0..DEFAULT_FEATURES.len())),
        thresholds: [(); 2].map(|()| rng.random()),
    };
    (0..QUESTIONS).map(question).collect()
}

impl Question {
    fn ask(&self, features: &Features) -> f64 {
        let [a, b] = [0, 1].map(|at| features[self.features[at]] > self.thresholds[at]);
        if a == b { -1.0 } else { 1.0 }
    }
}

/// A model in LightGBM's text that says these scores of these rows, as far as its trees allow.
fn fit(rows: &[f64], scores: &[f32]) -> anyhow::Result<String> {
    let mut parameters = Parameters::default();
    for (name, value) in PARAMETERS {
        parameters.set(name, value);
    }
    let names: Vec<String> = DEFAULT_FEATURES.iter().map(|name| (*name).to_owned()).collect();
    let mut dataset = Dataset::new(rows, names.len(), &parameters, None)?;
    dataset.set_labels(scores)?;
    dataset.set_feature_names(&names)?;
    let mut booster = Booster::new(dataset, &parameters)?;
    for _ in 0..ROUNDS {
        if booster.update()? {
            break;
        }
    }
    Ok(booster.to_text(0)?)
}

#[cfg(test)]
mod tests;
