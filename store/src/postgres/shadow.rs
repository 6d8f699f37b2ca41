//! The shadow log: one record per compared request with both rankings, and labels that arrive days
//! later.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use ranking::verdict::{ShadowCase, ShadowRow};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use uuid::Uuid;

use super::codec::{bound, read_json, read_unsigned, to_the_microsecond};
use super::evidence;
use crate::comparisons::{Head, PAGE, Reading};
use crate::records::{ShadowRecord, groups_json};
use crate::{Record, StoreError};

/// The most rows per statement; bounds its memory here and on the server.
const ROWS_A_STATEMENT: usize = 20_000;

/// The key of a comparison: request id and case id.
type Key = (Uuid, Uuid);

fn key(shadow: &ShadowRecord) -> Key {
    (shadow.request_id, shadow.case_id)
}

/// Writes the shadow records among `records`, and returns the keys of the new ones.
pub(super) async fn insert(connection: &mut PgConnection, records: &[Record]) -> Result<HashSet<Key>, StoreError> {
    let shadows = records.iter().filter_map(Record::shadow);
    let mut seen = HashSet::new();
    let shadows: Vec<&ShadowRecord> = shadows.filter(|shadow| seen.insert(key(shadow))).collect();
    if shadows.is_empty() {
        return Ok(HashSet::new());
    }
    let stored = insert_requests(connection, &shadows).await?;
    let mut columns = Columns::default();
    for shadow in shadows {
        if !stored.contains(&key(shadow)) {
            continue;
        }
        let comparison = shadow.comparison_id();
        for row in &shadow.rows {
            columns.push(shadow, comparison, row)?;
            if columns.shadow_id.len() == ROWS_A_STATEMENT {
                std::mem::take(&mut columns).insert(connection).await?;
            }
        }
    }
    columns.insert(connection).await?;
    Ok(stored)
}

async fn insert_requests(connection: &mut PgConnection, shadows: &[&ShadowRecord]) -> Result<HashSet<Key>, StoreError> {
    let each = || shadows.iter();
    let stored: Vec<Key> = sqlx::query_as(
        "INSERT INTO ltr_shadow_request (request_id, ts_utc, case_id, model_version, outcome, score_us, \"trigger\", \
             salt_id, details) \
         SELECT request_id, ts_utc, case_id, model_version, outcome, score_us, \"trigger\", salt_id, details::json \
         FROM UNNEST($1::uuid[], $2::timestamptz[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::text[], \
                     $8::uuid[], $9::text[]) \
             AS given (request_id, ts_utc, case_id, model_version, outcome, score_us, \"trigger\", salt_id, details) \
         ON CONFLICT (request_id, case_id) DO NOTHING RETURNING request_id, case_id",
    )
    .bind(each().map(|shadow| shadow.request_id).collect::<Vec<_>>())
    .bind(
        each()
            .map(|shadow| to_the_microsecond(shadow.ts_utc))
            .collect::<Vec<_>>(),
    )
    .bind(each().map(|shadow| shadow.case_id).collect::<Vec<_>>())
    .bind(each().map(|shadow| shadow.model_version.clone()).collect::<Vec<_>>())
    .bind(each().map(|shadow| shadow.outcome.to_string()).collect::<Vec<_>>())
    .bind(each().map(|shadow| shadow.score_us.map(i64::from)).collect::<Vec<_>>())
    .bind(each().map(|shadow| shadow.trigger.clone()).collect::<Vec<_>>())
    .bind(each().map(|shadow| shadow.salt_id).collect::<Vec<_>>())
    .bind(each().map(|shadow| shadow.details()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(stored.into_iter().collect())
}

/// The lawyers' rows as one array per column, as in `events`.
#[derive(Default)]
struct Columns {
    shadow_id: Vec<Uuid>,
    ts_utc: Vec<DateTime<Utc>>,
    case_id: Vec<Uuid>,
    user_id: Vec<Uuid>,
    lawyer_id: Vec<String>,
    rank_legacy: Vec<i16>,
    rank_ltr: Vec<Option<i16>>,
    request_id: Vec<Uuid>,
    model_version: Vec<String>,
    fair_legacy: Vec<f64>,
    fair_ltr: Vec<Option<f64>>,
    groups: Vec<String>,
}

impl Columns {
    fn push(&mut self, shadow: &ShadowRecord, comparison: Uuid, row: &ShadowRow) -> Result<(), StoreError> {
        self.shadow_id.push(ShadowRecord::shadow_id(comparison, row));
        self.ts_utc.push(to_the_microsecond(shadow.ts_utc));
        self.case_id.push(shadow.case_id);
        self.user_id.push(shadow.user_pseudonym);
        self.lawyer_id.push(row.lawyer_id.clone());
        self.rank_legacy.push(small("rank_legacy", row.rank_legacy)?);
        self.rank_ltr
            .push(row.rank_ltr.map(|rank| small("rank_ltr", rank)).transpose()?);
        self.request_id.push(shadow.request_id);
        self.model_version.push(shadow.model_version.clone());
        self.fair_legacy.push(row.fair_legacy);
        self.fair_ltr.push(row.fair_ltr);
        self.groups.push(groups_json(&row.groups));
        Ok(())
    }

    async fn insert(self, connection: &mut PgConnection) -> Result<(), StoreError> {
        if self.shadow_id.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO ltr_shadow_log (shadow_id, ts_utc, case_id, user_id, lawyer_id, rank_legacy, rank_ltr, \
                 request_id, model_version, fair_legacy, fair_ltr, \"groups\") \
             SELECT shadow_id, ts_utc, case_id, user_id, lawyer_id, rank_legacy, rank_ltr, request_id, \
                    model_version, fair_legacy, fair_ltr, \"groups\"::json \
             FROM UNNEST($1::uuid[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::text[], $6::smallint[], \
                         $7::smallint[], $8::uuid[], $9::text[], $10::float8[], $11::float8[], $12::text[]) \
                 AS given (shadow_id, ts_utc, case_id, user_id, lawyer_id, rank_legacy, rank_ltr, request_id, \
                           model_version, fair_legacy, fair_ltr, \"groups\")",
        )
        .bind(self.shadow_id)
        .bind(self.ts_utc)
        .bind(self.case_id)
        .bind(self.user_id)
        .bind(self.lawyer_id)
        .bind(self.rank_legacy)
        .bind(self.rank_ltr)
        .bind(self.request_id)
        .bind(self.model_version)
        .bind(self.fair_legacy)
        .bind(self.fair_ltr)
        .bind(self.groups)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// A rank as the `SMALLINT` of the table.
fn small(field: &'static str, rank: u16) -> Result<i16, StoreError> {
    i16::try_from(rank).map_err(|_| StoreError::Value {
        field,
        value: rank.to_string(),
        allowed: "1 to 32767",
    })
}

/// A comparison's place in the order of a model's comparisons: by time, then by key.
pub(super) struct Place {
    ts_utc: DateTime<Utc>,
    key: Key,
}

impl Place {
    /// Before all comparisons.
    pub(super) fn first() -> Place {
        Place {
            ts_utc: bound(DateTime::<Utc>::MIN_UTC),
            key: (Uuid::nil(), Uuid::nil()),
        }
    }
}

/// Reads the comparisons that come after a place, as many as fit a page; returns the last one's place, or `None` if no
/// other follows. No transaction outlasts a query: what holds of a comparison is read by one query, and what one page
/// shows may be newer than what another did.
///
/// The index has model and time alone, so that comparisons of one microsecond are sorted again for each page: there are
/// a handful at most.
pub(super) async fn page(
    pool: &PgPool,
    model_version: &str,
    closed_before: DateTime<Utc>,
    after: &Place,
    reading: &mut Reading<'_>,
) -> Result<Option<Place>, StoreError> {
    let mut connection = pool.acquire().await?;
    let found = sqlx::query(
        "SELECT request_id, case_id, ts_utc, score_us, outcome, \
                (SELECT user_id FROM ltr_shadow_log l \
                 WHERE l.request_id = r.request_id AND l.case_id = r.case_id LIMIT 1) AS user_id \
         FROM ltr_shadow_request r \
         WHERE model_version = $1 AND ts_utc <= $2 AND (ts_utc, request_id, case_id) > ($3, $4, $5) \
           AND \"trigger\" IS DISTINCT FROM 'forced' \
         ORDER BY ts_utc, request_id, case_id LIMIT $6",
    )
    .bind(model_version)
    .bind(to_the_microsecond(closed_before))
    .bind(after.ts_utc)
    .bind(after.key.0)
    .bind(after.key.1)
    .bind(PAGE)
    .fetch_all(&mut *connection)
    .await?;
    let key = |row: &PgRow| -> Result<Key, StoreError> { Ok((row.try_get("request_id")?, row.try_get("case_id")?)) };
    let Some(last) = found.last() else {
        return Ok(None);
    };
    let last = Place {
        ts_utc: last.try_get("ts_utc")?,
        key: key(last)?,
    };
    let head = |row: &PgRow| -> Result<Head<Key>, StoreError> {
        Ok(Head {
            key: key(row)?,
            case: shadow_case(row),
        })
    };
    let heads = found.iter().map(head).collect::<Result<Vec<_>, _>>()?;
    let (requests, cases): (Vec<Uuid>, Vec<Uuid>) = heads.iter().map(|head| head.key).unzip();
    // With `OFFSET 0` the subquery is run for each comparison. A join of tables without statistics, as after a restore,
    // would read the whole log for each page.
    let rows = sqlx::query(
        "SELECT l.request_id, l.case_id, l.lawyer_id, l.rank_legacy::bigint, l.rank_ltr::bigint, l.label, \
                l.fair_legacy, l.fair_ltr, l.\"groups\"::text \
         FROM UNNEST($1::uuid[], $2::uuid[]) AS asked (request_id, case_id) CROSS JOIN LATERAL \
             (SELECT * FROM ltr_shadow_log own \
              WHERE own.request_id = asked.request_id AND own.case_id = asked.case_id OFFSET 0) AS l \
         ORDER BY l.request_id, l.case_id, l.rank_legacy",
    )
    .bind(requests)
    .bind(cases)
    .fetch(&mut *connection);
    reading.page(heads, rows, key, shadow_row).await?;
    // Dropped, it would be returned by a task of its own, and the next page would open another one meanwhile.
    connection.return_to_pool().await;
    Ok((found.len() as i64 == PAGE).then_some(last))
}

/// As [`crate::Store::label_cases`] says.
pub(super) async fn label_cases(
    pool: &PgPool,
    cases: &[Uuid],
    labels: &[(Uuid, String, f32)],
) -> Result<u64, StoreError> {
    // If a lawyer has several labels, the last one counts.
    let mut of_case: HashMap<Uuid, BTreeMap<&str, f32>> = HashMap::new();
    for (case, lawyer, label) in labels {
        of_case.entry(*case).or_default().insert(lawyer, *label);
    }
    let mut cases = cases.to_vec();
    cases.sort_unstable();
    let mut changed = 0;
    let mut transaction = pool.begin().await?;
    for cases in cases.chunks(ROWS_A_STATEMENT) {
        let given = cases.iter().flat_map(|case| {
            let labels = of_case.get(case).into_iter().flatten();
            labels.map(move |(lawyer, label)| (*case, *lawyer, *label))
        });
        let given: Vec<(Uuid, &str, f32)> = given.collect();
        // Rows are locked in the order of their keys, so that two runs at once cannot deadlock.
        changed += sqlx::query(
            "WITH wanted AS ( \
                 SELECT l.request_id, l.case_id, l.lawyer_id, coalesce(given.label, 0)::real AS label \
                 FROM UNNEST($1::uuid[]) AS asked (case_id) \
                      JOIN ltr_shadow_request r ON r.case_id = asked.case_id \
                      JOIN ltr_shadow_log l ON l.request_id = r.request_id AND l.case_id = r.case_id \
                      LEFT JOIN UNNEST($2::uuid[], $3::text[], $4::real[]) AS given (case_id, lawyer_id, label) \
                           ON given.case_id = l.case_id AND given.lawyer_id = l.lawyer_id \
                 WHERE l.label IS DISTINCT FROM coalesce(given.label, 0)::real \
                 ORDER BY l.request_id, l.case_id, l.lawyer_id FOR UPDATE OF l) \
             UPDATE ltr_shadow_log l SET label = wanted.label FROM wanted \
             WHERE l.request_id = wanted.request_id AND l.case_id = wanted.case_id AND l.lawyer_id = wanted.lawyer_id",
        )
        .bind(cases)
        .bind(given.iter().map(|(case, ..)| *case).collect::<Vec<_>>())
        .bind(given.iter().map(|(_, lawyer, _)| *lawyer).collect::<Vec<_>>())
        .bind(given.iter().map(|(.., label)| *label).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    }
    if changed > 0 {
        evidence::count(&mut transaction, evidence::LABELS).await?;
    }
    transaction.commit().await?;
    Ok(changed)
}

/// As [`crate::Store::label_rest`] says.
pub(super) async fn label_rest(
    pool: &PgPool,
    closed_before: DateTime<Utc>,
    given_up_before: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let mut transaction = pool.begin().await?;
    let changed = sqlx::query(
        "WITH rest AS ( \
             SELECT l.request_id, l.case_id, l.lawyer_id, l.ts_utc, labelled.request_id AS other \
             FROM ltr_shadow_log l LEFT JOIN LATERAL \
                 (SELECT r.request_id FROM ltr_shadow_request r \
                  WHERE r.case_id = l.case_id AND r.request_id <> l.request_id \
                    AND EXISTS (SELECT 1 FROM ltr_shadow_log o \
                                WHERE o.request_id = r.request_id AND o.case_id = r.case_id) \
                    AND NOT EXISTS (SELECT 1 FROM ltr_shadow_log o \
                                    WHERE o.request_id = r.request_id AND o.case_id = r.case_id AND o.label IS NULL) \
                  LIMIT 1) AS labelled ON true \
             WHERE l.label IS NULL AND l.ts_utc <= $1 \
               AND (labelled.request_id IS NOT NULL OR l.ts_utc <= $2 \
                    OR NOT EXISTS (SELECT 1 FROM match_events e \
                                   WHERE e.case_id = l.case_id AND e.event = 'impression')) \
             ORDER BY l.request_id, l.case_id, l.lawyer_id FOR UPDATE OF l) \
         UPDATE ltr_shadow_log l SET label = coalesce( \
             (SELECT o.label FROM ltr_shadow_log o WHERE o.request_id = rest.other AND o.case_id = rest.case_id \
                AND o.lawyer_id = rest.lawyer_id LIMIT 1), 0) \
         FROM rest \
         WHERE l.request_id = rest.request_id AND l.case_id = rest.case_id AND l.lawyer_id = rest.lawyer_id",
    )
    .bind(to_the_microsecond(closed_before))
    .bind(to_the_microsecond(given_up_before))
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if changed > 0 {
        evidence::count(&mut transaction, evidence::LABELS).await?;
    }
    transaction.commit().await?;
    Ok(changed)
}

fn shadow_case(row: &PgRow) -> Result<ShadowCase, StoreError> {
    Ok(ShadowCase {
        request_id: row.try_get("request_id")?,
        case_id: row.try_get("case_id")?,
        user: row.try_get("user_id")?,
        ts_utc: row.try_get("ts_utc")?,
        score_us: read_unsigned(row, "score_us", "ltr_shadow_request")?,
        outcome: row.try_get::<String, _>("outcome")?.into(),
        rows: Vec::new(),
    })
}

/// A lawyer's row; `None` until it has its label.
fn shadow_row(row: &PgRow) -> Result<Option<ShadowRow>, StoreError> {
    const TABLE: &str = "ltr_shadow_log";
    let label: Option<f32> = row.try_get("label")?;
    if label.is_none() {
        return Ok(None);
    }
    Ok(Some(ShadowRow {
        lawyer_id: row.try_get("lawyer_id")?,
        // The column is NOT NULL.
        rank_legacy: read_unsigned(row, "rank_legacy", TABLE)?.unwrap_or_default(),
        rank_ltr: read_unsigned(row, "rank_ltr", TABLE)?,
        label,
        fair_legacy: row.try_get("fair_legacy")?,
        fair_ltr: row.try_get("fair_ltr")?,
        groups: read_json(row, "groups", TABLE)?,
    }))
}

/// As [`crate::Store::compared_versions`] says: one look into the index for each.
pub(super) async fn compared_versions(connection: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    let versions = sqlx::query_scalar(
        "WITH RECURSIVE versions (version) AS ( \
             SELECT min(model_version) FROM ltr_shadow_request \
             UNION ALL \
             SELECT (SELECT min(model_version) FROM ltr_shadow_request WHERE model_version > version) \
             FROM versions WHERE version IS NOT NULL) \
         SELECT version FROM versions WHERE version IS NOT NULL",
    );
    Ok(versions.fetch_all(connection).await?)
}

/// As [`crate::Store::next_labelled`] says.
pub(super) async fn next_labelled(
    connection: &mut PgConnection,
    model_version: &str,
    after: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let row = sqlx::query(
        "SELECT ts_utc FROM ltr_shadow_request r \
         WHERE model_version = $1 AND ts_utc > $2 \
           AND EXISTS (SELECT 1 FROM ltr_shadow_log l WHERE l.request_id = r.request_id AND l.case_id = r.case_id) \
           AND NOT EXISTS (SELECT 1 FROM ltr_shadow_log l \
                           WHERE l.request_id = r.request_id AND l.case_id = r.case_id AND l.label IS NULL) \
         ORDER BY ts_utc LIMIT 1",
    )
    .bind(model_version)
    .bind(bound(after))
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.try_get("ts_utc")).transpose()?)
}
