//! New databases, and records to put into them.

use std::any::Any;
use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use ranking::events::{Action, ActionKind, Body, Event, Impression};
use ranking::verdict::ShadowRow;
use servers::Postgres;
use sqlx::{Connection, Executor};
use store::{ShadowRecord, Store};
use uuid::Uuid;

pub(crate) const USER: Uuid = Uuid::from_u128(9);
pub(crate) const VERSION: &str = "20261001T021500Z";

pub(crate) fn day(day: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::days(20_000 + day)
}

/// A new database, and what it lives in.
pub(crate) struct Database {
    pub url: String,
    _home: Box<dyn Any>,
}

impl Database {
    pub(crate) fn sqlite() -> Database {
        let folder = tempfile::tempdir().unwrap();
        Database {
            url: format!("sqlite://{}/new/ltr.db", folder.path().display()),
            _home: Box::new(folder),
        }
    }

    pub(crate) fn postgres() -> Database {
        let server = Postgres::shared();
        Database {
            url: server.database(),
            _home: Box::new(server),
        }
    }

    /// The keys of the events in SQLite.
    pub(crate) async fn event_ids(&self) -> Vec<Uuid> {
        const ALL: &str = "SELECT event_id FROM match_events";
        let mut connection = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
        let ids: Vec<String> = sqlx::query_scalar(ALL).fetch_all(&mut connection).await.unwrap();
        ids.iter().map(|id| id.parse().unwrap()).collect()
    }

    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.url).await.unwrap()
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    pub(crate) async fn execute(&self, statement: String) {
        self.try_execute(statement).await.unwrap();
    }

    pub(crate) async fn try_execute(&self, statement: String) -> Result<(), sqlx::Error> {
        let statement = sqlx::AssertSqlSafe(statement);
        if self.is_postgres() {
            let mut connection = sqlx::PgConnection::connect(&self.url).await?;
            connection.execute(statement).await.map(drop)
        } else {
            let mut connection = sqlx::SqliteConnection::connect(&self.url).await?;
            connection.execute(statement).await.map(drop)
        }
    }

    /// Moves the instants of a column by so many seconds.
    pub(crate) async fn shift(&self, table: &str, column: &str, seconds: i64) {
        let shifted = if self.is_postgres() {
            format!("{column} + interval '{seconds} seconds'")
        } else {
            format!("{column} + {seconds} * 1000")
        };
        self.execute(format!("UPDATE {table} SET {column} = {shifted}")).await;
    }

    /// Makes every lease expire, as if its time had passed.
    pub(crate) async fn expire_leases(&self) {
        self.shift("ltr_lease", "until", -4000).await;
    }

    /// Makes every lease end later than its time allows, as if the clock had been set back.
    pub(crate) async fn set_leases_ahead(&self) {
        self.shift("ltr_lease", "until", 4000).await;
    }

    /// Waits until calls find the tables as they are again.
    pub(crate) async fn settled(&self, store: &Store) {
        for _ in 0..100 {
            if store.pulse().await.is_ok() && store.outbox_facts().await.is_ok() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the tables are as they were, and the store does not find them");
    }

    /// The one text that a query gives.
    pub(crate) async fn read(&self, query: &'static str) -> String {
        if self.url.starts_with("sqlite") {
            let mut connection = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
        } else {
            let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
        }
    }

    /// Puts an impression in case 5 there that no program of ours would write.
    pub(crate) async fn insert_raw(&self, event_id: Uuid, ts: DateTime<Utc>, payload: &str) {
        let (case_id, ts) = (
            Uuid::from_u128(5),
            ts.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true),
        );
        let columns = "INSERT INTO match_events (event_id, ts_utc, event, case_id, user_id, payload) VALUES";
        let payload = payload.replace('\'', "''");
        let row = format!("('{event_id}', '{ts}', 'impression', '{case_id}', '{USER}', '{payload}')");
        self.execute(format!("{columns} {row}")).await;
    }
}

pub(crate) fn event(id: u128, case: u128, ts: DateTime<Utc>, body: Body) -> Event {
    Event::new(Uuid::from_u128(id), ts, Uuid::from_u128(case), USER, body)
}

pub(crate) fn impression(id: u128, case: u128, ts: DateTime<Utc>, lawyers: &[&str]) -> Event {
    let impression = Impression {
        weights_used: BTreeMap::from([("geo".into(), 0.25), ("similarity".into(), 0.75)]),
        legacy_scores: Some(vec![Some(0.1); lawyers.len()]),
        ..Impression::new(
            Uuid::from_u128(id),
            lawyers.iter().map(|lawyer| lawyer.to_string()).collect(),
            lawyers.iter().map(|_| vec![Some(0.1), None, Some(0.3)]).collect(),
        )
    };
    event(id, case, ts, Body::Impression(impression))
}

pub(crate) fn click(id: u128, case: u128, ts: DateTime<Utc>, lawyer: &str) -> Event {
    let click = Action::new(ActionKind::ClickProfile, lawyer, 1);
    event(id, case, ts, Body::Action(click))
}

pub(crate) fn shadow(request: u128, case: u128, ts: DateTime<Utc>) -> ShadowRecord {
    let row = |lawyer: &str, rank| ShadowRow {
        lawyer_id: lawyer.into(),
        rank_legacy: rank,
        rank_ltr: Some(3 - rank),
        label: None,
        fair_legacy: 0.1 + 0.2,
        fair_ltr: Some(0.7),
        groups: BTreeMap::from([("gender".into(), "F".into())]),
    };
    ShadowRecord {
        request_id: Uuid::from_u128(request),
        ts_utc: ts,
        case_id: Uuid::from_u128(case),
        user_pseudonym: Uuid::from_u128(77),
        model_version: VERSION.into(),
        outcome: ranking::ShadowOutcome::Scored,
        score_us: Some(250),
        trigger: Some("sampled".into()),
        salt_id: Some(Uuid::from_u128(3)),
        rows: vec![row("adv_1", 1), row("adv_2", 2)],
        unknown: Default::default(),
    }
}
