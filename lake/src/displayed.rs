//! Closed cases as they were displayed, for the counts of outcomes.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::record_batch::RecordBatch;
use chrono::DateTime;
use ranking::outcomes::{Arm, Displayed};
use ranking::{Coin, Grade, Policy, Source};
use serde::Deserialize;
use uuid::Uuid;

use crate::LakeError;
use crate::error::never;

/// Who was displayed a ranking of which arm.
pub(crate) type Seen = BTreeSet<(Uuid, Arm)>;

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

/// Reads what `lake/sql/returned.sql` gives.
pub(crate) fn returned(batches: &[RecordBatch]) -> Result<Seen, LakeError> {
    let mut seen = Seen::new();
    for batch in batches {
        let texts = |at: usize| cast(batch.column(at), &DataType::Utf8).map_err(|error| unexpected(&error));
        let (users, policies, sources) = (texts(0)?, texts(1)?, texts(2)?);
        for row in 0..batch.num_rows() {
            let user = text(&users, row).and_then(|id| Uuid::parse_str(&id).ok());
            let arm = display(&policies, &sources, row).and_then(|(policy, source)| Arm::of(policy, source));
            seen.extend(user.zip(arm));
        }
    }
    Ok(seen)
}

/// Reads what `lake/sql/displayed.sql` gives: a case's rows follow each other. `before`: who was displayed what on the days
/// before that count.
pub(crate) fn displayed(batches: &[RecordBatch], before: &Seen) -> Result<Vec<Displayed>, LakeError> {
    let mut cases: Vec<Displayed> = Vec::new();
    for batch in batches {
        let texts = |at: usize| cast(batch.column(at), &DataType::Utf8).map_err(|error| unexpected(&error));
        let whole = |at: usize| cast(batch.column(at), &DataType::Int64).map_err(|error| unexpected(&error));
        let (ids, users, policies, sources) = (texts(0)?, texts(2)?, texts(3)?, texts(4)?);
        let (versions, details) = (texts(5)?, texts(6)?);
        let (times, positions, grades) = (whole(1)?, whole(7)?, whole(8)?);
        let number = |column: &dyn Array, row: usize| column.as_primitive::<Int64Type>().value(row);
        for row in 0..batch.num_rows() {
            let id = |column: &dyn Array| Uuid::parse_str(&text(column, row)?).ok();
            // The tables' writer knows no other ids, sources and times.
            let (Some(case_id), Some(user)) = (id(&ids), id(&users)) else {
                continue;
            };
            let time = DateTime::from_timestamp_micros(number(&times, row));
            // A policy of a newer program is evidence of nothing that is known here.
            let (Some((policy, source)), Some(ts_utc)) = (display(&policies, &sources, row), time) else {
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
                    came_before: Arm::of(policy, source).is_some_and(|arm| before.contains(&(user, arm))),
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

fn text(column: &dyn Array, row: usize) -> Option<String> {
    let column = column.as_string::<i32>();
    column.is_valid(row).then(|| column.value(row).to_owned())
}

/// How a ranking came to be displayed; `None`: it is not known here. Former programs did not say by which sampler.
fn display(policies: &dyn Array, sources: &dyn Array, row: usize) -> Option<(Policy, Source)> {
    let policy = text(policies, row).map_or(Some(Policy::None), |name| Policy::from_name(&name));
    policy.zip(text(sources, row).and_then(|name| Source::from_name(&name)))
}

fn unexpected(error: &arrow::error::ArrowError) -> LakeError {
    LakeError::File {
        path: "lake/sql/displayed.sql".to_owned(),
        problem: never(error),
        remedy: "this is a fault of the program",
    }
}
