//! The shadow log: one record per compared request with both rankings, and labels that arrive days
//! later.

use chrono::{DateTime, Utc};
use ranking::verdict::{ShadowCase, ShadowRow};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::batch_insert::Insert;
use super::codec::{bound, instant, read_instant, read_json, read_uuid};
use crate::StoreError;
use crate::comparisons::{Head, PAGE, Reading};
use crate::records::{ShadowRecord, groups_json};

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

/// A comparison's place in the index by model and time, which has the row's id as its last column. Of that, SQLite
/// searches model and time: comparisons of the same nanosecond are passed over again for each page.
pub(super) struct Place {
    /// As bytes: see `events::between`.
    ts_utc: Vec<u8>,
    id: i64,
}

impl Place {
    /// Before all comparisons.
    pub(super) fn first() -> Place {
        Place {
            ts_utc: Vec::new(),
            id: i64::MIN,
        }
    }
}

/// Reads the comparisons that come after a place, as many as fit a page; returns the last one's place, or `None` if no
/// other follows. No transaction outlasts a query: what holds of a comparison is read by one query, and what one page
/// shows may be newer than what another did.
pub(super) async fn page(
    readers: &SqlitePool,
    model_version: &str,
    closed_before: DateTime<Utc>,
    after: &Place,
    reading: &mut Reading<'_>,
) -> Result<Option<Place>, StoreError> {
    let mut connection = readers.acquire().await?;
    let found = sqlx::query(
        "SELECT id, request_id, case_id, user_id, ts_utc, score_us, outcome, CAST(ts_utc AS BLOB) AS place \
         FROM ltr_shadow_request \
         WHERE model_version = ? AND ts_utc <= ? AND (ts_utc, id) > (CAST(? AS TEXT), ?) AND \"trigger\" IS NOT 'forced' \
         ORDER BY ts_utc, id LIMIT ?",
    )
    .bind(model_version)
    .bind(instant(closed_before))
    .bind(&after.ts_utc)
    .bind(after.id)
    .bind(PAGE)
    .fetch_all(&mut *connection)
    .await?;
    let Some(last) = found.last() else {
        return Ok(None);
    };
    let last = Place {
        ts_utc: last.try_get("place")?,
        id: last.try_get("id")?,
    };
    let head = |row: &SqliteRow| -> Result<Head<i64>, StoreError> {
        Ok(Head {
            key: row.try_get("id")?,
            case: shadow_case(row),
        })
    };
    let heads = found.iter().map(head).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<i64> = heads.iter().map(|head| head.key).collect();
    let rows = sqlx::query(
        "SELECT request, lawyer_id, rank_legacy, rank_ltr, label, fair_legacy, fair_ltr, \"groups\" \
         FROM ltr_shadow_row WHERE request IN (SELECT value FROM json_each(?)) ORDER BY request, rank_legacy",
    )
    .bind(serde_json::to_string(&ids).expect("numbers are always valid JSON"))
    .fetch(&mut *connection);
    let key = |row: &SqliteRow| Ok(row.try_get("request")?);
    reading.page(heads, rows, key, shadow_row).await?;
    // Dropped, it would be returned by a task of its own, and the next page would open another one meanwhile.
    connection.return_to_pool().await;
    Ok((found.len() as i64 == PAGE).then_some(last))
}

fn shadow_case(row: &SqliteRow) -> Result<ShadowCase, StoreError> {
    const TABLE: &str = "ltr_shadow_request";
    Ok(ShadowCase {
        request_id: read_uuid(row, "request_id", TABLE)?,
        case_id: read_uuid(row, "case_id", TABLE)?,
        // Older programs left it out where there were no lawyers.
        user: match row.try_get::<Option<&str>, _>("user_id")? {
            Some(_) => Some(read_uuid(row, "user_id", TABLE)?),
            None => None,
        },
        ts_utc: read_instant(row, "ts_utc", TABLE)?,
        score_us: row.try_get("score_us")?,
        outcome: row.try_get::<String, _>("outcome")?.into(),
        rows: Vec::new(),
    })
}

/// A lawyer's row; `None` until it has its label.
fn shadow_row(row: &SqliteRow) -> Result<Option<ShadowRow>, StoreError> {
    let Some(label) = row.try_get::<Option<f64>, _>("label")? else {
        return Ok(None);
    };
    Ok(Some(ShadowRow {
        lawyer_id: row.try_get("lawyer_id")?,
        rank_legacy: row.try_get("rank_legacy")?,
        rank_ltr: row.try_get("rank_ltr")?,
        label: Some(label as f32),
        fair_legacy: row.try_get("fair_legacy")?,
        fair_ltr: row.try_get("fair_ltr")?,
        groups: read_json(row, "groups", "ltr_shadow_log")?,
    }))
}

/// As [`crate::Store::compared_versions`] says: one look into the index for each.
pub(super) async fn compared_versions(readers: &SqlitePool) -> Result<Vec<String>, StoreError> {
    let versions = sqlx::query_scalar(
        "WITH RECURSIVE versions (version) AS ( \
             SELECT min(model_version) FROM ltr_shadow_request \
             UNION ALL \
             SELECT (SELECT min(model_version) FROM ltr_shadow_request WHERE model_version > version) \
             FROM versions WHERE version IS NOT NULL) \
         SELECT version FROM versions WHERE version IS NOT NULL",
    );
    Ok(versions.fetch_all(readers).await?)
}

/// As [`crate::Store::next_labelled`] says.
pub(super) async fn next_labelled(
    readers: &SqlitePool,
    model_version: &str,
    after: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let row = sqlx::query(
        "SELECT ts_utc FROM ltr_shadow_request r \
         WHERE model_version = ? AND ts_utc > ? \
           AND EXISTS (SELECT 1 FROM ltr_shadow_row l WHERE l.request = r.id) \
           AND NOT EXISTS (SELECT 1 FROM ltr_shadow_row l WHERE l.request = r.id AND l.label IS NULL) \
         ORDER BY ts_utc LIMIT 1",
    )
    .bind(model_version)
    .bind(bound(after))
    .fetch_optional(readers)
    .await?;
    row.map(|row| read_instant(&row, "ts_utc", "ltr_shadow_request"))
        .transpose()
}
