//! The views of the shadow log say what the verdict computes from it.

use std::path::Path;
use std::str::FromStr;

use chrono::{DateTime, Duration};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use ranking::verdict::{Criteria, Evidence, ShadowCase, ShadowRow, Trigger};
use ranking::{ShadowOutcome, Unscored, gather};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor};
use store::{Record, ShadowRecord, Store};
use uuid::Uuid;

use crate::database::*;
use crate::label_all;

const METRICS: &str = "SELECT model_version, requests, cases, contracts, hit3_legacy, hit3_ltr, mrr_legacy, mrr_ltr, \
                       mrr_gap, fair_gap_legacy, fair_gap_ltr, latency_p95_ms, fallback_rate \
                       FROM ltr_shadow_metrics ORDER BY model_version";

/// Cases of a log.
const CASES: u128 = 40;
/// No comparison has as many.
const LAWYERS: usize = 6;

/// What the view says of a model.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
struct Row {
    model_version: String,
    requests: i64,
    cases: i64,
    contracts: i64,
    hit3_legacy: Option<f64>,
    hit3_ltr: Option<f64>,
    mrr_legacy: Option<f64>,
    mrr_ltr: Option<f64>,
    mrr_gap: Option<f64>,
    fair_gap_legacy: Option<f64>,
    fair_gap_ltr: Option<f64>,
    latency_p95_ms: Option<f64>,
    fallback_rate: Option<f64>,
}

impl Row {
    /// What the verdict's evidence on these comparisons amounts to.
    fn expected(version: &str, cases: &[ShadowCase], evidence: &Evidence) -> Row {
        let of_contracts = |value: f64| (evidence.contracts > 0).then_some(value);
        Row {
            model_version: version.to_owned(),
            requests: cases.len() as i64,
            cases: evidence.cases as i64,
            contracts: evidence.contracts as i64,
            hit3_legacy: of_contracts(evidence.hit3_legacy),
            hit3_ltr: of_contracts(evidence.hit3_ltr),
            mrr_legacy: of_contracts(evidence.mrr_legacy),
            mrr_ltr: of_contracts(evidence.mrr_ltr),
            mrr_gap: of_contracts(evidence.mrr_gap.estimate),
            fair_gap_legacy: Some(evidence.fair_gap_legacy),
            fair_gap_ltr: Some(evidence.fair_gap_ltr),
            latency_p95_ms: evidence.latency_p95_ms,
            fallback_rate: Some(evidence.fallbacks as f64 / cases.len() as f64),
        }
    }

    /// Equal but for what sums in another order change.
    fn agrees_with(&self, other: &Row) -> bool {
        let numbers = self.numbers().into_iter().zip(other.numbers());
        let mut close = numbers.map(|(a, b)| a.zip(b).map_or(a == b, |(a, b)| (a - b).abs() < 1e-9));
        self.counts() == other.counts() && close.all(|close| close)
    }

    fn counts(&self) -> (&str, [i64; 3]) {
        (&self.model_version, [self.requests, self.cases, self.contracts])
    }

    fn numbers(&self) -> [Option<f64>; 9] {
        [
            self.hit3_legacy,
            self.hit3_ltr,
            self.mrr_legacy,
            self.mrr_ltr,
            self.mrr_gap,
            self.fair_gap_legacy,
            self.fair_gap_ltr,
            self.latency_p95_ms,
            self.fallback_rate,
        ]
    }
}

/// What a reader sees who may write nothing, and who has no right but to read this view.
async fn metrics(database: &Database) -> Vec<Row> {
    if !database.is_postgres() {
        let options = SqliteConnectOptions::from_str(&database.url).unwrap().read_only(true);
        let mut connection = options.connect().await.unwrap();
        return sqlx::query_as(METRICS).fetch_all(&mut connection).await.unwrap();
    }
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let role = format!("reader_{}", Uuid::new_v4().simple());
    for statement in [
        format!("CREATE ROLE {role}"),
        format!("GRANT SELECT ON ltr_shadow_metrics TO {role}"),
        format!("SET ROLE {role}"),
        "SET default_transaction_read_only = on".to_owned(),
    ] {
        connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
    }
    sqlx::query_as(METRICS).fetch_all(&mut connection).await.unwrap()
}

/// A comparison, with lawyers who may be in others as well.
fn any_comparison() -> impl Strategy<Value = ShadowRecord> {
    let trigger = [
        None,
        Some(Trigger::Sampled),
        Some(Trigger::EdgeCopy),
        Some(Trigger::Forced),
    ];
    let outcome = [
        ShadowOutcome::Scored,
        ShadowOutcome::Scored,
        ShadowOutcome::Scored,
        ShadowOutcome::Unscored(Unscored::Timeout),
        ShadowOutcome::Other("out_of_tune".to_owned()),
    ];
    let lawyer = (
        proptest::option::weighted(0.8, 1u16..9),
        [-2.0..2.0f64, -2.0..2.0f64],
        any::<bool>(),
        [0usize..4, 0usize..4],
    );
    (
        any::<u128>(),
        0..CASES,
        0i64..20 * 86_400_000_000,
        proptest::sample::select(trigger.to_vec()),
        proptest::sample::select(outcome.to_vec()),
        proptest::option::of(0u32..200_000),
        proptest::collection::vec(lawyer, 0..LAWYERS),
    )
        .prop_map(|(request, case, micros, trigger, outcome, score_us, lawyers)| {
            let rows = (1u16..)
                .zip(lawyers)
                .map(|(rank, (rank_ltr, [legacy, ltr], answered, groups))| {
                    let known = ["", "F", "M", "X"];
                    let named = ["gender", "ethnicity"].into_iter().zip(groups);
                    ShadowRow {
                        lawyer_id: format!("adv_{rank}"),
                        rank_legacy: rank,
                        rank_ltr,
                        label: None,
                        fair_legacy: legacy,
                        fair_ltr: answered.then_some(ltr),
                        groups: named
                            .map(|(name, group)| (name.to_owned(), known[group].to_owned()))
                            .collect(),
                    }
                });
            ShadowRecord {
                request_id: Uuid::from_u128(request),
                case_id: Uuid::from_u128(case),
                ts_utc: day(0) + Duration::microseconds(micros),
                outcome,
                score_us,
                trigger: trigger.map(|trigger| trigger.name().to_owned()),
                rows: rows.collect(),
                ..shadow(0, 0, DateTime::UNIX_EPOCH)
            }
        })
}

/// A log of one model, and the label of each lawyer of each case.
fn any_log() -> impl Strategy<Value = (Vec<ShadowRecord>, Vec<f32>)> {
    let labels = proptest::sample::select(vec![0.0f32, 0.0, 0.3, 0.6, 1.0]);
    (
        proptest::collection::vec(any_comparison(), 0..120),
        proptest::collection::vec(labels, CASES as usize * LAWYERS),
    )
}

/// Keeps a model's log, whose cases have ids from `first` on, labels it, and takes a label of the last case away
/// again.
async fn keep(store: &Store, database: &Database, records: Vec<ShadowRecord>, labels: &[f32], first: u128) {
    let of_case = |case: u128| {
        let of = labels[LAWYERS * (case - first) as usize..].iter().take(LAWYERS);
        let named = of.zip(1..);
        named.map(move |(label, rank)| (Uuid::from_u128(case), format!("adv_{rank}"), *label))
    };
    let last = first + CASES - 1;
    let given: Vec<(Uuid, String, f32)> = (first..=last).flat_map(of_case).collect();
    let cases: Vec<Uuid> = (first..=last).map(Uuid::from_u128).collect();
    let records: Vec<Record> = records.into_iter().map(Record::Shadow).collect();
    store.append(&records).await.unwrap();
    store.label_cases(&cases, &given).await.unwrap();
    let last = Uuid::from_u128(last);
    let open = format!("UPDATE ltr_shadow_log SET label = NULL WHERE case_id = '{last}' AND lawyer_id = 'adv_2'");
    database.execute(open).await;
}

pub(crate) async fn the_views_say_what_the_verdict_computes(database: Database) {
    let store = database.open().await;
    let criteria = Criteria {
        resamples: 0,
        ..Criteria::default()
    };
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut all = Vec::new();
    for log in 0..20 {
        let (version, first) = (format!("model-{log:02}"), 1000 * log);
        let (mut records, labels) = any_log().new_tree(&mut runner).unwrap().current();
        for record in &mut records {
            record.model_version.clone_from(&version);
            record.case_id = Uuid::from_u128(first + record.case_id.as_u128());
        }
        keep(&store, &database, records, &labels, first).await;
        let cases = store.shadow_cases(&version, day(1000)).await.unwrap().records;
        if !cases.is_empty() {
            all.push(Row::expected(&version, &cases, &gather(&cases, &criteria)));
        }
    }
    let found = metrics(&database).await;
    let is_rich = |row: &&Row| row.contracts > 10 && row.fair_gap_legacy > Some(0.0) && row.fair_gap_ltr > Some(0.0);
    assert!(all.iter().filter(is_rich).count() > 5, "{all:?}");
    assert_eq!(found.len(), all.len());
    for (found, expected) in found.iter().zip(&all) {
        assert!(found.agrees_with(expected), "{found:?} instead of {expected:?}");
    }
}

/// A forced comparison says nothing, and neither does one whose labels are open.
pub(crate) async fn forced_and_open_comparisons_are_in_no_view(database: Database) {
    let store = database.open().await;
    let forced = ShadowRecord {
        trigger: Some("forced".into()),
        ..shadow(2, 2, day(1))
    };
    let records = [shadow(1, 1, day(0)), forced, shadow(3, 3, day(2))].map(Record::Shadow);
    store.append(&records).await.unwrap();
    assert_eq!(metrics(&database).await, []);
    let signed = |case| (Uuid::from_u128(case), "adv_2".to_owned(), 1.0);
    label_all(&store, &[signed(1), signed(2)], day(1)).await.unwrap();
    let [row] = &metrics(&database).await[..] else {
        panic!("one model");
    };
    // adv_2 is second by legacy and first by LTR, which scored within a quarter of a millisecond.
    let expected = Row {
        model_version: VERSION.to_owned(),
        requests: 1,
        cases: 1,
        contracts: 1,
        hit3_legacy: Some(1.0),
        hit3_ltr: Some(1.0),
        mrr_legacy: Some(0.5),
        mrr_ltr: Some(1.0),
        mrr_gap: Some(0.5),
        fair_gap_legacy: Some(0.0),
        fair_gap_ltr: Some(0.0),
        latency_p95_ms: Some(0.25),
        fallback_rate: Some(0.0),
    };
    assert_eq!(row, &expected);
}

pub(crate) async fn groups_that_are_no_object_hide_no_other(database: Database) {
    let store = database.open().await;
    store.append(&[Record::Shadow(shadow(1, 1, day(0)))]).await.unwrap();
    label_all(&store, &[], day(1)).await.unwrap();
    let (table, broken): (_, &[&str]) = if database.is_postgres() {
        ("ltr_shadow_log", &["[7]", "7"])
    } else {
        ("ltr_shadow_row", &["[7]", "7", "no JSON", ""])
    };
    for broken in broken {
        database
            .execute(format!(
                "UPDATE {table} SET \"groups\" = '{broken}' WHERE lawyer_id = 'adv_2'"
            ))
            .await;
        assert_eq!(metrics(&database).await.len(), 1, "{broken:?}");
    }
}

/// What was kept before there were views is in them.
pub(crate) async fn the_log_of_the_version_before_is_in_the_views(database: Database) {
    const HEAD: &str = "(request_id, ts_utc, case_id, model_version, outcome, score_us) VALUES \
                        ('00000000-0000-4000-8000-00000000abcd', '2026-10-01T00:00:00.000000000Z', \
                         '00000000-0000-4000-8000-000000000005', 'v', 'ok', 250)";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let row = if database.is_postgres() {
        let migrations = Migrator::new(folder.join("postgres")).await.unwrap();
        let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
        migrations.run_to(6, &mut connection).await.unwrap();
        "INSERT INTO ltr_shadow_log VALUES ('00000000-0000-4000-8000-000000000001', '2026-10-01T00:00:00Z', \
             '00000000-0000-4000-8000-000000000005', '00000000-0000-4000-8000-000000000009', 'adv_1', 4, 1, 1.0, \
             '00000000-0000-4000-8000-00000000abcd', 'v', 0.5, 0.5, '{}')"
    } else {
        let path = Path::new(database.url.strip_prefix("sqlite://").unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let migrations = Migrator::new(folder.join("sqlite")).await.unwrap();
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        migrations.run_to(7, &mut connection).await.unwrap();
        connection.close().await.unwrap();
        "INSERT INTO ltr_shadow_row VALUES (1, 4, 1, 'adv_1', 1.0, 0.5, 0.5, '{}')"
    };
    database.execute(format!("INSERT INTO ltr_shadow_request {HEAD}")).await;
    database.execute(row.to_owned()).await;
    database.open().await;
    let [row] = &metrics(&database).await[..] else {
        panic!("one model");
    };
    assert_eq!((row.hit3_legacy, row.hit3_ltr), (Some(0.0), Some(1.0)));
}
