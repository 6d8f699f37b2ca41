//! Matrices of any size, in which an interaction decides what clients want.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Duration, Utc};
use ltr_trainer::files;
use ltr_trainer::matrix::days::{DAYS, Day, DayList};
use ltr_trainer::matrix::{Case, Matrix, Shown, encode};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use ranking::{Grade, Schema, Source};
use uuid::Uuid;

/// Lawyers shown for each case.
pub(crate) const LAWYERS: usize = 8;

/// The cases of one day after another, one a minute at most.
fn day(number: usize, cases: usize, rng: &mut ChaCha8Rng) -> Matrix {
    let start: DateTime<Utc> = "2026-10-01T00:00:00Z".parse().unwrap();
    let start = start + Duration::days(number as i64);
    let case = |at: usize, rng: &mut ChaCha8Rng| Case {
        qid: Uuid::from_u128(((number as u128) << 64) + at as u128 + 1),
        ts: start + Duration::milliseconds((86_400_000 / cases * at) as i64),
        source: Source::Legacy,
        rows: (0..LAWYERS).map(|at| shown(at, rng)).collect(),
    };
    Matrix {
        schema: Schema::default(),
        cases: (0..cases).map(|at| case(at, rng)).collect(),
    }
}

fn shown(at: usize, rng: &mut ChaCha8Rng) -> Shown {
    let mut uniform = || (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let mut features: Vec<f64> = (0..11).map(|_| uniform()).collect();
    let wanted = if features[9] > 0.5 {
        features[0]
    } else {
        1.0 - features[0]
    };
    let liking = wanted + 0.4 * (uniform() - 0.5);
    let grade = [0.75, 0.9, 1.0].iter().filter(|bound| liking > **bound).count();
    if uniform() < 0.05 {
        features[6] = f64::NAN;
    }
    Shown {
        lawyer_id: format!("adv_{at}"),
        grade: Grade::ALL[grade],
        legacy_score: Some(features[0]),
        features,
        position: at as u32 + 1,
        groups: [(
            "gender".to_owned(),
            if at.is_multiple_of(2) { "F" } else { "M" }.to_owned(),
        )]
        .into(),
        cases_30d: Some(3),
        monthly_capacity: Some(30),
        last_offered_at: None,
    }
}

/// Writes `days` matrices of that many cases each into `dir`, and the list of them, whose path it returns.
pub(crate) fn write(dir: &Path, days: usize, cases: usize) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut list = DayList { days: Vec::new() };
    for number in 0..days {
        let matrix = day(number, cases, &mut rng);
        let date = matrix.cases[0].ts.date_naive();
        let path = dir.join(format!("{date}.parquet"));
        let bytes = encode(&matrix).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let sha256 = files::sha256(&bytes);
        list.days.push(Day { date, path, sha256 });
    }
    let path = dir.join(DAYS);
    files::write_json(&path, &list).unwrap();
    path
}

/// Writes LightGBM parameters for a training of that many rounds.
pub(crate) fn parameters(dir: &Path, rounds: usize) -> PathBuf {
    let path = dir.join(format!("rounds-{rounds}.json"));
    let parameters = serde_json::json!({
        "objective": "lambdarank", "eval_at": [5], "num_iterations": rounds, "num_leaves": 15,
        "learning_rate": 0.1, "min_data_in_leaf": 20, "verbosity": -1,
    });
    files::write_json(&path, &parameters).unwrap();
    path
}
