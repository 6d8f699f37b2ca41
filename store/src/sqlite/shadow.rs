//! The shadow log: one record per compared request with both rankings, and labels that arrive days
//! later.

use chrono::{DateTime, Utc};
use ranking::verdict::{ShadowCase, ShadowRow};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::batch_insert::Insert;
use super::codec::{instant, read_instant, read_json, read_uuid};
use crate::records::{ShadowRecord, comparisons, groups_json};
use crate::{Readable, StoreError};

/// One row per lawyer of a request; the request's own row was written just before.
static INSERT_ROWS: Insert = Insert::new(
    "ltr_shadow_row (request, rank_legacy, rank_ltr, lawyer_id, fair_legacy, fair_ltr, \"groups\")",
    "(?, ?, ?, ?, ?, ?, ?)",
    "",
);

/// Inserts a comparison; true if it is new.
pub(super) async fn insert(connection: &mut SqliteConnection, record: &ShadowRecord) -> Result<bool, StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO ltr_shadow_request (request_id, ts_utc, case_id, model_version, outcome, score_us, user_id, \
             comparison_id, \"trigger\", salt_id, details) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (request_id, case_id) DO NOTHING",
    )
    .bind(record.request_id.hyphenated())
    .bind(instant(record.ts_utc))
    .bind(record.case_id.hyphenated())
    .bind(&record.model_version)
    .bind(record.outcome.as_str())
    .bind(record.score_us)
    .bind(record.user_pseudonym.hyphenated())
    .bind(record.comparison_id().hyphenated())
    .bind(&record.trigger)
    .bind(record.salt_id.map(Uuid::hyphenated))
    .bind(record.details())
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(false);
    }
    for (statement, rows) in INSERT_ROWS.statements(&record.rows) {
        let bound = rows.iter().fold(sqlx::query(statement), |bound, row| {
            bound
                .bind(inserted.last_insert_rowid())
                .bind(row.rank_legacy)
                .bind(row.rank_ltr)
                .bind(&row.lawyer_id)
                .bind(row.fair_legacy)
                .bind(row.fair_ltr)
                .bind(groups_json(&row.groups))
        });
        bound.execute(&mut *connection).await?;
    }
    Ok(true)
}

pub(super) async fn cases(
    readers: &SqlitePool,
    model_version: &str,
    closed_before: DateTime<Utc>,
) -> Result<Readable<ShadowCase>, StoreError> {
    let rows = sqlx::query(
        "SELECT r.id, r.request_id, r.case_id, r.ts_utc, r.score_us, r.outcome, \
                l.lawyer_id, l.rank_legacy, l.rank_ltr, l.label, l.fair_legacy, l.fair_ltr, l.\"groups\" \
         FROM ltr_shadow_request r JOIN ltr_shadow_row l ON l.request = r.id \
         WHERE r.model_version = ? AND r.ts_utc <= ? \
           AND NOT EXISTS (SELECT 1 FROM ltr_shadow_row u WHERE u.request = r.id AND u.label IS NULL) \
         ORDER BY r.ts_utc, r.request_id, r.id, l.rank_legacy",
    )
    .bind(model_version)
    .bind(instant(closed_before))
    .fetch_all(readers)
    .await?;
    comparisons(&rows, |row| Ok(row.try_get::<i64, _>("id")?), shadow_case, shadow_row)
}

fn shadow_case(row: &SqliteRow) -> Result<ShadowCase, StoreError> {
    const TABLE: &str = "ltr_shadow_request";
    Ok(ShadowCase {
        request_id: read_uuid(row, "request_id", TABLE)?,
        case_id: read_uuid(row, "case_id", TABLE)?,
        ts_utc: read_instant(row, "ts_utc", TABLE)?,
        score_us: row.try_get("score_us")?,
        outcome: row.try_get::<String, _>("outcome")?.into(),
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
