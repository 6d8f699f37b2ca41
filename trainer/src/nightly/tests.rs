use arrow::array::AsArray;
use chrono::Duration;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ranking::{Action, ActionKind, Body, Event, Grade, Impression, Origin, ShadowRow};
use serde_json::json;
use sqlx::Connection;
use std::path::Path;
use store::{ShadowRecord, Store};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::checks::{CHECKS, DataProfile, Finding, PROFILE};
use crate::evaluate::EVALUATION;
use crate::gate::GATE;
use crate::matrix::tests::{start, synthetic};
use crate::matrix::{self, Case, Matrix, StoredMatrix};
use crate::train::TRAINING;

/// The events that a gateway would log for a case, with the actions in the wrong order.
fn events(case: &Case) -> Vec<Event> {
    let event = |number: u128, hours: i64, body: Body| {
        Event::new(
            Uuid::from_u128(case.qid.as_u128() << 32 | number),
            case.ts + Duration::hours(hours),
            case.qid,
            Uuid::from_u128(5),
            body,
        )
    };
    let rows = &case.rows;
    let known = |x: f64| (!x.is_nan()).then_some(x);
    let impression = Impression {
        source: case.source,
        legacy_scores: Some(rows.iter().map(|row| row.legacy_score).collect()),
        groups: Some(rows.iter().map(|row| row.groups.clone()).collect()),
        cases_30d: rows.iter().map(|row| row.cases_30d).collect(),
        monthly_capacity: rows.iter().map(|row| row.monthly_capacity).collect(),
        last_offered_at: Some(rows.iter().map(|row| row.last_offered_at).collect()),
        origin: Some(Origin::Gateway),
        ..Impression::new(
            Uuid::from_u128(case.qid.as_u128() << 64),
            rows.iter().map(|row| row.lawyer_id.clone()).collect(),
            rows.iter()
                .map(|row| row.features.iter().map(|&x| known(x)).collect())
                .collect(),
        )
    };
    let mut events = vec![];
    for row in rows {
        let steps = [
            (Grade::Contracted, ActionKind::ContractSigned, 100),
            (Grade::Contacted, ActionKind::ContactMade, 30),
            (Grade::Clicked, ActionKind::ClickProfile, 1),
        ];
        for (grade, kind, hours) in steps.into_iter().filter(|step| step.0 <= row.grade) {
            let number = u128::from(row.position) * 10 + u128::from(grade.value());
            let action = Action::new(kind, row.lawyer_id.clone(), row.position);
            events.push(event(number, hours, Body::Action(action)));
        }
    }
    events.push(event(0, 0, Body::Impression(impression)));
    events
}

/// A database with the events of the matrix's cases, every event sent twice.
async fn logged(dir: &TempDir, matrix: &Matrix) -> Settings {
    let mut settings = crate::evaluate::tests::settings();
    settings.database.url = format!("sqlite://{}", dir.path().join("ltr.db").display()).into();
    settings.lake.dir = dir.path().join("lake");
    settings.models.dir = dir.path().join("models");
    settings.models.trusted_keys = dir.path().join("trusted");
    settings.publish.signing_key = dir.path().join("publish.key");
    settings.publish.notify_url = String::new();
    crate::keygen::run(&Default::default(), &settings).unwrap();
    let store = Store::open(settings.database.url.expose()).await.unwrap();
    let records: Vec<store::Record> = matrix.cases.iter().flat_map(events).map(store::Record::Event).collect();
    store.append(&records).await.unwrap();
    store.append(&records).await.unwrap();
    store
        .append(&[store::Record::Shadow(shadow(&matrix.cases[0]))])
        .await
        .unwrap();
    store.close().await;
    settings
}

fn shadow(case: &Case) -> ShadowRecord {
    let row = |row: &matrix::Shown| ShadowRow {
        lawyer_id: row.lawyer_id.clone(),
        rank_legacy: row.position as u16,
        rank_ltr: Some(row.position as u16),
        label: None,
        fair_legacy: 0.5,
        fair_ltr: Some(0.5),
        groups: row.groups.clone(),
    };
    ShadowRecord {
        request_id: Uuid::from_u128(1234),
        ts_utc: case.ts,
        case_id: case.qid,
        user_pseudonym: Uuid::from_u128(6),
        model_version: "20260901T000000Z".to_owned(),
        outcome: ranking::ShadowOutcome::Scored,
        score_us: Some(50),
        trigger: None,
        salt_id: None,
        unknown: Default::default(),
        rows: case.rows.iter().map(row).collect(),
    }
}

/// The time when the longest window of the last case has closed.
fn closed(matrix: &Matrix) -> DateTime<Utc> {
    matrix.cases[matrix.cases.len() - 1].ts + Duration::hours(168)
}

async fn once(args: &Args, settings: &Settings) -> anyhow::Result<Outcome> {
    run(args, settings, &mut Record::default()).await
}

#[tokio::test]
async fn a_night_turns_the_event_log_into_a_published_model() {
    let dir = tempfile::tempdir().unwrap();
    let log = synthetic(400, 11);
    let settings = logged(&dir, &log).await;
    let as_of = closed(&log);
    let args = Args {
        as_of: Some(as_of),
        no_reference: false,
        champion: Choice::default(),
        json: true,
    };
    assert_eq!(once(&args, &settings).await.unwrap(), Outcome::Done);

    let path = days_path(&settings.lake.dir, as_of.date_naive());
    let stored = StoredMatrix::open(&path, 0, &settings.schema()).unwrap();
    let built = Matrix {
        schema: settings.schema(),
        cases: stored.cases(0..stored.index().cases.len()).unwrap(),
    };
    // A score is logged for all lawyers of an impression or for none; text, because NaN (missing)
    // does not equal itself.
    assert_eq!(format!("{built:?}"), format!("{log:?}"), "what went in comes out");
    let run_dir = settings.lake.dir.join("ltr/runs").join(version_of(as_of));
    for name in [TRAINING, EVALUATION, GATE] {
        assert!(run_dir.join(name).exists(), "{name}");
    }
    let versions = runtime::artefact::versions(&settings.models.dir.join("ltr")).unwrap();
    assert_eq!(versions, [version_of(as_of)]);

    let store = Store::open(settings.database.url.expose()).await.unwrap();
    let cases = store
        .shadow_cases("20260901T000000Z", as_of - Duration::hours(168))
        .await
        .unwrap()
        .records;
    let labels: Vec<f32> = cases[0].rows.iter().map(|row| row.label.unwrap()).collect();
    let expected: Vec<f32> = log.cases[0].rows.iter().map(|row| row.grade.label() as f32).collect();
    assert_eq!(labels, expected);
}

#[tokio::test]
async fn a_night_whose_model_fails_the_gate_publishes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = synthetic(200, 12);
    let mut settings = logged(&dir, &log).await;
    settings.gate.ndcg5_gain = 0.99;
    let args = Args {
        as_of: Some(closed(&log)),
        no_reference: false,
        champion: Choice::default(),
        json: true,
    };
    assert_eq!(once(&args, &settings).await.unwrap(), Outcome::Refused);
    assert!(!settings.models.dir.exists());
}

/// Reads a file of a run.
fn of_run<T: serde::de::DeserializeOwned>(settings: &Settings, as_of: DateTime<Utc>, name: &str) -> T {
    crate::files::read_json(&run_dir(&settings.lake.dir, as_of).join(name)).unwrap()
}

#[tokio::test]
async fn a_night_whose_data_shrank_is_refused_before_training_unless_the_change_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let log = synthetic(400, 18);
    let mut settings = logged(&dir, &log).await;
    let first = closed(&log);
    let mut args = Args {
        as_of: Some(first),
        no_reference: false,
        champion: Choice::default(),
        json: true,
    };
    assert_eq!(once(&args, &settings).await.unwrap(), Outcome::Done);
    let checks: DataChecks = of_run(&settings, first, CHECKS);
    assert!(checks.passed && checks.reference.is_none());

    settings.train.window_days = 12;
    let second = first + Duration::days(1);
    args.as_of = Some(second);
    assert_eq!(once(&args, &settings).await.unwrap(), Outcome::Refused);
    let checks: DataChecks = of_run(&settings, second, CHECKS);
    let reference = checks.reference.unwrap();
    assert!(reference.published && reference.run.ends_with(version_of(first)));
    let refused = checks.checks.iter().filter(|check| check.finding == Finding::Refused);
    let refused: Vec<&str> = refused.map(|check| check.check.name()).collect();
    assert_eq!(refused, ["cases_lost", "rows_lost"]);
    let run_dir = run_dir(&settings.lake.dir, second);
    assert!(!run_dir.join(TRAINING).exists());
    let versions = runtime::artefact::versions(&settings.models.dir.join("ltr")).unwrap();
    assert_eq!(versions, [version_of(first)], "nothing is published");

    args.no_reference = true;
    once(&args, &settings).await.unwrap();
    assert!(of_run::<DataChecks>(&settings, second, CHECKS).passed && run_dir.join(TRAINING).exists());
}

#[tokio::test]
async fn a_night_leaves_out_the_newest_days_whose_windows_are_open() {
    let dir = tempfile::tempdir().unwrap();
    let log = synthetic(400, 19);
    let settings = logged(&dir, &log).await;
    let as_of = closed(&log) - Duration::days(3);
    let args = Args {
        as_of: Some(as_of),
        no_reference: false,
        champion: Choice::default(),
        json: true,
    };
    assert_eq!(once(&args, &settings).await.unwrap(), Outcome::Done);
    let profile: DataProfile = of_run(&settings, as_of, PROFILE);
    let mature: Vec<&Case> = log
        .cases
        .iter()
        .filter(|case| case.ts + Duration::hours(168) <= as_of)
        .collect();
    assert_eq!(profile.cases, mature.len() as u64);
    assert_eq!(
        profile.rows,
        mature.iter().map(|case| case.rows.len() as u64).sum::<u64>()
    );
    assert_eq!(
        profile.days.keys().next_back(),
        Some(&mature[mature.len() - 1].ts.date_naive())
    );
}

#[tokio::test]
async fn a_night_before_any_window_has_closed_is_refused_by_the_checks_and_trains_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let settings = logged(&dir, &synthetic(30, 13)).await;
    let args = Args {
        as_of: Some(start() + Duration::hours(100)),
        no_reference: false,
        champion: Choice::default(),
        json: false,
    };
    assert_eq!(once(&args, &settings).await.unwrap(), Outcome::Refused);
    assert!(days_path(&settings.lake.dir, args.as_of.unwrap().date_naive()).exists());
    let run = run_dir(&settings.lake.dir, args.as_of.unwrap());
    assert!(!run.join("ltr_model.txt").exists());
}

#[tokio::test]
async fn a_salt_other_than_the_gateways_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let log = synthetic(30, 15);
    let mut settings = logged(&dir, &log).await;
    settings.privacy.salt_file = dir.path().join("privacy.salt");
    let store = Store::open(settings.database.url.expose()).await.unwrap();
    store.hold_to_salt(ranking::salt_id(b"the gateways'")).await.unwrap();
    store.close().await;
    let path = dir.path().join("days.json");
    let build = async |salt: &str| {
        std::fs::write(&settings.privacy.salt_file, salt).unwrap();
        crate::etl::build(&crate::etl::Extent::all(), closed(&log), Some(&path), &settings).await
    };
    let error = build("another").await.unwrap_err().to_string();
    assert!(error.starts_with("privacy.salt_file: "), "{error}");
    assert!(!path.exists());
    build("the gateways'\n").await.unwrap();
}

/// Adds rows that no version of the program can read, and rows of another schema.
async fn spoil(settings: &Settings, matrix: &Matrix) {
    let good = events(&matrix.cases[0]).pop().unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut event = good.to_json();
        event[field] = value;
        event.to_string()
    };
    let narrow = vec![[0.5]; matrix.cases[0].rows.len()];
    let payloads = [
        "no JSON".to_owned(),
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "{}".to_owned(),
        format!("{}{}", "[".repeat(1_000), "]".repeat(1_000)),
        with("event", json!("message_read")),
        with("event_id", json!("x")),
        with("source", json!("oracle")),
        with("lawyer_ids", json!([])),
        with("lawyer_ids", json!(["a", "a"])),
        with("features", json!([[0.5]])),
        with("features", json!([[1.7e308]])),
        with("ts_utc", json!("yesterday")),
        with("request_id", json!(7)),
        // Logged under another `ranking.features`.
        with("features", json!(narrow)),
        with("weights_used", json!({"a feature of another day": 1.0})),
    ];
    let mut connection = sqlx::SqliteConnection::connect(settings.database.url.expose())
        .await
        .unwrap();
    for n in 0..1_000u128 {
        let insert = "INSERT INTO match_events (event_id, ts_utc, event, case_id, user_id, payload)
                      VALUES (?, '2026-09-01T00:00:00.000000000Z', 'impression', ?, ?, ?)";
        let id = Uuid::from_u128(1 << 100 | n).to_string();
        let payload = payloads[n as usize % payloads.len()].replace(&good.event_id.to_string(), &id);
        sqlx::query(insert)
            .bind(id)
            .bind(matrix.cases[0].qid.to_string())
            .bind(Uuid::nil().to_string())
            .bind(payload)
            .execute(&mut connection)
            .await
            .unwrap();
    }
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_thousand_unreadable_rows_are_listed_and_do_not_change_the_matrix() {
    let dir = tempfile::tempdir().unwrap();
    let log = synthetic(60, 14);
    let settings = logged(&dir, &log).await;
    let as_of = closed(&log);
    let path = dir.path().join("days.json");
    let build = async || {
        crate::etl::build(&crate::etl::Extent::all(), as_of, Some(&path), &settings)
            .await
            .unwrap()
    };
    let before = build().await;
    assert_eq!((before.rejected, &before.rejected_in), (0, &None));
    spoil(&settings, &log).await;
    let after = build().await;
    assert_eq!((&after.sha256, after.made), (&before.sha256, vec![]));
    assert_eq!((after.sunk.rejected, after.rejected), (1_000, 1_000));
    let folder = Path::new(&after.rejected_in.unwrap()).join("2026/09/01");
    let rejected = std::fs::read(folder.join("0000000000.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(rejected)).unwrap();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        for (id, reason) in text("event_id").iter().zip(text("reason").iter()) {
            assert!(
                id.unwrap().starts_with("00000010") && !reason.unwrap().is_empty(),
                "{id:?}: {reason:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_night_that_is_repeated_makes_no_day_again_and_one_that_was_listed_before_is_not_trained_on_by_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let log = synthetic(60, 17);
    let settings = logged(&dir, &log).await;
    let as_of = closed(&log) + Duration::days(1);
    let path = dir.path().join("days.json");
    let build = async || {
        crate::etl::build(&crate::etl::Extent::all(), as_of, Some(&path), &settings)
            .await
            .unwrap()
    };
    let first = build().await;
    assert_eq!(first.made.len(), first.days);
    assert_eq!(build().await.made, []);
    let list = std::fs::read(&path).unwrap();
    // A click that comes late makes its day anew.
    let nobody = |case: &&Case| case.rows.iter().any(|row| row.grade == Grade::Shown);
    let case = log.cases.iter().find(nobody).unwrap();
    let row = case.rows.iter().find(|row| row.grade == Grade::Shown).unwrap();
    let click = Action::new(ActionKind::ClickProfile, row.lawyer_id.clone(), row.position);
    let late = Event::new(
        Uuid::from_u128(1 << 90),
        case.ts + Duration::minutes(1),
        case.qid,
        Uuid::from_u128(5),
        Body::Action(click),
    );
    let store = Store::open(settings.database.url.expose()).await.unwrap();
    store.append(&[store::Record::Event(late)]).await.unwrap();
    store.close().await;
    let again = build().await;
    assert!(!again.made.is_empty() && again.made.len() <= first.made.len());
    std::fs::write(&path, list).unwrap();
    let error = StoredMatrix::open(&path, 0, &settings.schema())
        .unwrap_err()
        .to_string();
    assert!(error.contains("was made again since it was listed"), "{error}");
}
