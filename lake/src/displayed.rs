//! Closed cases as they were displayed, for the counts of outcomes.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::record_batch::RecordBatch;
use chrono::DateTime;
use ranking::outcomes::Displayed;
use ranking::{Coin, Grade, Policy, Source};
use serde::Deserialize;
use uuid::Uuid;

use crate::LakeError;
use crate::error::never;

/// What of an impression has no column.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Details {
    pub drafted_by: Vec<Source>,
    pub coin: Option<Coin>,
    pub order_before: Option<Vec<String>>,
    pub ltr_ranks: Option<Vec<u32>>,
    pub ltr_version: Option<String>,
}

/// Reads what `lake/sql/displayed.sql` gives: a case's rows follow each other.
pub(crate) fn displayed(batches: &[RecordBatch]) -> Result<Vec<Displayed>, LakeError> {
    let mut cases: Vec<Displayed> = Vec::new();
    for batch in batches {
        let texts = |at: usize| cast(batch.column(at), &DataType::Utf8).map_err(|error| unexpected(&error));
        let whole = |at: usize| cast(batch.column(at), &DataType::Int64).map_err(|error| unexpected(&error));
        let (ids, users, policies, sources) = (texts(0)?, texts(2)?, texts(3)?, texts(4)?);
        let (versions, details) = (texts(5)?, texts(6)?);
        let (times, positions, grades) = (whole(1)?, whole(7)?, whole(8)?);
        let text = |column: &dyn Array, row: usize| -> Option<String> {
            let column = column.as_string::<i32>();
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        let number = |column: &dyn Array, row: usize| column.as_primitive::<Int64Type>().value(row);
        for row in 0..batch.num_rows() {
            let id = |column: &dyn Array| Uuid::parse_str(&text(column, row)?).ok();
            // The tables' writer knows no other ids, sources and times.
            let (Some(case_id), Some(user)) = (id(&ids), id(&users)) else {
                continue;
            };
            let (policy, source) = (text(&policies, row), text(&sources, row));
            let policy = policy.map_or(Some(Policy::None), |name| Policy::from_name(&name));
            let source = source.and_then(|name| Source::from_name(&name));
            let time = DateTime::from_timestamp_micros(number(&times, row));
            // A policy of a newer program is evidence of nothing that is known here.
            let (Some(policy), Some(source), Some(ts_utc)) = (policy, source, time) else {
                continue;
            };
            if cases.last().is_none_or(|case| case.case_id != case_id) {
                let details = text(&details, row).and_then(|text| serde_json::from_str(&text).ok());
                let Details { drafted_by, coin, .. } = details.unwrap_or_default();
                cases.push(Displayed {
                    case_id,
                    user,
                    ts_utc,
                    policy,
                    source,
                    model_version: text(&versions, row),
                    drafted_by,
                    coin,
                    acted: Vec::new(),
                });
            }
            let grade = u8::try_from(number(&grades, row)).ok().and_then(Grade::from_value);
            let place = u32::try_from(number(&positions, row)).ok();
            let acted = grade.filter(|grade| *grade > Grade::Shown).zip(place);
            if let (Some((grade, place)), Some(case)) = (acted, cases.last_mut()) {
                case.acted.push((place, grade));
            }
        }
    }
    Ok(cases)
}

fn unexpected(error: &arrow::error::ArrowError) -> LakeError {
    LakeError::File {
        path: "lake/sql/displayed.sql".to_owned(),
        problem: never(error),
        remedy: "this is a fault of the program",
    }
}
