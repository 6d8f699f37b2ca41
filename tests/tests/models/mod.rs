//! Models that LightGBM grows, and rows that sit on every edge of their rules.

use std::collections::BTreeSet;

use ltr_trainer::compile::{Request, compile};
use ltr_trainer::lightgbm;
use serde_json::{Value, json};
pub(crate) use testkit::Random;

const ROWS: usize = 600;
pub(crate) const WIDTH: usize = 8;
/// The column of whole numbers that categorical models take as categories.
pub(crate) const CATEGORY: usize = 4;
/// Rows a query, for the ranking objectives.
const QUERY: usize = 12;
/// Parameters that act when the data is binned, which `lightgbm3` cannot hand to a data set.
const BINNING: [&str; 4] = ["categorical_feature", "linear_tree", "use_missing", "zero_as_missing"];
/// LightGBM's kZeroThreshold: the float 1e-35, widened.
pub(crate) const ZERO: f64 = 1e-35_f32 as f64;

/// What no training row looks like, up to the sign: what is not finite, around zero, beyond 32 bits,
/// and, for categorical splits, fractional, at the edges of the words of a bit set, beyond them.
#[rustfmt::skip] // one line a kind
const HOSTILE: [f64; 26] = [
    f64::NAN, f64::INFINITY, f64::MAX, 1e300,
    0.0, 5e-324, 1e-310, f64::MIN_POSITIVE, 1e-35, ZERO.next_down(), ZERO, ZERO.next_up(),
    2_147_483_647.0, 2_147_483_647.5, 2_147_483_648.0, 2_147_483_649.0, 4_294_967_299.0, 1e19,
    0.5, 0.999_999, 1.0, 3.999_999, 31.0, 32.0, 63.5, 1000.0,
];

/// Training rows, row-major, and what their labels are made of: about -3 to 3.
pub(crate) struct Data {
    values: Vec<f64>,
    latent: Vec<f64>,
}

impl Data {
    /// `missing`: whether some values are NaN.
    pub(crate) fn new(missing: bool) -> Data {
        let mut random = Random(20_261_123);
        let (mut values, mut latent) = (Vec::new(), Vec::new());
        for _ in 0..ROWS {
            let mut row = Data::row(&mut random);
            let categories = (row[CATEGORY] * 37.0) % 11.0 / 5.5 - 1.0;
            let step = if row[1] > 1.25 { 0.8 } else { -0.4 };
            latent.push(
                0.9 * row[0] + step + 0.7 * row[2] * row[6].signum() + row[3] + categories
                    - if row[5] > 0.0 { 0.6 } else { 0.0 }
                    + 0.4 * row[7] / 1e9
                    + 0.3 * (random.unit() - 0.5),
            );
            for (column, share) in [(2, 0.15), (3, 0.05), (CATEGORY, 0.1), (7, 0.05)] {
                if random.unit() < share && missing {
                    row[column] = f64::NAN;
                }
            }
            values.extend(row);
        }
        Data { values, latent }
    }

    fn row(random: &mut Random) -> [f64; WIDTH] {
        let mut within = |limit: f64| (2.0 * random.unit() - 1.0) * limit;
        let mut row = [0.0; WIDTH];
        row[0] = within(0.7) + within(0.7) + within(0.7);
        row[1] = (within(5.0) * 100.0).round() / 100.0;
        row[2] = within(1.0);
        row[3] = if within(1.0) < 0.2 { 0.0 } else { within(1.0) };
        row[CATEGORY] = (within(1.0).powi(2) * 90.0).floor();
        // Around the threshold of zero, which only what lies beyond it crosses.
        row[5] = [0.0, 1e-36, -1e-36, ZERO, -ZERO, 3e-35, -3e-35, within(1e-34)][(within(4.0) + 4.0) as usize];
        row[6] = within(5.5).round();
        row[7] = within(1e9);
        row
    }

    fn row_at(&self, at: usize) -> &[f64] {
        &self.values[at * WIDTH..][..WIDTH]
    }
}

pub(crate) fn real(y: f64) -> f32 {
    y as f32
}

pub(crate) fn positive(y: f64) -> f32 {
    (y / 2.0).exp() as f32
}

pub(crate) fn count(y: f64) -> f32 {
    y.exp().floor() as f32
}

pub(crate) fn yes(y: f64) -> f32 {
    f32::from(y > 0.0)
}

pub(crate) fn share(y: f64) -> f32 {
    (1.0 / (1.0 + (-y).exp())) as f32
}

pub(crate) fn class(y: f64) -> f32 {
    (y + 1.8).div_euclid(1.2).clamp(0.0, 2.0) as f32
}

pub(crate) fn grade(y: f64) -> f32 {
    (y + 1.0).floor().clamp(0.0, 3.0) as f32
}

pub(crate) fn constant(_: f64) -> f32 {
    4.25
}

/// Trains, and gives the model as text and inside LightGBM.
pub(crate) fn grow(data: &Data, own: Value, label: fn(f64) -> f32) -> (String, lightgbm3::Booster) {
    let mut parameters = json!({
        "num_iterations": 20, "num_leaves": 15, "min_data_in_leaf": 5, "learning_rate": 0.1,
        "min_data_per_group": 5, "cat_smooth": 1.0, "cat_l2": 1.0,
        "num_threads": 1, "deterministic": true, "force_row_wise": true, "seed": 7, "verbosity": -1,
    });
    let object = parameters.as_object_mut().unwrap();
    object.extend(own.as_object().unwrap().clone());
    let ranks = object["objective"].as_str().unwrap().contains("rank");
    let labels: Vec<f32> = data.latent.iter().map(|&y| label(y)).collect();

    if !ranks && !BINNING.iter().any(|&key| object.contains_key(key)) {
        let width = WIDTH as i32;
        let set = lightgbm3::Dataset::from_slice(&data.values, &labels, width, true).unwrap();
        let booster = lightgbm3::Booster::train(set, &parameters).unwrap();
        return (booster.save_string().unwrap(), booster);
    }
    let groups = ranks.then_some(&[QUERY as u32; ROWS / QUERY][..]);
    let text = train(&data.values, WIDTH, &labels, groups, object);
    let loaded = lightgbm3::Booster::from_string(&text).unwrap();
    (text, loaded)
}

/// Trains with parameters for the data set, too, and gives the model as text.
pub(crate) fn train(
    values: &[f64],
    width: usize,
    labels: &[f32],
    groups: Option<&[u32]>,
    parameters: &serde_json::Map<String, Value>,
) -> String {
    let rounds = parameters["num_iterations"].as_u64().unwrap();
    let parameters = lightgbm::Parameters::from_json(parameters).unwrap();
    let mut set = lightgbm::Dataset::new(values, width, &parameters, None).unwrap();
    set.set_labels(labels).unwrap();
    if let Some(groups) = groups {
        set.set_groups(groups).unwrap();
    }
    let mut booster = lightgbm::Booster::new(set, &parameters).unwrap();
    for _ in 0..rounds {
        if booster.update().unwrap() {
            break;
        }
    }
    booster.to_text(0).unwrap()
}

/// Every threshold of the model and its two neighbours, and [`HOSTILE`] with both signs, for every feature: first
/// all features of a row hostile at once, then one hostile value in an ordinary row.
pub(crate) fn hostile_rows(data: &Data, text: &str) -> Vec<f64> {
    let mut random = Random(42);
    let mut values = vec![HOSTILE.iter().flat_map(|&x| [x, -x]).collect::<Vec<f64>>(); WIDTH];
    for (feature, threshold) in thresholds(text) {
        values[feature].extend([threshold.next_down(), threshold, threshold.next_up()]);
    }
    for values in &mut values {
        values.sort_by(f64::total_cmp);
        values.dedup_by_key(|x| x.to_bits());
        random.shuffle(values);
    }
    let longest = values.iter().map(Vec::len).max().unwrap();
    let mut rows = Vec::new();
    for at in 0..longest.max(400) {
        rows.extend(values.iter().map(|values| values[at % values.len()]));
    }
    for (feature, values) in values.iter().enumerate() {
        for &value in values {
            let start = rows.len();
            rows.extend_from_slice(data.row_at(random.below(ROWS)));
            rows[start + feature] = value;
        }
    }
    rows
}

/// Feature and threshold of every split; of a categorical one the number of its bit set.
pub(crate) fn thresholds(text: &str) -> Vec<(usize, f64)> {
    let numbers = |list: &str| -> Vec<f64> {
        let parsed = list.split_ascii_whitespace().map(|x| x.parse().unwrap());
        parsed.collect()
    };
    let mut features = Vec::new();
    let mut all = Vec::new();
    for line in text.lines() {
        if let Some(list) = line.strip_prefix("split_feature=") {
            features = numbers(list);
        } else if let Some(list) = line.strip_prefix("threshold=") {
            let pairs = features.iter().zip(numbers(list));
            all.extend(pairs.map(|(&feature, threshold)| (feature as usize, threshold)));
        }
    }
    all
}

/// The values of `decision_type` that occur in the model.
pub(crate) fn decision_types(text: &str) -> BTreeSet<u8> {
    text.lines()
        .filter_map(|line| line.strip_prefix("decision_type="))
        .flat_map(|list| list.split_ascii_whitespace().map(|x| x.parse().unwrap()))
        .collect()
}

pub(crate) fn categorical(decision_type: u8) -> bool {
    decision_type & 1 == 1
}

/// 0: none, 1: zero, 2: NaN.
pub(crate) fn missing_type(decision_type: u8) -> u8 {
    decision_type >> 2 & 3
}

pub(crate) fn compiled(text: &str) -> Vec<u8> {
    compile(&Request {
        model: text.as_bytes(),
        feature_map: None,
        model_version: "1",
        training_window: None,
    })
    .unwrap()
}

pub(crate) fn in_batches(rows: &[f64], batch: usize, score: impl FnMut(&[f64]) -> Vec<f64>) -> Vec<f64> {
    rows.chunks(batch * WIDTH).flat_map(score).collect()
}

/// Every NaN is one: its sign and payload are the processor's choice.
pub(crate) fn bits(x: f64) -> u64 {
    if x.is_nan() { f64::NAN } else { x }.to_bits()
}

pub(crate) fn forest_of(objective: &str) -> Value {
    json!({
        "objective": objective, "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7,
        "feature_fraction": 0.8,
    })
}

pub(crate) fn linear(objective: &str) -> Value {
    json!({"objective": objective, "linear_tree": true, "linear_lambda": 0.01})
}

pub(crate) fn with_categories(objective: &str) -> Value {
    json!({"objective": objective, "categorical_feature": CATEGORY.to_string()})
}
