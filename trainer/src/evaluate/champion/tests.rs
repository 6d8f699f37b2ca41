use std::fs;
use std::path::PathBuf;

use chrono::Duration;
use ranking::Schema;
use ranking::release::replacement::GateAgainst;
use ranking::release::{Exposure, Grounds, Phase, ledger};
use runtime::artefact::Manifest;
use store::{Commit, Committed, HistoryEntry, RolloutState};
use tempfile::TempDir;

use super::*;
use crate::evaluate::tests::trained;
use crate::evaluate::{EVALUATION, Evaluation, evaluate, evaluate_and_export};
use crate::files;
use crate::gate::{GateResult, gate};
use crate::matrix::Matrix;
use crate::matrix::tests::{start, synthetic};
use crate::outcome::exit_code;
use crate::publish::{PublishOutcome, publish};

/// Keys, and places for models and the database, in a folder of their own.
fn site(dir: &TempDir) -> Settings {
    let at = |name: &str| dir.path().join(name);
    let mut settings = crate::evaluate::tests::settings();
    settings.database.url = format!("sqlite://{}", at("ltr.db").display()).into();
    settings.models.dir = at("models");
    settings.models.trusted_keys = at("trusted");
    settings.publish.signing_key = at("publish.key");
    settings.publish.notify_url = String::new();
    settings.train.max_rounds = 80;
    crate::keygen::run(&Default::default(), &settings).unwrap();
    settings
}

/// A trained model, and the matrix that it was trained on.
struct Model {
    _dir: TempDir,
    run: PathBuf,
    matrix: PathBuf,
}

impl Model {
    fn new(matrix: &Matrix, settings: &Settings) -> Model {
        let dir = tempfile::tempdir().unwrap();
        let (run, matrix) = trained(&dir, matrix, settings);
        Model { _dir: dir, run, matrix }
    }

    /// A model that has learned next to nothing.
    fn of_one_round(matrix: &Matrix, settings: &Settings) -> Model {
        let mut short = settings.clone();
        short.train.max_rounds = 1;
        Model::new(matrix, &short)
    }

    /// Publishes it, however good it is.
    async fn publish(&self, second: i64, settings: &Settings) -> ModelId {
        let mut settings = settings.clone();
        (settings.gate.ndcg5_gain, settings.gate.mrr5_gain) = (-1.0, -1.0);
        (settings.gate.fair_gap, settings.gate.latency_p95_ms) = (1.0, 10_000.0);
        evaluate(&self.run, &self.matrix, None, &settings).unwrap();
        let as_of = start() + Duration::seconds(second);
        let attempt = publish(&self.run, &self.matrix, as_of, &settings).await.unwrap();
        let PublishOutcome::Published(published) = attempt else {
            panic!("{attempt:?}");
        };
        let manifest: Manifest = files::read_json(&published.dir.join(artefact::MANIFEST)).unwrap();
        ModelId {
            version: published.version,
            sha256: manifest.files.get(artefact::SCORER).cloned(),
        }
    }

    fn against(&self, champion: &ModelId, settings: &Settings) -> (Evaluation, GateResult) {
        let evaluation = evaluate(&self.run, &self.matrix, Some(champion), settings).unwrap();
        (evaluation, gate(&self.run, settings).unwrap())
    }
}

/// Puts a state on record in which this model has this share of the users.
async fn serve(settings: &Settings, model: &ModelId, share: f64) {
    let store = Store::open(settings.database.url.expose()).await.unwrap();
    let before = store.released().await.unwrap();
    let expected = before.map_or(0, |released| released.version);
    let state = State {
        version: expected + 1,
        phase: Phase::Manual,
        exposure: Exposure::whole(share),
        champion: Some(ranking::release::Champion {
            model: model.clone(),
            grounds: Grounds::FormerProgram,
            pinned: false,
            serving_since: None,
        }),
        ..State::new(start())
    };
    commit(&store, expected, &serde_json::to_string(&state).unwrap()).await;
    store.close().await;
}

async fn commit(store: &Store, expected: u64, state: &str) {
    let done = store
        .commit_release(&Commit {
            expected,
            state,
            entry: state,
            hash: &ledger::hash(state),
            command: None,
            mirror: &RolloutState::default(),
            outbox: &[],
            lease: None,
        })
        .await;
    assert_eq!(done.unwrap(), Committed::Done);
}

fn a_model() -> ModelId {
    ModelId {
        version: "20261001T021500Z".to_owned(),
        sha256: Some("a".repeat(64)),
    }
}

fn named(version: &str) -> Choice {
    Choice {
        version: Some(version.to_owned()),
    }
}

#[tokio::test]
async fn the_champion_is_the_model_that_serves_by_the_state_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let settings = site(&dir);
    let found = async || Choice::default().find(&settings).await.unwrap();
    assert_eq!(found().await, None);
    assert!(!dir.path().join("ltr.db").exists(), "looking makes no database");
    let store = Store::open(settings.database.url.expose()).await.unwrap();
    assert_eq!(found().await, None);

    let former = RolloutState {
        weight: 50,
        champion: Some(a_model().version),
        challenger: None,
    };
    let entry = HistoryEntry {
        ts_utc: start(),
        actor: "operator".to_owned(),
        action: "weight".to_owned(),
        detail: serde_json::Value::Null,
    };
    store.save_rollout(&former, &entry).await.unwrap();
    let of_former = found().await.unwrap();
    assert_eq!((of_former.version, of_former.sha256), (a_model().version, None));

    let later = ModelId {
        version: "20261002T021500Z".to_owned(),
        ..a_model()
    };
    for (model, share, expected) in [
        (a_model(), 0.05, Some(a_model())),
        (later.clone(), 1.0, Some(later.clone())),
        (later, 0.0, None),
    ] {
        serve(&settings, &model, share).await;
        assert_eq!(found().await, expected);
    }
}

#[tokio::test]
async fn a_champion_that_is_named_needs_no_database() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = site(&dir);
    settings.database.url = "postgres://ltr@127.0.0.1:1/ltr".into();
    let version = a_model().version;
    let found = named(&version).find(&settings).await.unwrap().unwrap();
    assert_eq!((found.version, found.sha256), (version, None));
    assert_eq!(named("none").find(&settings).await.unwrap(), None);
    for wrong in ["", "../20261001T021500Z", ".hidden"] {
        let error = named(wrong).find(&settings).await.unwrap_err();
        assert!(error.to_string().contains("allowed: none, or a version"), "{error:#}");
        assert_eq!(exit_code(&Err(error)), 2);
    }
}

#[tokio::test]
async fn a_database_that_does_not_say_who_serves_is_an_error_with_a_remedy() {
    let refused = async |settings: &Settings, why: &str| {
        let error = Choice::default().find(settings).await.unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("--champion none") && text.contains(why), "{text}");
        assert_eq!(exit_code(&Err(error)), 1, "{text}");
    };
    let dir = tempfile::tempdir().unwrap();
    let mut settings = site(&dir);
    fs::write(dir.path().join("ltr.db"), "no database at all, whatever its name says").unwrap();
    refused(&settings, "ltr.db").await;

    settings.database.url = format!("sqlite://{}", dir.path().join("strange.db").display()).into();
    let store = Store::open(settings.database.url.expose()).await.unwrap();
    commit(&store, 0, "{\"form\": \"of a later program\"}").await;
    refused(&settings, "ltr_release").await;

    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(settings.database.url.expose())
        .await
        .unwrap();
    sqlx::query("DELETE FROM ltr_release")
        .execute(&mut connection)
        .await
        .unwrap();
    refused(&settings, "restore the row").await;
}

/// Grades of the training and validation parts that have nothing to do with the features.
fn shuffled(matrix: &Matrix) -> Matrix {
    let mut shuffled = matrix.clone();
    let learned = matrix.cases.len() * 8 / 10;
    for case in &mut shuffled.cases[..learned] {
        let grades: Vec<_> = case.rows.iter().map(|row| row.grade).collect();
        let turn = (case.qid.as_u128() % 7) as usize + 1;
        for (at, row) in case.rows.iter_mut().enumerate() {
            row.grade = grades[(at + turn) % grades.len()];
        }
    }
    shuffled
}

fn of(gate: &GateResult) -> &GateAgainst {
    gate.champion.as_ref().unwrap()
}

fn failed(gate: &GateResult) -> Vec<&str> {
    ranking::criterion::failed(&of(gate).criteria)
}

#[tokio::test]
async fn a_better_and_an_equal_model_may_replace_the_champion_and_a_worse_one_may_not() {
    let dir = tempfile::tempdir().unwrap();
    let settings = site(&dir);
    let matrix = synthetic(400, 1);
    let good = Model::new(&matrix, &settings);
    let poor = Model::of_one_round(&matrix, &settings);
    let (of_good, of_poor) = (good.publish(1, &settings).await, poor.publish(2, &settings).await);

    let (better, gate) = good.against(&of_poor, &settings);
    let champion = better.champion.as_ref().unwrap();
    assert_eq!(champion.model, of_poor);
    assert!(champion.result.over().unwrap().ndcg5.low > 0.0, "{champion:?}");
    assert!(of(&gate).passed, "{gate:?}");
    assert_eq!(of(&gate).champion, of_poor);

    let (equal, gate) = good.against(&of_good, &settings);
    let RivalResult::Judged { arm, over } = &equal.champion.as_ref().unwrap().result else {
        panic!("{:?}", equal.champion);
    };
    assert_eq!(**arm, equal.ltr, "the same component ranks the same cases alike");
    assert_eq!((over.ndcg5, over.mrr5), Default::default());
    assert!(of(&gate).passed && gate.passed, "{gate:?}");

    let (worse, gate) = poor.against(&of_good, &settings);
    let over = worse.champion.as_ref().unwrap().result.over().unwrap();
    assert!(over.ndcg5.high < 0.0, "{over:?}");
    assert!(!of(&gate).passed && failed(&gate).contains(&"ndcg5"), "{gate:?}");
    assert!(
        gate.passed,
        "it is better than legacy, and may be compared in shadow: {gate:?}"
    );

    let (_, gate) = Model::new(&shuffled(&matrix), &settings).against(&of_good, &settings);
    assert!(!of(&gate).passed && failed(&gate).contains(&"ndcg5"), "{gate:?}");
}

#[tokio::test]
async fn an_evaluation_that_is_repeated_says_the_same_of_the_champion_and_one_from_before_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let settings = site(&dir);
    let matrix = synthetic(200, 2);
    let champion = Model::of_one_round(&matrix, &settings).publish(1, &settings).await;
    let tonight = Model::new(&matrix, &settings);
    let (first, first_gate) = tonight.against(&champion, &settings);
    let (second, second_gate) = tonight.against(&champion, &settings);
    assert!(first.champion.is_some());
    assert_eq!(
        (&first.champion, first_gate.champion),
        (&second.champion, second_gate.champion)
    );

    let path = tonight.run.join(EVALUATION);
    let mut stored: serde_json::Value = files::read_json(&path).unwrap();
    assert_eq!(serde_json::from_value::<Evaluation>(stored.clone()).unwrap(), second);
    stored.as_object_mut().unwrap().remove("champion");
    files::write_json(&path, &stored).unwrap();
    let result = gate(&tonight.run, &settings).unwrap();
    assert_eq!(result.champion, None);
    let mut result = serde_json::to_value(&result).unwrap();
    result.as_object_mut().unwrap().remove("champion");
    serde_json::from_value::<GateResult>(result).unwrap();
}

#[tokio::test]
async fn a_champion_that_is_gone_or_not_the_one_that_was_published_is_not_compared_and_the_reason_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let settings = site(&dir);
    let tonight = Model::new(&synthetic(200, 3), &settings);
    let champion = tonight.publish(1, &settings).await;
    let engine = Engine::new(settings.models.limits()).unwrap();
    let scored = |model: &ModelId, settings: &Settings| scored(model, &engine, &[], settings);
    let unknown = ModelId {
        sha256: None,
        ..champion.clone()
    };
    assert_eq!(scored(&unknown, &settings).unwrap().0, champion);
    let reason = |model: &ModelId| format!("{:#}", scored(model, &settings).unwrap_err());
    let other = ModelId {
        sha256: Some("b".repeat(64)),
        ..champion.clone()
    };
    assert!(reason(&other).contains("on record is bbbb"), "{}", reason(&other));

    let folder = settings.models.dir.join("ltr").join(&champion.version);
    for (file, expected) in [
        (artefact::SCORER, "the manifest says"),
        (artefact::MODEL, "the manifest says"),
        (artefact::MANIFEST, "does not sign"),
        (artefact::SIGNATURE, artefact::SIGNATURE),
    ] {
        let path = folder.join(file);
        let mut bytes = fs::read(&path).unwrap();
        let sound = bytes.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(reason(&champion).contains(expected), "{file}: {}", reason(&champion));
        fs::write(&path, sound).unwrap();
    }
    let mut stranger = settings.clone();
    stranger.models.trusted_keys = dir.path().join("nobody");
    scored(&champion, &stranger).unwrap_err();

    fs::remove_dir_all(&folder).unwrap();
    let (evaluation, gate) = tonight.against(&champion, &settings);
    let kept = evaluation.champion.unwrap();
    let RivalResult::Failed { reason } = &kept.result else {
        panic!("{kept:?}");
    };
    assert!(reason.contains("there is no artefact"), "{reason}");
    assert_eq!(kept.model, champion);
    assert!(!of(&gate).passed && gate.passed, "{gate:?}");
    assert_eq!(failed(&gate), ["compared"]);
    assert_eq!(of(&gate).criteria[0].reason.as_ref(), Some(reason));
}

/// A schema may grow while a champion of the former one serves; a champion that asks for what is gone cannot rank.
#[tokio::test]
async fn a_champion_is_given_its_own_features_by_name_and_one_with_others_is_not_compared() {
    let dir = tempfile::tempdir().unwrap();
    let settings = site(&dir);
    let matrix = synthetic(200, 4);
    let former = Model::new(&matrix, &settings);
    let champion = former.publish(1, &settings).await;
    let (alone, _) = former.against(&champion, &settings);

    let mut grown = settings.clone();
    grown.ranking.features.insert(0, "languages".to_owned());
    for weights in grown.ranking.presets.values_mut() {
        weights.insert("languages".to_owned(), 0.0);
    }
    let mut wider = matrix;
    wider.schema = Schema::new(grown.ranking.features.clone()).unwrap();
    for row in wider.cases.iter_mut().flat_map(|case| &mut case.rows) {
        row.features.insert(0, 0.5);
    }
    let (evaluation, _) = Model::new(&wider, &grown).against(&champion, &grown);
    let RivalResult::Judged { arm, .. } = &evaluation.champion.as_ref().unwrap().result else {
        panic!("{:?}", evaluation.champion);
    };
    assert_eq!(**arm, alone.ltr);

    let mut renamed = settings.clone();
    *renamed.ranking.features.last_mut().unwrap() = "age".to_owned();
    let engine = Engine::new(settings.models.limits()).unwrap();
    let reason = scored(&champion, &engine, &[], &renamed).unwrap_err().to_string();
    assert!(
        reason.contains("feature \"maturity\" is not in ranking.features"),
        "{reason}"
    );
}

#[tokio::test]
async fn the_champions_ranking_is_exported_beside_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let settings = site(&dir);
    let tonight = Model::new(&synthetic(200, 5), &settings);
    let champion = tonight.publish(1, &settings).await;
    let trec = dir.path().join("trec");
    evaluate_and_export(&tonight.run, &tonight.matrix, Some(&champion), Some(&trec), &settings).unwrap();
    let run = |name: &str| fs::read_to_string(trec.join(format!("{name}.run"))).unwrap();
    assert_eq!(run("champion"), run("ltr").replace(" ltr\n", " champion\n"));
}
