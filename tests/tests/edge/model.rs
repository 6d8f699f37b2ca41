//! A model that LightGBM grows, as the gateway and as the filter carry it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ltr_trainer::compile::{self, Request};
use ltr_trainer::lightgbm::{Booster, Dataset, Parameters};
use ranking::features::DEFAULT_FEATURES;
use serde_json::json;
use tempfile::TempDir;

/// Values of a row.
pub(crate) const WIDTH: usize = DEFAULT_FEATURES.len();
const CASES: usize = 200;
/// Lawyers of a case.
const LAWYERS: usize = 20;

/// A sequence of numbers in [0, 1), the same at every run: van der Corput's in the base of a prime.
pub(crate) fn spread(mut at: usize, base: usize) -> f64 {
    let (mut x, mut digit) = (0.0, 1.0 / base as f64);
    while at > 0 {
        x += (at % base) as f64 * digit;
        at /= base;
        digit /= base as f64;
    }
    x
}

/// Rows that fill the unit cube evenly, with values missing here and there.
pub(crate) fn rows(count: usize) -> Vec<[Option<f64>; WIDTH]> {
    const PRIMES: [usize; WIDTH] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31];
    let value =
        |row: usize, column: usize| (!(row + 7 * column).is_multiple_of(41)).then(|| spread(row, PRIMES[column]));
    (1..=count)
        .map(|row| std::array::from_fn(|column| value(row, column)))
        .collect()
}

/// The model's text.
fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let rows = rows(CASES * LAWYERS);
        let values: Vec<f64> = rows.iter().flatten().map(|x| x.unwrap_or(f64::NAN)).collect();
        let grade = |row: &[Option<f64>; WIDTH]| {
            let merit = row[0].unwrap_or(0.5) * row[1].unwrap_or(0.2) + row[5].unwrap_or(0.9) / 2.0;
            (merit * 2.7) as u8 as f32
        };
        let labels: Vec<f32> = rows.iter().map(grade).collect();
        let parameters = json!({
            "objective": "lambdarank", "num_leaves": 31, "min_data_in_leaf": 5, "learning_rate": 0.1,
            "num_threads": 1, "deterministic": true, "force_row_wise": true, "seed": 7, "verbosity": -1,
        });
        let parameters = Parameters::from_json(parameters.as_object().unwrap()).unwrap();
        let mut set = Dataset::new(&values, WIDTH, &parameters, None).unwrap();
        set.set_feature_names(&DEFAULT_FEATURES.map(str::to_owned)).unwrap();
        set.set_labels(&labels).unwrap();
        set.set_groups(&[LAWYERS as u32; CASES]).unwrap();
        let mut booster = Booster::new(set, &parameters).unwrap();
        for _ in 0..100 {
            booster.update().unwrap();
        }
        booster.to_text(0).unwrap()
    })
}

fn request(version: &str) -> Request<'_> {
    Request {
        model: text().as_bytes(),
        feature_map: None,
        model_version: version,
        training_window: None,
    }
}

/// The component that a gateway loads.
pub(crate) fn component(version: &str) -> Vec<u8> {
    compile::compile(&request(version)).unwrap()
}

/// Writes the filter with the model in it to a file of this name in `folder`.
pub(crate) fn write_filter(folder: &Path, version: &str) -> PathBuf {
    let path = folder.join(format!("edge-filter-{version}.wasm"));
    std::fs::write(&path, compile::edge_filter(&request(version)).unwrap()).unwrap();
    path
}

/// The filter that tests share which do not change it.
pub(crate) fn filter_file() -> PathBuf {
    static FILTER: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    shared(&FILTER, |folder| write_filter(folder, "1"))
}

/// The filter that only marks, which is the same for every model.
pub(crate) fn mark_file() -> PathBuf {
    static FILTER: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    shared(&FILTER, |folder| {
        let path = folder.join("edge-mark.wasm");
        std::fs::write(&path, compile::edge_mark().unwrap()).unwrap();
        path
    })
}

fn shared(file: &OnceLock<(TempDir, PathBuf)>, write: impl Fn(&Path) -> PathBuf) -> PathBuf {
    let (_, path) = file.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path());
        (folder, path)
    });
    path.clone()
}
