use super::*;

const LOG: &str = "SELECT shadow_id, ts_utc, case_id, user_id, lawyer_id, rank_legacy, rank_ltr, label \
                   FROM ltr_shadow_log ORDER BY shadow_id";
type Row = (String, String, String, String, String, u16, Option<u16>, Option<f64>);

/// A file as made by the version with the first `migrations`, with a comparison of two lawyers.
async fn older(path: &str, migrations: usize) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let former = MIGRATIONS.migrations[..migrations].to_vec();
    Migrator::with_migrations(former).run(&pool).await.unwrap();
    let rows = match migrations {
        1 | 2 => {
            "INSERT INTO ltr_shadow_request VALUES
            ('9d3c0000-0000-4000-8000-00000000abcd', '2026-10-01T00:00:00.000000000Z', 'c', 'v', 'ok', 7);
        INSERT INTO ltr_shadow_log VALUES
            ('one', '2026-10-01T00:00:00.000000000Z', 'c', 'u', 'adv_1', 1, 2, 0.3,
             '9d3c0000-0000-4000-8000-00000000abcd', 'v', 0.5, 0.25, '{}'),
            ('two', '2026-10-01T00:00:00.000000000Z', 'c', 'u', 'adv_2', 2, NULL, NULL,
             '9d3c0000-0000-4000-8000-00000000abcd', 'v', 0.25, NULL, '{}')"
        }
        _ => {
            "INSERT INTO ltr_shadow_request VALUES
            (7, '9d3c0000-0000-4000-8000-00000000abcd', '2026-10-01T00:00:00.000000000Z', 'c', 'v', 'ok', 7, 'u');
        INSERT INTO ltr_shadow_row VALUES
            (7, 1, 2, 'adv_1', 0.3, 0.5, 0.25, '{}'),
            (7, 2, NULL, 'adv_2', NULL, 0.25, NULL, '{}')"
        }
    };
    sqlx::raw_sql(rows).execute(&pool).await.unwrap();
    pool.close().await;
}

#[tokio::test]
async fn the_log_of_older_versions_is_kept_and_labels_are_filled_in_through_it() {
    for migrations in [1, 2, 3] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ltr.db").to_str().unwrap().to_owned();
        older(&path, migrations).await;
        let store = Sqlite::open(&path, Limits::default()).await.unwrap();
        let row = |rank: u16, ltr, label| -> Row {
            (
                format!("9d3c0000-0000-000{rank}-8000-00000000abcd"),
                "2026-10-01T00:00:00.000000000Z".into(),
                "c".into(),
                "u".into(),
                format!("adv_{rank}"),
                rank,
                ltr,
                label,
            )
        };
        let log: Vec<Row> = sqlx::query_as(LOG).fetch_all(&store.readers().data).await.unwrap();
        assert_eq!(log, [row(1, Some(2), Some(0.3)), row(2, None, None)]);

        let fill = "UPDATE ltr_shadow_log SET label = 0.6 WHERE case_id = 'c' AND lawyer_id = 'adv_2'";
        let mut writing = store.writing().await.unwrap();
        sqlx::query(fill).execute(writing.connection()).await.unwrap();
        writing.commit().await.unwrap();
        let log: Vec<Row> = sqlx::query_as(LOG).fetch_all(&store.readers().data).await.unwrap();
        assert_eq!(log, [row(1, Some(2), Some(0.3)), row(2, None, Some(0.6))]);
        store.close().await;
    }
}

#[tokio::test]
async fn what_is_committed_into_a_deleted_file_is_not_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ltr.db").to_str().unwrap().to_owned();
    let store = Sqlite::open(&path, Limits::default()).await.unwrap();
    let writing = store.writing().await.unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(writing.commit().await.unwrap_err().is_unavailable());
    assert!(store.writing().await.is_err());
}

#[tokio::test]
async fn a_file_that_was_replaced_is_read_without_a_write_before() {
    let folder = tempfile::tempdir().unwrap();
    let [path, other] = ["ltr.db", "other.db"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    let store = Sqlite::open(&path, Limits::default()).await.unwrap();
    assert_eq!(store.rollout().await.unwrap().weight, 0);
    let another = Sqlite::open(&other, Limits::default()).await.unwrap();
    let state = RolloutState {
        weight: 7,
        ..RolloutState::default()
    };
    let entry = HistoryEntry {
        ts_utc: DateTime::UNIX_EPOCH,
        action: "weight".into(),
        actor: "tests".into(),
        detail: serde_json::json!({}),
    };
    another.save_rollout(&state, &entry).await.unwrap();
    another.close().await;
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{path}{suffix}")).unwrap();
    }
    std::fs::rename(&other, &path).unwrap();
    assert_eq!(store.rollout().await.unwrap().weight, 7);
}

#[tokio::test]
async fn readers_that_wait_for_each_other_keep_neither_the_writer_nor_an_operator_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        max_connections: 4,
        timeout: Duration::from_millis(200),
    };
    let path = folder.path().join("ltr.db").to_str().unwrap().to_owned();
    let store = Sqlite::open(&path, limits).await.unwrap();
    let readers = store.readers();
    let turns = [store.turn(&readers).await.unwrap(), store.turn(&readers).await.unwrap()];
    assert!(
        store
            .events_between(DateTime::UNIX_EPOCH, Utc::now())
            .await
            .unwrap_err()
            .is_busy()
    );
    store.rollout().await.unwrap();
    store.history(1).await.unwrap();
    store.append(&[], None).await.unwrap();
    drop(turns);
    store.events_between(DateTime::UNIX_EPOCH, Utc::now()).await.unwrap();
}
