use std::path::PathBuf;

use tempfile::TempDir;

use settings::Objective;

use super::*;
use crate::evaluate::matrix_of;
use crate::evaluate::tests::settings;
use crate::lightgbm::Predictor;
use crate::matrix::tests::{biased, index_of, listed, stored, synthetic};
use crate::matrix::{self, Matrix, encode};
use crate::train::parts::DEBIASED;
use crate::training_run::TrainingRun;

fn written(dir: &TempDir, matrix: &Matrix) -> PathBuf {
    let path = dir.path().join("matrix.parquet");
    std::fs::write(&path, encode(matrix).unwrap()).unwrap();
    path
}

#[test]
fn the_scaler_sees_the_training_part_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut matrix = synthetic(200, 1);
    let parts = split(&index_of(&matrix.cases).cases, 0.15, 0.2).unwrap();
    for case in &mut matrix.cases[parts.valid.start..] {
        case.rows[0].features[3] = 1000.0;
    }
    let out = dir.path().join("out");
    train_matrix(&written(&dir, &matrix), None, &settings(), &out).unwrap();
    let map = FeatureMap::parse(&files::read(&out.join(artefact::FEATURE_MAP)).unwrap()).unwrap();

    let train = matrix::values(&matrix.cases[parts.train]);
    let mut scaled = train.clone();
    map.scale(&mut scaled);
    for feature in 0..matrix.schema.len() {
        let column = || scaled.iter().skip(feature).step_by(11).filter(|x| !x.is_nan());
        let low = column().copied().fold(f64::INFINITY, f64::min);
        let high = column().copied().fold(f64::NEG_INFINITY, f64::max);
        assert_eq!((low, high), (0.0, 1.0), "feature {feature}");
    }
}

#[test]
fn the_same_matrix_gives_the_same_model_and_the_report_belongs_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(&dir, &synthetic(200, 2));
    let settings = settings();
    let (first, second) = (dir.path().join("a"), dir.path().join("b"));
    let training = train_matrix(&path, None, &settings, &first).unwrap();
    train_matrix(&path, None, &settings, &second).unwrap();
    for name in [artefact::MODEL, artefact::FEATURE_MAP] {
        let (a, b) = (
            files::read(&first.join(name)).unwrap(),
            files::read(&second.join(name)).unwrap(),
        );
        assert_eq!(a, b, "{name}");
    }
    let model = String::from_utf8(files::read(&first.join(artefact::MODEL)).unwrap()).unwrap();
    assert_eq!(model.matches("\nTree=").count(), training.best_iteration);
    assert_eq!(training.model_sha256, sha256(model.as_bytes()));
    assert_eq!(training.metrics["ndcg@5"].len(), training.rounds);
    let best = training.metrics[DEBIASED].iter().copied().fold(0.0, f64::max);
    assert_eq!(training.best_scores[DEBIASED], best);
    let facts = training.matrix.unwrap();
    assert_eq!(facts.sha256, sha256(&files::read(&path).unwrap()));
    assert_eq!(facts.train.cases + facts.valid.cases + facts.test.cases, 200);
    assert!(facts.train.end < facts.valid.start && facts.valid.end < facts.test.start);
    assert!(
        model.contains("[label_gain: 0,3,6,10]"),
        "gains are proportional to the labels"
    );
    Predictor::from_text(&model).unwrap();
}

#[test]
fn position_bias_can_be_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(&dir, &synthetic(200, 3));
    let model = |position_bias: bool| {
        let mut settings = settings();
        settings.train.position_bias = position_bias;
        let out = dir.path().join(position_bias.to_string());
        train_matrix(&path, None, &settings, &out).unwrap();
        files::read(&out.join(artefact::MODEL)).unwrap()
    };
    assert_ne!(model(true), model(false));
}

/// nDCG on clicks as shown falls while the scores learn to exclude the position effect, so it would
/// stop the training after a few rounds.
#[test]
fn training_continues_on_debiased_clicks_although_clicks_as_shown_would_stop_it() {
    let matrix = biased(2_500, 5, 1.0);
    let dir = tempfile::tempdir().unwrap();
    let stored = stored(dir.path(), &matrix);
    let grown = grow_on(&stored, configured(&settings()).unwrap(), &settings(), None).unwrap();
    let shown = &grown.training.metrics["ndcg@5"];
    let best_shown = 1 + (0..shown.len()).max_by(|&a, &b| shown[a].total_cmp(&shown[b])).unwrap();
    assert!(
        grown.training.best_iteration > best_shown,
        "{} rounds, {best_shown} by clicks as shown",
        grown.training.best_iteration
    );
    assert!(grown.facts.examination.share(5) < 0.45, "{:?}", grown.facts.examination);
}

#[test]
fn the_objective_is_the_configured_one_unless_parameters_name_another() {
    let dir = tempfile::tempdir().unwrap();
    let stored = stored(dir.path(), &synthetic(200, 6));
    let train = |objective, parameters: Option<serde_json::Value>| {
        let mut settings = settings();
        settings.train.objective = objective;
        let parameters = match parameters {
            Some(json) => Parameters::from_json(json.as_object().unwrap()).unwrap(),
            None => configured(&settings)?,
        };
        let grown = grow_on(&stored, parameters, &settings, None)?;
        anyhow::Ok((
            grown.training.parameters["objective"].clone(),
            grown.facts.position_bias,
        ))
    };
    let quick = |objective: &str| serde_json::json!({"objective": objective, "num_iterations": 3, "num_threads": 1});
    let (lambdarank, regression) = ("lambdarank".to_owned(), "regression".to_owned());
    assert_eq!(train(Objective::Lambdarank, None).unwrap(), (lambdarank.clone(), true));
    assert_eq!(train(Objective::Regression, None).unwrap(), (regression.clone(), false));
    let given = train(Objective::Lambdarank, Some(quick("regression"))).unwrap();
    assert_eq!(given, (regression, false));
    let unnamed = serde_json::json!({"num_iterations": 3, "num_threads": 1});
    let on = |objective| train(objective, Some(unnamed.clone())).unwrap();
    assert_eq!(on(Objective::Lambdarank), (lambdarank, true));
    assert_eq!(on(Objective::Regression), ("regression".to_owned(), false));
    let refusal = train(Objective::Lambdarank, Some(quick("binary")))
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("objective: \"binary\""), "{refusal}");

    let mut torn = settings();
    torn.train.params.insert("objective".to_owned(), "regression".into());
    let refusal = configured(&torn).unwrap_err().to_string();
    assert!(
        refusal.contains("train.params.objective") && refusal.contains("train.objective"),
        "{refusal}"
    );
}

#[test]
fn a_matrix_that_breaks_a_rule_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut matrix = synthetic(60, 4);
    matrix.cases.swap(3, 4);
    let path = written(&dir, &matrix);
    let out = dir.path().join("out");
    let refusal = train_matrix(&path, None, &settings(), &out).unwrap_err();
    assert!(format!("{refusal:#}").contains("row 33, column ts"), "{refusal:#}");
    assert!(!out.exists());
}

/// Model, feature map and the facts of the matrix.
fn trained_on(path: &Path, window_days: u32, out: PathBuf) -> (Vec<u8>, Vec<u8>, MatrixFacts) {
    let mut settings = settings();
    settings.train.window_days = window_days;
    let training = train_matrix(path, None, &settings, &out).unwrap();
    let file = |name| files::read(&out.join(name)).unwrap();
    (
        file(artefact::MODEL),
        file(artefact::FEATURE_MAP),
        training.matrix.unwrap(),
    )
}

#[test]
fn a_list_of_days_gives_the_model_of_the_same_cases_in_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let matrix = synthetic(300, 7);
    let days = trained_on(&listed(dir.path(), &matrix), 0, dir.path().join("days"));
    let one = trained_on(&written(&dir, &matrix), 0, dir.path().join("one"));
    assert_eq!((&days.0, &days.1), (&one.0, &one.1));
    let rest = |facts: &MatrixFacts| MatrixFacts {
        sha256: String::new(),
        ..facts.clone()
    };
    assert_eq!(rest(&days.2), rest(&one.2));
}

#[test]
fn a_window_of_days_gives_the_model_of_the_last_days_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (all, last) = (dir.path().join("all"), dir.path().join("last"));
    std::fs::create_dir(&all).unwrap();
    std::fs::create_dir(&last).unwrap();
    let mut matrix = synthetic(300, 8);
    let path = listed(&all, &matrix);
    let newest = matrix.cases.last().unwrap().ts.date_naive();
    matrix
        .cases
        .retain(|case| case.ts.date_naive() >= newest - chrono::Duration::days(9));
    assert!((200..260).contains(&matrix.cases.len()), "{}", matrix.cases.len());
    let windowed = trained_on(&path, 9, dir.path().join("windowed"));
    let alone = trained_on(&listed(&last, &matrix), 0, dir.path().join("alone"));
    assert_eq!((&windowed.0, &windowed.1), (&alone.0, &alone.1));
    assert_eq!((windowed.2.window_days, alone.2.window_days), (9, 0));
    assert_eq!(windowed.2.test, alone.2.test);

    // The evaluation takes the training's window, not the configured one.
    let run = TrainingRun::open(&dir.path().join("windowed"), &matrix.schema).unwrap();
    let (judged, parts) = matrix_of(&run, &path, &settings()).unwrap();
    assert_eq!(Part::of(&judged.index().cases[parts.test]), windowed.2.test);
}
