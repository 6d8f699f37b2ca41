//! Events as rows of flat tables, so that any reader of Parquet, and the same SQL everywhere, can use
//! them without array functions.
//!
//! Text columns hold UUIDs as text and details as JSON. Times are microseconds in UTC. A user is the
//! pseudonym where this machine has the salt, so that the lake holds no more than it needs.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use ranking::{Action, Body, Event, Impression, Origin, Schema, ShadowRow, pseudonym, salt_id};
use serde_json::{Map, Value};
use store::ShadowRecord;

use crate::LakeError;
use crate::error::never;
use crate::footer;
use crate::layout::Table;

/// Rows of a row group: large enough that a column of it compresses well, small enough that the night's
/// query, which reads a few columns of a few days, holds little of it.
const ROWS_A_GROUP: usize = 128 << 10;
/// A third smaller than with snappy, and read as fast.
const ZSTD: i32 = 3;

/// Columns of the table of lawyers that are no features.
const BEFORE: [&str; 5] = ["event_id", "ts_utc", "case_id", "position", "lawyer_id"];
const AFTER: [&str; 6] = [
    "legacy_score",
    "groups",
    "cases_30d",
    "monthly_capacity",
    "last_offered_at",
    "groups_consented_at",
];
/// Columns that the matrix has besides.
const OF_MATRIX: [&str; 8] = ["qid", "label", "grade", "source", "event_date", "ts", "mature", "ts_us"];

/// A record that no reader understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// Its id, as it was stored.
    pub key: String,
    /// Why.
    pub reason: String,
    /// It, as it was stored.
    pub payload: String,
}

/// The columns of the raw tables.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    features: Schema,
}

impl Tables {
    /// # Errors
    /// A feature with the name of another column.
    pub(crate) fn new(features: &Schema) -> Result<Tables, LakeError> {
        let taken = BEFORE.iter().chain(&AFTER).chain(&OF_MATRIX);
        let taken: HashSet<&str> = taken.copied().collect();
        match features.names().iter().find(|name| taken.contains(name.as_str())) {
            Some(name) => Err(LakeError::Reserved { name: name.clone() }),
            None => Ok(Tables {
                features: features.clone(),
            }),
        }
    }

    /// The names of the features.
    pub(crate) fn features(&self) -> &Schema {
        &self.features
    }

    /// The columns of a table.
    pub(crate) fn schema(&self, table: Table) -> SchemaRef {
        let batch = match table {
            Table::Rejected => rejected(&[]),
            Table::Comparisons => comparisons(&[]),
            table => self.rows(table, &[]),
        };
        batch.expect("no rows fit any table").schema()
    }

    /// Why an impression cannot be a row here: it was logged under another `ranking.features`.
    pub(crate) fn mismatch(&self, event: &Event) -> Option<String> {
        let Body::Impression(impression) = &event.body else {
            return None;
        };
        let (width, wanted) = (impression.features[0].len(), self.features.len());
        if width != wanted {
            return Some(format!("features: {width} columns; ranking.features has {wanted}"));
        }
        if impression.features_id.is_some_and(|id| id != self.features.id()) {
            return Some("features: of other names, or in another order, than ranking.features has".to_owned());
        }
        // Programs before said the names alone, and not their order.
        let known = |name: &&String| self.features.index_of(name).is_none();
        let unknown = impression.weights_used.keys().find(known)?;
        Some(format!("weights_used: {unknown:.64?} is none of ranking.features"))
    }

    /// The rows of these events in one of the tables of events, which has no others, as a file.
    pub(crate) fn encode(&self, table: Table, events: &[Event]) -> Result<Bytes, String> {
        parquet(&self.rows(table, events).map_err(never)?, events.len())
    }

    fn rows(&self, table: Table, events: &[Event]) -> Result<RecordBatch, arrow::error::ArrowError> {
        match table {
            Table::Impressions => impressions(events),
            Table::ImpressionLawyers => self.impression_lawyers(events),
            Table::Actions => actions(events),
            Table::Comparisons => comparisons(&[]),
            Table::Rejected => rejected(&[]),
        }
    }

    fn impression_lawyers(&self, events: &[Event]) -> Result<RecordBatch, arrow::error::ArrowError> {
        let shown = || {
            events
                .iter()
                .filter_map(impression_of)
                .flat_map(|(event, impression)| (0..impression.lawyer_ids.len()).map(move |at| (event, impression, at)))
        };
        let mut columns: Vec<(&str, ArrayRef, bool)> = vec![
            ("event_id", texts(shown().map(|(event, ..)| event.event_id)), false),
            ("ts_utc", instants(shown().map(|(event, ..)| Some(event.ts_utc))), false),
            ("case_id", texts(shown().map(|(event, ..)| event.case_id)), false),
            (
                "position",
                Arc::new(shown().map(|(.., at)| at as i32 + 1).collect::<Int32Array>()),
                false,
            ),
            (
                "lawyer_id",
                texts(shown().map(|(_, impression, at)| &impression.lawyer_ids[at])),
                false,
            ),
        ];
        for (feature, name) in self.features.names().iter().enumerate() {
            let values = shown().map(|(_, impression, at)| impression.features[at][feature].filter(|x| !x.is_nan()));
            columns.push((name, Arc::new(values.collect::<Float64Array>()), true));
        }
        columns.extend(of_lawyers(
            &shown().map(|(_, impression, at)| (impression, at)).collect::<Vec<_>>(),
        ));
        RecordBatch::try_from_iter_with_nullable(columns)
    }
}

/// What is said of each lawyer beside the features.
fn of_lawyers(shown: &[(&Impression, usize)]) -> [(&'static str, ArrayRef, bool); 6] {
    let number = |of: fn(&Impression, usize) -> Option<u32>| -> ArrayRef {
        let values = shown.iter().map(|&(impression, at)| of(impression, at).map(i64::from));
        Arc::new(values.collect::<Int64Array>())
    };
    let time = |of: fn(&Impression, usize) -> Option<DateTime<Utc>>| -> ArrayRef {
        instants(shown.iter().map(|&(impression, at)| of(impression, at)))
    };
    let scores = shown
        .iter()
        .map(|&(impression, at)| impression.legacy_scores.as_ref().and_then(|all| all[at]));
    let groups = shown.iter().map(|&(impression, at)| {
        let groups = impression.groups.as_ref().map(|all| &all[at]);
        groups.map_or_else(|| "{}".to_owned(), json)
    });
    let load = |impression: &Impression, at: usize| Some(impression.cases_30d.as_ref()?[at]);
    let capacity = |impression: &Impression, at: usize| Some(impression.monthly_capacity.as_ref()?[at]);
    let offered = |impression: &Impression, at: usize| impression.last_offered_at.as_ref()?[at];
    let consented = |impression: &Impression, at: usize| impression.groups_consented_at.as_ref()?[at];
    [
        ("legacy_score", Arc::new(scores.collect::<Float64Array>()), true),
        ("groups", texts(groups), false),
        ("cases_30d", number(load), true),
        ("monthly_capacity", number(capacity), true),
        ("last_offered_at", time(offered), true),
        ("groups_consented_at", time(consented), true),
    ]
}

fn impressions(events: &[Event]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let shown = || events.iter().filter_map(impression_of);
    let lawyers = shown().map(|(_, impression)| impression.lawyer_ids.len() as i32);
    // A former program said by the id alone that it was the gateway.
    let origins = shown().map(|(event, _)| event.origin().unwrap_or(Origin::Client).name());
    let mut columns = common(shown().map(|(event, _)| event));
    columns.extend([
        (
            "request_id",
            texts(shown().map(|(_, impression)| impression.request_id)),
            false,
        ),
        (
            "source",
            texts(shown().map(|(_, impression)| impression.source.name())),
            false,
        ),
        (
            "model_version",
            maybe_texts(shown().map(|(_, impression)| impression.model_version.as_ref())),
            true,
        ),
        ("origin", texts(origins), false),
        (
            "policy",
            maybe_texts(shown().map(|(_, impression)| Some(impression.policy?.name()))),
            true,
        ),
        ("lawyers", Arc::new(lawyers.collect::<Int32Array>()), false),
        (
            "weights_used",
            texts(shown().map(|(_, impression)| json(&impression.weights_used))),
            false,
        ),
        (
            "details",
            texts(shown().map(|(event, _)| details(event, &OF_IMPRESSIONS))),
            false,
        ),
    ]);
    RecordBatch::try_from_iter_with_nullable(columns)
}

fn actions(events: &[Event]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let done = || events.iter().filter_map(action_of);
    let mut columns = common(done().map(|(event, _)| event));
    columns.extend([
        ("event", texts(done().map(|(_, action)| action.kind.name())), false),
        ("lawyer_id", texts(done().map(|(_, action)| &action.lawyer_id)), false),
        (
            "rank_pos",
            Arc::new(
                done()
                    .map(|(_, action)| i64::from(action.rank_pos))
                    .collect::<Int64Array>(),
            ) as ArrayRef,
            false,
        ),
        (
            "request_id",
            maybe_texts(done().map(|(_, action)| action.request_id)),
            true,
        ),
        (
            "unbound",
            Arc::new(done().map(|(_, action)| action.unbound).collect::<BooleanArray>()),
            true,
        ),
        (
            "details",
            texts(done().map(|(event, _)| details(event, &OF_ACTIONS))),
            false,
        ),
    ]);
    RecordBatch::try_from_iter_with_nullable(columns)
}

/// A row for each lawyer; one without a lawyer for a comparison that had none, so that it is there.
fn comparisons(records: &[ShadowRecord]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let mut rows: Vec<(&ShadowRecord, Option<&ShadowRow>)> = Vec::new();
    for record in records {
        rows.extend(record.rows.iter().map(|row| (record, Some(row))));
        if record.rows.is_empty() {
            rows.push((record, None));
        }
    }
    let of = || rows.iter().map(|(record, _)| *record);
    let rank = |of: fn(&ShadowRow) -> Option<u16>| -> ArrayRef {
        let ranks = rows.iter().map(|(_, row)| Some(i32::from(of((*row)?)?)));
        Arc::new(ranks.collect::<Int32Array>())
    };
    let number = |of: fn(&ShadowRow) -> Option<f64>| -> ArrayRef {
        Arc::new(rows.iter().map(|(_, row)| of((*row)?)).collect::<Float64Array>())
    };
    let lawyers = rows.iter().map(|(_, row)| Some(&row.as_ref()?.lawyer_id));
    let groups = rows
        .iter()
        .map(|(_, row)| row.map_or_else(|| "{}".to_owned(), |row| json(&row.groups)));
    let micros = of().map(|record| record.score_us.map(i64::from));
    RecordBatch::try_from_iter_with_nullable([
        ("event_id", texts(of().map(ShadowRecord::comparison_id)), false),
        ("ts_utc", instants(of().map(|record| Some(record.ts_utc))), false),
        ("case_id", texts(of().map(|record| record.case_id)), false),
        ("user_id", texts(of().map(|record| record.user_pseudonym)), false),
        ("salt_id", maybe_texts(of().map(|record| record.salt_id)), true),
        ("request_id", texts(of().map(|record| record.request_id)), false),
        ("model_version", texts(of().map(|record| &record.model_version)), false),
        ("outcome", texts(of().map(|record| record.outcome.as_str())), false),
        ("score_us", Arc::new(micros.collect::<Int64Array>()), true),
        ("trigger", maybe_texts(of().map(|record| record.trigger.as_ref())), true),
        ("lawyer_id", maybe_texts(lawyers), true),
        ("rank_legacy", rank(|row| Some(row.rank_legacy)), true),
        ("rank_ltr", rank(|row| row.rank_ltr), true),
        ("fair_legacy", number(|row| Some(row.fair_legacy)), true),
        ("fair_ltr", number(|row| row.fair_ltr), true),
        ("groups", texts(groups), false),
        ("details", texts(of().map(|record| json(&record.unknown))), false),
    ])
}

/// What the tables of events begin with.
fn common<'a>(events: impl Iterator<Item = &'a Event> + Clone) -> Vec<(&'static str, ArrayRef, bool)> {
    vec![
        ("event_id", texts(events.clone().map(|event| event.event_id)), false),
        (
            "ts_utc",
            instants(events.clone().map(|event| Some(event.ts_utc))),
            false,
        ),
        ("case_id", texts(events.clone().map(|event| event.case_id)), false),
        ("user_id", texts(events.clone().map(|event| event.user_id)), false),
        ("salt_id", maybe_texts(events.map(|event| event.salt_id)), true),
    ]
}

fn rejected(events: &[Rejected]) -> Result<RecordBatch, arrow::error::ArrowError> {
    RecordBatch::try_from_iter_with_nullable([
        ("event_id", texts(events.iter().map(|event| &event.key)), false),
        ("reason", texts(events.iter().map(|event| &event.reason)), false),
        ("payload", texts(events.iter().map(|event| &event.payload)), false),
    ])
}

/// The rows of what was rejected, as a file.
pub(crate) fn encode_rejected(records: &[Rejected]) -> Result<Bytes, String> {
    parquet(&rejected(records).map_err(never)?, records.len())
}

/// The rows of these comparisons, as a file.
pub(crate) fn encode_comparisons(records: &[ShadowRecord]) -> Result<Bytes, String> {
    parquet(&comparisons(records).map_err(never)?, records.len())
}

/// The rows of so many records as a file. The same rows are the same bytes.
fn parquet(batch: &RecordBatch, records: usize) -> Result<Bytes, String> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties())).map_err(never)?;
    writer.write(batch).map_err(never)?;
    writer.append_key_value_metadata(footer::fact(records as u64));
    writer.close().map_err(never)?;
    Ok(bytes.into())
}

/// How every file of the lake is written.
pub(crate) fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD).unwrap_or_default()))
        .set_max_row_group_row_count(Some(ROWS_A_GROUP))
        .build()
}

/// The user as the lake has them.
pub(crate) fn pseudonymised(event: &mut Event, salt: Option<&[u8]>) {
    if let (None, Some(salt)) = (event.salt_id, salt) {
        event.user_id = pseudonym(salt, event.user_id);
        event.salt_id = Some(salt_id(salt));
    }
}

/// The columns, and nothing that is in the table of lawyers.
const OF_IMPRESSIONS: [&str; 19] = [
    "event",
    "event_id",
    "ts_utc",
    "case_id",
    "user_id",
    "salt_id",
    "request_id",
    "source",
    "model_version",
    "origin",
    "policy",
    "weights_used",
    "lawyer_ids",
    "features",
    "legacy_scores",
    "groups",
    "cases_30d",
    "monthly_capacity",
    "last_offered_at",
];
const OF_ACTIONS: [&str; 10] = [
    "event",
    "event_id",
    "ts_utc",
    "case_id",
    "user_id",
    "salt_id",
    "lawyer_id",
    "rank_pos",
    "request_id",
    "unbound",
];

/// What an event says that has no column, so that nothing is lost.
fn details(event: &Event, columns: &[&str]) -> String {
    let mut rest: Map<String, Value> = match serde_json::to_value(event) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    rest.retain(|name, _| !columns.contains(&name.as_str()) && name != "groups_consented_at");
    Value::Object(rest).to_string()
}

fn impression_of(event: &Event) -> Option<(&Event, &Impression)> {
    match &event.body {
        Body::Impression(impression) => Some((event, impression)),
        Body::Action(_) => None,
    }
}

fn action_of(event: &Event) -> Option<(&Event, &Action)> {
    match &event.body {
        Body::Impression(_) => None,
        Body::Action(action) => Some((event, action)),
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("maps of texts and finite numbers are valid JSON")
}

fn texts<T: ToString>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(values.map(|value| Some(value.to_string())).collect::<StringArray>())
}

fn maybe_texts<T: ToString>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    let texts = values.map(|value| value.map(|value| value.to_string()));
    Arc::new(texts.collect::<StringArray>())
}

fn instants(values: impl Iterator<Item = Option<DateTime<Utc>>>) -> ArrayRef {
    let micros = values.map(|ts| ts.map(|ts| ts.timestamp_micros()));
    Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}
