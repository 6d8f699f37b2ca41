use settings::Objective;
use tempfile::TempDir;

use super::*;
use crate::matrix::tests::{biased, synthetic};
use crate::matrix::{Matrix, encode};
use crate::train::train_matrix;

/// Settings for quick runs, without weaker criteria.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.evaluate.resamples = 200;
    settings.evaluate.latency_calls = 50;
    // Tests run in parallel; OpenMP's threads would compete.
    let params = &mut settings.train.params;
    params.insert("num_threads".to_owned(), 1.into());
    settings
}

/// Trains a model on `matrix`. Returns the paths `{dir}/run` and `{dir}/matrix.parquet`.
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
    let evaluation = evaluate(&run, &path, None, &settings()).unwrap();
    assert_eq!(evaluation.test.cases, 80);
    assert!(evaluation.over_legacy.ndcg5.low > 0.1, "{:?}", evaluation.over_legacy);
    assert!(evaluation.over_legacy.mrr5.low > 0.0, "{:?}", evaluation.over_legacy);
    let gain = evaluation.ltr.ndcg5.estimate - evaluation.legacy.ndcg5.estimate;
    assert!((gain - evaluation.over_legacy.ndcg5.estimate).abs() < 1e-12);
    let names: Vec<&str> = evaluation.rivals.iter().map(|rival| rival.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "LambdaMART without position",
            "LightGBM regression, pointwise",
            "gbdt, pointwise"
        ]
    );
    for rival in &evaluation.rivals {
        let RivalResult::Judged { arm, over } = &rival.result else {
            panic!("{rival:?}");
        };
        assert!(arm.ndcg5.estimate > evaluation.legacy.ndcg5.estimate + 0.1, "{rival:?}");
        assert!(arm.debiased_ndcg5.estimate > evaluation.legacy.debiased_ndcg5.estimate + 0.1);
        let gain = evaluation.ltr.debiased_ndcg5.estimate - arm.debiased_ndcg5.estimate;
        assert!((gain - over.debiased.estimate).abs() < 1e-12);
    }
    let interval = evaluation.ltr.fair_gap_interval;
    assert!((interval.estimate - evaluation.ltr.fair_gap.gap).abs() < 1e-12);
    assert!(evaluation.latency.p50_ms > 0.0 && evaluation.latency.p95_ms >= evaluation.latency.p50_ms);

    let again = evaluate(&run, &path, None, &settings()).unwrap();
    let timeless = |e: &Evaluation| Evaluation {
        latency: evaluation.latency,
        ..e.clone()
    };
    assert_eq!(timeless(&again), timeless(&evaluation), "only the latency varies");
}

/// Weighted metrics are never silently the plain ones.
#[test]
fn weighted_metrics_need_to_know_how_often_each_rank_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let (run, path) = trained(&dir, &biased(600, 9, 0.5), &settings());
    let evaluated = |eta: &str| {
        let mut settings = settings();
        settings.evaluate.eta = eta.to_owned();
        evaluate(&run, &path, None, &settings).unwrap()
    };
    let unknown = evaluated("");
    assert_eq!((unknown.ltr.weighted, unknown.over_legacy.weighted), (None, None));
    let text = std::fs::read_to_string(run.join(EVALUATION)).unwrap();
    assert!(text.contains("evaluate.eta is not set"), "{text}");

    let alike = evaluated("0");
    let plain = |arm: &Arm| Weighted {
        ndcg5: arm.ndcg5,
        mrr5: arm.mrr5,
    };
    for arm in [&alike.ltr, &alike.legacy] {
        assert_eq!(arm.weighted, Some(plain(arm)));
    }
    let gain = alike.over_legacy;
    let plain = Weighted {
        ndcg5: gain.ndcg5,
        mrr5: gain.mrr5,
    };
    assert_eq!(gain.weighted, Some(plain));

    let weighted = evaluated("1");
    let Propensities::Known {
        effective_cases, eta, ..
    } = weighted.propensities
    else {
        panic!("{:?}", weighted.propensities);
    };
    assert_eq!(eta, 1.0);
    assert!(
        effective_cases < weighted.cases_with_positive as f64,
        "{effective_cases}"
    );
    let [ltr, legacy] = [&weighted.ltr, &weighted.legacy].map(|arm| arm.weighted.unwrap());
    let over = weighted.over_legacy.weighted.unwrap();
    assert!((ltr.ndcg5.estimate - legacy.ndcg5.estimate - over.ndcg5.estimate).abs() < 1e-12);
    assert!((ltr.mrr5.estimate - legacy.mrr5.estimate - over.mrr5.estimate).abs() < 1e-12);
    assert_ne!(ltr.ndcg5, weighted.ltr.ndcg5);
    for rival in &weighted.rivals {
        let RivalResult::Judged { arm, over } = &rival.result else {
            panic!("{rival:?}");
        };
        assert!(arm.weighted.is_some() && over.weighted.is_some(), "{}", rival.name);
    }
    let read: Evaluation = serde_json::from_slice(&std::fs::read(run.join(EVALUATION)).unwrap()).unwrap();
    assert_eq!(read, weighted);
}

#[test]
fn cases_without_load_are_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut matrix = synthetic(200, 2);
    matrix.cases[199].rows[0].cases_30d = None;
    let (run, path) = trained(&dir, &matrix, &settings());
    assert_eq!(evaluate(&run, &path, None, &settings()).unwrap().cases_without_load, 1);

    for case in &mut matrix.cases {
        case.rows[1].monthly_capacity = None;
    }
    let (run, path) = trained(&dir, &matrix, &settings());
    let refusal = evaluate(&run, &path, None, &settings()).unwrap_err().to_string();
    assert!(refusal.contains("cases_30d and monthly_capacity are null"), "{refusal}");
}

#[test]
fn another_matrix_or_another_model_than_the_trained_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (run, path) = trained(&dir, &synthetic(200, 3), &settings());
    let other = dir.path().join("other.parquet");
    std::fs::write(&other, encode(&synthetic(200, 4)).unwrap()).unwrap();
    let refusal = evaluate(&run, &other, None, &settings()).unwrap_err().to_string();
    assert!(refusal.contains("the matrix this model was trained on"), "{refusal}");

    let model = run.join(runtime::artefact::MODEL);
    let text = std::fs::read_to_string(&model).unwrap();
    std::fs::write(&model, text.replace("shrinkage=0.05", "shrinkage=0.06")).unwrap();
    let refusal = evaluate(&run, &path, None, &settings()).unwrap_err().to_string();
    assert!(refusal.contains("as recorded in training.json beside it"), "{refusal}");
    assert!(!run.join(EVALUATION).exists());
}

/// If another objective is published, LambdaMART becomes a rival.
#[test]
fn another_objective_is_published_when_configured_and_lambdamart_is_its_rival() {
    let dir = tempfile::tempdir().unwrap();
    for (objective, name) in [
        (Objective::Regression, "regression"),
        (Objective::RankXendcg, "rank_xendcg"),
    ] {
        let mut settings = settings();
        settings.train.objective = objective;
        let (run, path) = trained(&dir, &synthetic(300, 6), &settings);
        let evaluation = evaluate(&run, &path, None, &settings).unwrap();
        assert_eq!(evaluation.objective, name);
        assert!(evaluation.over_legacy.ndcg5.low > 0.1, "{:?}", evaluation.over_legacy);
        let names: Vec<&str> = evaluation.rivals.iter().map(|rival| rival.name.as_str()).collect();
        assert_eq!(names[..2], ["LambdaMART", "LambdaMART without position"]);
        assert_eq!(names.contains(&"LightGBM regression, pointwise"), name != "regression");
        let model = std::fs::read_to_string(run.join(runtime::artefact::MODEL)).unwrap();
        assert!(model.contains(&format!("objective={name}")));
    }
}

/// Models trained on constant features rank nothing.
#[test]
fn a_rival_that_predicts_one_value_is_named_as_failed() {
    let dir = tempfile::tempdir().unwrap();
    let mut matrix = synthetic(200, 7);
    for row in matrix.cases.iter_mut().flat_map(|case| &mut case.rows) {
        row.features = vec![0.5; 11];
    }
    let (run, path) = trained(&dir, &matrix, &settings());
    let evaluation = evaluate(&run, &path, None, &settings()).unwrap();
    for rival in &evaluation.rivals {
        let RivalResult::Failed { reason } = &rival.result else {
            panic!("{rival:?}");
        };
        assert_eq!(reason, "predicts one value for every row", "{}", rival.name);
        assert!(rival.result.over().is_none());
    }
    let text = std::fs::read_to_string(run.join(EVALUATION)).unwrap();
    assert!(
        text.contains("\"reason\": \"predicts one value for every row\""),
        "{text}"
    );
    let read: Evaluation = serde_json::from_str(&text).unwrap();
    assert_eq!(read, evaluation);
}

/// Ties are broken by id: with the order shown, a constant would score as well as that order.
#[test]
fn a_constant_is_not_credited_with_the_order_shown() {
    let dir = tempfile::tempdir().unwrap();
    let mut matrix = synthetic(200, 8);
    for case in &mut matrix.cases {
        case.rows.sort_by_key(|row| std::cmp::Reverse(row.grade));
        for (at, row) in case.rows.iter_mut().enumerate() {
            row.position = at as u32 + 1;
            row.features = vec![0.5; 11];
        }
    }
    let (run, path) = trained(&dir, &matrix, &settings());
    let evaluation = evaluate(&run, &path, None, &settings()).unwrap();
    assert!(evaluation.ltr.ndcg5_raw < 0.9, "{}", evaluation.ltr.ndcg5_raw);
}
