//! Fills in the labels of closed cases, in many short transactions: while one lasts, nobody else can write, and there are
//! labels of whole nights.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, SqliteConnection, SqlitePool};
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

/// As [`crate::Store::label_cases`] says.
pub(super) async fn label_cases(sqlite: &Sqlite, cases: &[Uuid], labels: &[Label]) -> Result<u64, StoreError> {
    let mut of_case: HashMap<Uuid, BTreeMap<&str, f32>> = HashMap::new();
    for (case, lawyer, label) in labels {
        of_case.entry(*case).or_default().insert(lawyer, *label);
    }
    let mut changed = 0;
    for cases in cases.chunks(PER_TURN) {
        let mut writing = sqlite.writing().await?;
        let mut written = 0;
        for case in cases {
            let labels = of_case.get(case).unwrap_or(const { &BTreeMap::new() });
            written += write(writing.connection(), *case, labels).await?;
        }
        changed += finish(writing, written, cases.len()).await?;
    }
    Ok(changed)
}

/// As [`crate::Store::label_rest`] says.
pub(super) async fn label_rest(
    sqlite: &Sqlite,
    closed_before: DateTime<Utc>,
    given_up_before: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let rest = {
        let readers = sqlite.readers();
        let _turn = sqlite.turn(&readers).await?;
        rest(&readers.data, &instant(closed_before), &instant(given_up_before)).await?
    };
    let mut changed = 0;
    for requests in rest.chunks(PER_TURN) {
        let mut writing = sqlite.writing().await?;
        let mut filled = 0;
        for request in requests {
            filled += fill_in(writing.connection(), request).await?;
        }
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

/// Gives the rows of a case's comparisons these labels, and 0 to those of other lawyers.
async fn write(connection: &mut SqliteConnection, case: Uuid, labels: &BTreeMap<&str, f32>) -> Result<u64, StoreError> {
    const OF_CASE: &str = "UPDATE ltr_shadow_row SET label = ?1 \
         WHERE request IN (SELECT id FROM ltr_shadow_request WHERE case_id = ?2) AND label IS NOT ?1";
    let named: Vec<&str> = labels.keys().copied().collect();
    let named = serde_json::to_string(&named).expect("texts are always valid JSON");
    let others = format!("{OF_CASE} AND lawyer_id NOT IN (SELECT value FROM json_each(?3))");
    let zeros = sqlx::query(AssertSqlSafe(others))
        .bind(0.0)
        .bind(case.hyphenated())
        .bind(named);
    let mut changed = zeros.execute(&mut *connection).await?.rows_affected();
    let one = format!("{OF_CASE} AND lawyer_id = ?3");
    for (lawyer, label) in labels {
        // By its shortest decimal: 0.3 is stored as 0.3, not as the nearest single.
        let update = sqlx::query(AssertSqlSafe(one.as_str()))
            .bind(decimal(*label))
            .bind(case.hyphenated());
        changed += update.bind(*lawyer).execute(&mut *connection).await?.rows_affected();
    }
    Ok(changed)
}

/// A comparison with a row that has no label, and another one of the same case that has all of them.
type Rest = (i64, Option<i64>);

/// The comparisons that get their labels from another one of their case, or 0.
async fn rest(readers: &SqlitePool, closed_before: &str, given_up_before: &str) -> Result<Vec<Rest>, StoreError> {
    let rest = sqlx::query_as(
        "SELECT id, labelled FROM ( \
             SELECT r.id, r.ts_utc, r.case_id, \
                 (SELECT u.id FROM ltr_shadow_request u \
                  WHERE u.case_id = r.case_id AND u.id <> r.id \
                    AND EXISTS (SELECT 1 FROM ltr_shadow_row l WHERE l.request = u.id) \
                    AND NOT EXISTS (SELECT 1 FROM ltr_shadow_row l WHERE l.request = u.id AND l.label IS NULL) \
                  LIMIT 1) AS labelled \
             FROM ltr_shadow_request r \
             WHERE r.ts_utc <= ?1 \
               AND EXISTS (SELECT 1 FROM ltr_shadow_row l WHERE l.request = r.id AND l.label IS NULL)) x \
         WHERE labelled IS NOT NULL OR ts_utc <= ?2 \
            OR NOT EXISTS (SELECT 1 FROM match_events e WHERE e.case_id = x.case_id AND e.event = 'impression') \
         ORDER BY id",
    )
    .bind(closed_before)
    .bind(given_up_before)
    .fetch_all(readers)
    .await?;
    Ok(rest)
}

/// Gives a comparison's rows without a label the labels of another one, or 0.
async fn fill_in(connection: &mut SqliteConnection, (request, labelled): &Rest) -> Result<u64, StoreError> {
    let filled = sqlx::query(
        "UPDATE ltr_shadow_row SET label = coalesce( \
             (SELECT o.label FROM ltr_shadow_row o \
              WHERE o.request = ?2 AND o.lawyer_id = ltr_shadow_row.lawyer_id), 0) \
         WHERE request = ?1 AND label IS NULL",
    )
    .bind(request)
    .bind(labelled)
    .execute(&mut *connection)
    .await?;
    Ok(filled.rows_affected())
}

fn decimal(label: f32) -> f64 {
    label
        .to_string()
        .parse()
        .expect("the decimal form of a finite single is a valid double")
}
