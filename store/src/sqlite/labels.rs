//! Fills in the labels of closed cases, in many short transactions: while one lasts, nobody else can write, and there are
//! labels of whole nights.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::codec::instant;
use super::{Sqlite, Writing, evidence};
use crate::StoreError;

type Label = (Uuid, String, f32);

/// Labels, or comparisons to be filled in, per transaction: some ten milliseconds.
const PER_TURN: usize = 200;

/// The pause after a transaction that others may have waited for. SQLite lets another program look for the lock only now
/// and then.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) async fn label(sqlite: &Sqlite, labels: &[Label], closed_before: DateTime<Utc>) -> Result<u64, StoreError> {
    let closed_before = instant(closed_before);
    let mut changed = 0;
    for labels in labels.chunks(PER_TURN) {
        let mut writing = sqlite.writing().await?;
        let written = write(writing.connection(), labels, &closed_before).await?;
        changed += finish(writing, written, labels.len()).await?;
    }
    let unlabelled = {
        let readers = sqlite.readers();
        let _turn = sqlite.turn(&readers).await?;
        unlabelled(&readers.data, &closed_before).await?
    };
    for requests in unlabelled.chunks(PER_TURN) {
        let mut writing = sqlite.writing().await?;
        let filled = fill_in(writing.connection(), requests, &closed_before).await?;
        changed += finish(writing, filled, requests.len()).await?;
    }
    Ok(changed)
}

/// Commits a turn, and lets others have theirs if more is to come.
async fn finish(mut writing: Writing<'_>, changed: u64, given: usize) -> Result<u64, StoreError> {
    if changed > 0 {
        evidence::count(writing.connection(), evidence::LABELS).await?;
    }
    writing.commit().await?;
    if given == PER_TURN {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(changed)
}

async fn write(connection: &mut SqliteConnection, labels: &[Label], closed_before: &str) -> Result<u64, StoreError> {
    let mut changed = 0;
    for (case_id, lawyer_id, label) in labels {
        changed += sqlx::query(
            "UPDATE ltr_shadow_row SET label = ?1 \
             WHERE request IN (SELECT id FROM ltr_shadow_request WHERE case_id = ?2) AND lawyer_id = ?3 \
               AND label IS NOT ?1 \
               AND NOT EXISTS (SELECT 1 FROM ltr_shadow_request r WHERE r.case_id = ?2 AND r.ts_utc > ?4)",
        )
        // By its shortest decimal: 0.3 is stored as 0.3, not as the nearest single.
        .bind(decimal(*label))
        .bind(case_id.hyphenated())
        .bind(lawyer_id)
        .bind(closed_before)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    }
    Ok(changed)
}

/// The comparisons of closed cases with a row that has no label.
async fn unlabelled(readers: &SqlitePool, closed_before: &str) -> Result<Vec<i64>, StoreError> {
    let requests = sqlx::query_scalar(
        "SELECT r.id FROM ltr_shadow_request r \
         WHERE r.ts_utc <= ?1 \
           AND EXISTS (SELECT 1 FROM ltr_shadow_row l WHERE l.request = r.id AND l.label IS NULL) \
           AND NOT EXISTS (SELECT 1 FROM ltr_shadow_request u WHERE u.case_id = r.case_id AND u.ts_utc > ?1) \
         ORDER BY r.id",
    )
    .bind(closed_before)
    .fetch_all(readers)
    .await?;
    Ok(requests)
}

/// Gives these comparisons' rows without a label 0, unless the case was compared again meanwhile.
async fn fill_in(connection: &mut SqliteConnection, requests: &[i64], closed_before: &str) -> Result<u64, StoreError> {
    let mut changed = 0;
    for request in requests {
        changed += sqlx::query(
            "UPDATE ltr_shadow_row SET label = 0 \
             WHERE request = ?1 AND label IS NULL \
               AND NOT EXISTS (SELECT 1 FROM ltr_shadow_request r JOIN ltr_shadow_request u ON u.case_id = r.case_id \
                               WHERE r.id = ?1 AND u.ts_utc > ?2)",
        )
        .bind(request)
        .bind(closed_before)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    }
    Ok(changed)
}

fn decimal(label: f32) -> f64 {
    label
        .to_string()
        .parse()
        .expect("the decimal form of a finite single is a valid double")
}
