//! The shadow log: both rankings of one request in one joined record, and the labels that arrive days later.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use ranking::verdict::{ShadowCase, ShadowRow};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::columns::{instant, read_instant, read_json, read_uuid};
use crate::records::{ShadowRecord, groups_json};
use crate::{Appended, StoreError};

/// The most rows of a statement, as a power of two: SQLite takes 32,766 values, and a row has seven of its own.
const MOST_ROWS: usize = 7;

/// Statements for 1, 2, 4, ... rows, so that each is prepared once. What is the request's comes first, and once.
/// Parameters have no numbers: SQLite looks numbers up in a list, each time from its beginning.
static INSERT_ROWS: LazyLock<[String; MOST_ROWS + 1]> = LazyLock::new(|| {
    std::array::from_fn(|power| {
        format!(
            "INSERT INTO ltr_shadow_log (request_id, ts_utc, case_id, user_id, model_version, shadow_id, lawyer_id, \
             rank_legacy, rank_ltr, fair_legacy, fair_ltr, \"groups\") \
             SELECT request.*, lawyer.* FROM (VALUES (?, ?, ?, ?, ?)) AS request, \
             (VALUES (?, ?, ?, ?, ?, ?, ?){}) AS lawyer",
            ", (?, ?, ?, ?, ?, ?, ?)".repeat((1 << power) - 1)
        )
    })
});

pub async fn insert(connection: &mut SqliteConnection, record: &ShadowRecord) -> Result<Appended, StoreError> {
    let request_id = record.request_id.hyphenated();
    let ts_utc = instant(record.ts_utc);
    let case_id = record.case_id.hyphenated();
    let inserted = sqlx::query(
        "INSERT INTO ltr_shadow_request (request_id, ts_utc, case_id, model_version, outcome, score_us) \
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(request_id)
    .bind(&ts_utc)
    .bind(case_id)
    .bind(&record.model_version)
    .bind(&record.outcome)
    .bind(record.score_us)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if inserted == 0 {
        return Ok(Appended::Duplicate);
    }
    let mut rows = record.rows.as_slice();
    while !rows.is_empty() {
        let power = (rows.len().ilog2() as usize).min(MOST_ROWS);
        let (now, later) = rows.split_at(1 << power);
        let statement = sqlx::query(INSERT_ROWS[power].as_str())
            .bind(request_id)
            .bind(&ts_utc)
            .bind(case_id)
            .bind(record.user_pseudonym.hyphenated())
            .bind(&record.model_version);
        let statement = now.iter().fold(statement, |statement, row| {
            statement
                .bind(record.shadow_id(row).hyphenated())
                .bind(&row.lawyer_id)
                .bind(row.rank_legacy)
                .bind(row.rank_ltr)
                .bind(row.fair_legacy)
                .bind(row.fair_ltr)
                .bind(groups_json(&row.groups))
        });
        statement.execute(&mut *connection).await?;
        rows = later;
    }
    Ok(Appended::Stored)
}

pub async fn cases(
    readers: &SqlitePool,
    model_version: &str,
    closed_before: DateTime<Utc>,
) -> Result<Vec<ShadowCase>, StoreError> {
    let rows = sqlx::query(
        "SELECT r.request_id, r.case_id, r.ts_utc, r.score_us, r.outcome, \
                l.lawyer_id, l.rank_legacy, l.rank_ltr, l.label, l.fair_legacy, l.fair_ltr, l.\"groups\" \
         FROM ltr_shadow_request r JOIN ltr_shadow_log l ON l.request_id = r.request_id \
         WHERE r.model_version = ? AND r.ts_utc <= ? \
           AND NOT EXISTS (SELECT 1 FROM ltr_shadow_log u WHERE u.request_id = r.request_id AND u.label IS NULL) \
         ORDER BY r.ts_utc, r.request_id, l.rank_legacy",
    )
    .bind(model_version)
    .bind(instant(closed_before))
    .fetch_all(readers)
    .await?;
    let mut cases: Vec<ShadowCase> = Vec::new();
    for row in &rows {
        let request_id = read_uuid(row, "request_id", "ltr_shadow_request")?;
        if cases.last().is_none_or(|case| case.request_id != request_id) {
            cases.push(shadow_case(row, request_id)?);
        }
        let case = cases.last_mut().expect("one was pushed just above if there was none");
        case.rows.push(shadow_row(row)?);
    }
    Ok(cases)
}

pub async fn label(
    writer: &SqlitePool,
    labels: &[(Uuid, String, f32)],
    closed_before: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let closed_before = instant(closed_before);
    let mut changed = 0;
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    for (case_id, lawyer_id, label) in labels {
        changed += sqlx::query(
            "UPDATE ltr_shadow_log SET label = ?1 \
             WHERE request_id IN (SELECT request_id FROM ltr_shadow_request WHERE case_id = ?2) AND lawyer_id = ?3 \
               AND label IS NOT ?1 \
               AND NOT EXISTS (SELECT 1 FROM ltr_shadow_request r WHERE r.case_id = ?2 AND r.ts_utc > ?4)",
        )
        // Through its shortest decimal, so that 0.3 is stored as 0.3 and not as the nearest single.
        .bind(decimal(*label))
        .bind(case_id.hyphenated())
        .bind(lawyer_id)
        .bind(&closed_before)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    }
    changed += sqlx::query(
        "UPDATE ltr_shadow_log SET label = 0 \
         WHERE label IS NULL AND ts_utc <= ?1 \
           AND NOT EXISTS (SELECT 1 FROM ltr_shadow_request r \
                           WHERE r.case_id = ltr_shadow_log.case_id AND r.ts_utc > ?1)",
    )
    .bind(&closed_before)
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    transaction.commit().await?;
    Ok(changed)
}

fn decimal(label: f32) -> f64 {
    label
        .to_string()
        .parse()
        .expect("the decimal form of a finite single is a valid double")
}

fn shadow_case(row: &SqliteRow, request_id: Uuid) -> Result<ShadowCase, StoreError> {
    const TABLE: &str = "ltr_shadow_request";
    Ok(ShadowCase {
        request_id,
        case_id: read_uuid(row, "case_id", TABLE)?,
        ts_utc: read_instant(row, "ts_utc", TABLE)?,
        score_us: row.try_get("score_us")?,
        outcome: row.try_get("outcome")?,
        rows: Vec::new(),
    })
}

fn shadow_row(row: &SqliteRow) -> Result<ShadowRow, StoreError> {
    Ok(ShadowRow {
        lawyer_id: row.try_get("lawyer_id")?,
        rank_legacy: row.try_get("rank_legacy")?,
        rank_ltr: row.try_get("rank_ltr")?,
        label: row.try_get::<Option<f64>, _>("label")?.map(|label| label as f32),
        fair_legacy: row.try_get("fair_legacy")?,
        fair_ltr: row.try_get("fair_ltr")?,
        groups: read_json(row, "groups", "ltr_shadow_log")?,
    })
}
