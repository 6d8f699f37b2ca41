use tempfile::TempDir;

use super::*;
use crate::matrix::tests::synthetic;
use crate::matrix::{Matrix, encode};
use crate::train::train_matrix;

/// Settings for quick runs; nothing about the judging is weakened.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.evaluate.resamples = 200;
    settings.evaluate.latency_calls = 50;
    // Tests run side by side; OpenMP's threads would spin against each other.
    let params = &mut settings.train.params;
    params.insert("num_threads".to_owned(), 1.into());
    settings
}

/// A model trained on `matrix`, in `{dir}/run`, and the matrix, in `{dir}/matrix.parquet`.
pub(crate) fn trained(dir: &TempDir, matrix: &Matrix, settings: &Settings) -> (PathBuf, PathBuf) {
    let (run, path) = (dir.path().join("run"), dir.path().join("matrix.parquet"));
    std::fs::write(&path, encode(matrix).unwrap()).unwrap();
    train_matrix(&path, None, settings, &run).unwrap();
    (run, path)
}

#[test]
fn an_interaction_shows_as_a_gain_over_the_weighted_sum_and_groups_stay_close() {
    let dir = tempfile::tempdir().unwrap();
    let (run, path) = trained(&dir, &synthetic(400, 1), &settings());
    let evaluation = evaluate(&run, &path, &settings()).unwrap();
    assert_eq!(evaluation.test.cases, 80);
    assert!(evaluation.over_legacy.ndcg5.low > 0.1, "{:?}", evaluation.over_legacy);
    assert!(evaluation.over_legacy.mrr5.low > 0.0, "{:?}", evaluation.over_legacy);
    let gain = evaluation.ltr.ndcg5.estimate - evaluation.legacy.ndcg5.estimate;
    assert!((gain - evaluation.over_legacy.ndcg5.estimate).abs() < 1e-12);
    assert!(evaluation.pointwise.ndcg5.estimate > evaluation.legacy.ndcg5.estimate);
    let interval = evaluation.ltr.fair_gap_interval;
    assert!((interval.estimate - evaluation.ltr.fair_gap.gap).abs() < 1e-12);
    assert!(evaluation.latency.p50_ms > 0.0 && evaluation.latency.p95_ms >= evaluation.latency.p50_ms);

    let again = evaluate(&run, &path, &settings()).unwrap();
    let timeless = |e: &Evaluation| Evaluation {
        latency: evaluation.latency,
        ..e.clone()
    };
    assert_eq!(timeless(&again), timeless(&evaluation), "nothing but time varies");
}

#[test]
fn cases_without_load_are_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut matrix = synthetic(200, 2);
    matrix.cases[199].rows[0].cases_30d = None;
    let (run, path) = trained(&dir, &matrix, &settings());
    assert_eq!(evaluate(&run, &path, &settings()).unwrap().cases_without_load, 1);

    for case in &mut matrix.cases {
        case.rows[1].monthly_capacity = None;
    }
    let (run, path) = trained(&dir, &matrix, &settings());
    let refusal = evaluate(&run, &path, &settings()).unwrap_err().to_string();
    assert!(refusal.contains("cases_30d and monthly_capacity are null"), "{refusal}");
}

#[test]
fn another_matrix_or_another_model_than_the_trained_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (run, path) = trained(&dir, &synthetic(200, 3), &settings());
    let other = dir.path().join("other.parquet");
    std::fs::write(&other, encode(&synthetic(200, 4)).unwrap()).unwrap();
    let refusal = evaluate(&run, &other, &settings()).unwrap_err().to_string();
    assert!(refusal.contains("the matrix this model was trained on"), "{refusal}");

    let model = run.join(runtime::artefact::MODEL);
    let text = std::fs::read_to_string(&model).unwrap();
    std::fs::write(&model, text.replace("shrinkage=0.05", "shrinkage=0.06")).unwrap();
    let refusal = evaluate(&run, &path, &settings()).unwrap_err().to_string();
    assert!(
        refusal.contains("the file that training.json beside it describes"),
        "{refusal}"
    );
    assert!(!run.join(EVALUATION).exists());
}
