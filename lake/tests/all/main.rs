//! The lake as a whole: events in a database, matrices out.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests make, read and time what they like"
)]

mod attribution;
mod compacting;
mod days;
mod evidence;
mod nights;
mod places;
mod reference;
mod sinking;
mod topic;

use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, Duration, NaiveDate, Utc};
use lake::{Etl, Lake, Rules, sink};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ranking::{Action, ActionKind, Attribution, Body, Event, Impression, Origin, Schema, Windows};
use store::{Record, Store};
use uuid::Uuid;

fn features() -> Schema {
    Schema::new(vec!["price".to_owned(), "area match".to_owned()]).unwrap()
}

fn rules(attribution: Attribution) -> Rules {
    Rules {
        windows: Windows::default(),
        attribution,
        case_days: 30,
    }
}

fn start() -> DateTime<Utc> {
    "2026-10-01T08:00:00Z".parse().unwrap()
}

fn later(hours: i64) -> DateTime<Utc> {
    start() + Duration::hours(hours)
}

fn event(number: u128, case: u128, ts_utc: DateTime<Utc>, body: Body) -> Event {
    let user = Uuid::from_u128(9);
    Event::new(Uuid::from_u128(number), ts_utc, Uuid::from_u128(case), user, body)
}

fn impression(lawyers: &[&str], origin: Origin) -> Impression {
    let rows = lawyers.len();
    Impression {
        legacy_scores: Some((0..rows).map(|at| Some(1.0 - at as f64 / 10.0)).collect()),
        cases_30d: Some(vec![3; rows]),
        monthly_capacity: Some(vec![10; rows]),
        origin: Some(origin),
        ..Impression::new(
            Uuid::from_u128(77),
            lawyers.iter().map(|lawyer| (*lawyer).to_owned()).collect(),
            (0..rows).map(|at| vec![Some(at as f64 / 10.0), None]).collect(),
        )
    }
}

fn shown(lawyers: &[&str]) -> Body {
    Body::Impression(impression(lawyers, Origin::Gateway))
}

fn act(kind: ActionKind, lawyer: &str, rank_pos: u32) -> Body {
    Body::Action(Action::new(kind, lawyer, rank_pos))
}

/// A database and a lake.
struct Place {
    dir: tempfile::TempDir,
    store: Store,
    lake: Lake,
    rules: Rules,
}

impl Place {
    async fn new() -> Place {
        Place::with(Attribution::FirstImpression).await
    }

    async fn with(attribution: Attribution) -> Place {
        let dir = tempfile::tempdir().unwrap();
        Place {
            store: Store::open(&*format!("sqlite://{}", dir.path().join("ltr.db").display()))
                .await
                .unwrap(),
            lake: Lake::open(dir.path().join("lake").to_str().unwrap()).unwrap(),
            dir,
            rules: rules(attribution),
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    async fn log(&self, events: impl IntoIterator<Item = Event>) {
        let records: Vec<Record> = events.into_iter().map(Record::Event).collect();
        self.store.append(&records).await.unwrap();
    }

    async fn sink(&self) -> lake::Sank {
        sink(&self.store, &self.lake, &features(), None, false, |_| {})
            .await
            .unwrap()
    }

    async fn etl(&self, as_of: DateTime<Utc>) -> Etl<'_> {
        Etl::new(&self.lake, &features(), self.rules.clone(), as_of)
            .await
            .unwrap()
    }

    /// Makes what is not current, as a night does. Returns the days that were made.
    async fn night(&self, as_of: DateTime<Utc>) -> Vec<NaiveDate> {
        self.sink().await;
        let etl = self.etl(as_of).await;
        let mut made = Vec::new();
        for day in etl.days() {
            if !etl.is_current(day).await.unwrap() {
                let refreshed = etl.make(day).await.unwrap();
                etl.note_done(&refreshed).await.unwrap();
                made.push(day);
            }
        }
        made
    }

    fn matrix(&self, day: NaiveDate) -> Vec<Row> {
        let path = self.path().join(format!("lake/ltr/processed/{day}/matrix.parquet"));
        read(&path)
    }

    /// The rows of all days.
    async fn rows(&self, as_of: DateTime<Utc>) -> Vec<Row> {
        let etl = self.etl(as_of).await;
        etl.days().into_iter().flat_map(|day| self.matrix(day)).collect()
    }
}

/// A row of a matrix, as far as the tests look at it.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    qid: Uuid,
    ts: DateTime<Utc>,
    lawyer_id: String,
    grade: u8,
    position: u32,
    price: Option<f64>,
    mature: bool,
}

fn read(path: &Path) -> Vec<Row> {
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    reader.flat_map(|batch| rows(&batch.unwrap())).collect()
}

fn rows(batch: &RecordBatch) -> Vec<Row> {
    let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
    let whole = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
    let (qid, lawyer_id) = (text("qid"), text("lawyer_id"));
    let (grade, position) = (whole("grade"), whole("position"));
    let ts = batch
        .column_by_name("ts")
        .unwrap()
        .as_primitive::<TimestampMicrosecondType>();
    let price = batch.column_by_name("price").unwrap().as_primitive::<Float64Type>();
    let mature = batch.column_by_name("mature").unwrap().as_boolean();
    let row = |at: usize| Row {
        qid: qid.value(at).parse().unwrap(),
        ts: DateTime::from_timestamp_micros(ts.value(at)).unwrap(),
        lawyer_id: lawyer_id.value(at).to_owned(),
        grade: grade.value(at) as u8,
        position: position.value(at) as u32,
        price: price.is_valid(at).then(|| price.value(at)),
        mature: mature.value(at),
    };
    (0..batch.num_rows()).map(row).collect()
}
