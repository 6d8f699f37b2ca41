use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::evaluate::tests::settings;
use crate::lightgbm::Predictor;
use crate::matrix::encode;
use crate::matrix::tests::synthetic;

fn written(dir: &TempDir, matrix: &Matrix) -> PathBuf {
    let path = dir.path().join("matrix.parquet");
    std::fs::write(&path, encode(matrix).unwrap()).unwrap();
    path
}

#[test]
fn the_scaler_sees_the_training_part_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut matrix = synthetic(200, 1);
    let parts = split(&matrix.cases, 0.15, 0.2).unwrap();
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
    let best = training.metrics["ndcg@5"].iter().copied().fold(0.0, f64::max);
    assert_eq!(training.best_scores["ndcg@5"], best);
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
