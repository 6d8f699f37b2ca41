//! A record that was replaced, restored, forked, rewritten or made unreadable: it never brings LTR back.

use chrono::Utc;
use evil::Behaviour;
use hyper::StatusCode;
use ranking::release::ledger::hash;
use serde_json::{Value, json};

use crate::watch::phase;
use crate::{Running, Site, case};

/// Another program's statements on the gateway's database.
async fn execute(site: &Site, statements: &str) {
    let url = site.settings.database.url.expose().to_owned();
    let mut other = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    sqlx::Executor::execute(&mut other, sqlx::AssertSqlSafe(statements.to_owned()))
        .await
        .unwrap();
}

/// Restores the record as it was at a version.
async fn rewind(site: &Site, version: u64) {
    let restored = format!(
        "DROP TRIGGER IF EXISTS ltr_ledger_no_delete; DELETE FROM ltr_ledger WHERE seq > {version}; \
         UPDATE ltr_release SET version = {version}, \
             head = (SELECT hash FROM ltr_ledger WHERE seq = {version}), \
             state = (SELECT json_extract(entry, '$.state') FROM ltr_ledger WHERE seq = {version}); \
         UPDATE ltr_rollout SET weight = 100"
    );
    execute(site, &restored).await;
}

/// Whether LTR answers, and what the gateway says is wrong.
async fn serves(running: &Running) -> (bool, Value) {
    let answer = running.rank(&[], &case(1)).await.ok();
    let problem = running.get("/rollout").await.ok()["following"]["problem"].clone();
    (answer["source"] == "ltr", problem)
}

async fn look(running: &Running) {
    running.gateway.release.look().await.unwrap();
}

/// Another gateway on the same database, with the same models and a folder of its own.
fn another(site: &Site) -> Site {
    let mut other = Site::new();
    other.settings.database.url = site.settings.database.url.clone();
    other.settings.privacy.salt_file = site.settings.privacy.salt_file.clone();
    other.settings.models = site.settings.models.clone();
    other
}

/// A gateway that was live at version 3 and rolled back since, on a record of version 3.
async fn rewound(site: &Site) -> Running {
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    assert_eq!(running.get("/rollout").await.ok()["state"]["version"], 3);
    assert!(serves(&running).await.0);
    running.post("/rollout/rollback", &json!({})).await.ok();
    look(&running).await;
    rewind(site, 3).await;
    running
}

#[tokio::test]
async fn a_record_from_before_a_rollback_does_not_bring_ltr_back_until_an_operator_orders_what_serves() {
    let site = Site::new();
    let running = rewound(&site).await;
    for _ in 0..2 {
        look(&running).await;
        running.evaluated(Utc::now()).await;
    }
    let shown = running.get("/rollout").await.ok();
    assert_eq!(
        phase(&shown),
        ("manual", 0),
        "the record says that LTR serves: {shown:#}"
    );
    let (ltr, problem) = serves(&running).await;
    let problem = problem.as_str().unwrap();
    assert!(
        !ltr && problem.contains("version 4") && problem.contains("version 3"),
        "{problem}"
    );
    assert!(running.metric("ltr_ledger_rewritten_total").await >= 1.0);
    assert_eq!(running.metric("ltr_record_replaced").await, 1.0);
    // Holding promotions back says nothing about what serves.
    running.post("/rollout/hold", &json!({ "on": true })).await.ok();
    assert!(!serves(&running).await.0);
    running.post("/rollout/weight", &json!({ "weight": 100 })).await.ok();
    assert_eq!(serves(&running).await, (true, json!(null)));
}

#[tokio::test]
async fn an_order_that_did_not_know_that_the_record_was_replaced_does_not_bring_ltr_back() {
    let site = Site::new();
    let running = rewound(&site).await;
    for (path, body) in [
        ("/rollout/weight", json!({ "weight": 80 })),
        ("/rollout/pin", json!({ "version": crate::VERSION })),
    ] {
        rewind(&site, 3).await;
        let refused = running.post(path, &body).await;
        assert_eq!(refused.refused(409)["code"], "record_replaced", "{path}");
        assert!(!serves(&running).await.0, "{path}");
        // So that the next one is a replacement that nobody knows of.
        running.post("/rollout/hold", &json!({ "on": true })).await.ok();
    }
    running.post("/rollout/weight", &json!({ "weight": 80 })).await.ok();
    assert_eq!(serves(&running).await.1, json!(null));
}

#[tokio::test]
async fn a_restart_remembers_what_was_followed_and_that_the_record_was_replaced() {
    let site = Site::new();
    rewound(&site).await.stop().await;
    // Once it finds out, and once it knows.
    for _ in 0..2 {
        let running = site.start().await;
        let (ltr, problem) = serves(&running).await;
        assert!(!ltr && problem.as_str().unwrap().contains("version 4"), "{problem}");
        running.stop().await;
    }
    let running = site.start().await;
    running.post("/rollout/weight", &json!({ "weight": 100 })).await.ok();
    look(&running).await;
    running.stop().await;
    let running = site.start().await;
    assert_eq!(serves(&running).await, (true, json!(null)));
}

#[tokio::test]
async fn a_fork_that_has_grown_longer_than_what_was_followed_is_found() {
    let site = Site::new();
    let running = rewound(&site).await;
    // Another gateway goes on from there: with more entries than are read at once.
    let other = another(&site).start().await;
    for number in 0..300 {
        other
            .post("/rollout/hold", &json!({ "on": number % 2 == 0 }))
            .await
            .ok();
    }
    look(&running).await;
    let (ltr, problem) = serves(&running).await;
    assert!(!ltr && problem.as_str().unwrap().contains("entry 4"), "{problem}");
    // An operator's order elsewhere counts here, too.
    other.post("/rollout/hold", &json!({ "on": true })).await.ok();
    look(&running).await;
    assert!(!serves(&running).await.0);
    other
        .post("/rollout/weight", &json!({ "weight": 100, "version": crate::VERSION }))
        .await
        .ok();
    look(&running).await;
    assert_eq!(serves(&running).await, (true, json!(null)));
    // So does a long stretch that continues what was followed.
    for number in 0..300 {
        other
            .post("/rollout/hold", &json!({ "on": number % 2 == 0 }))
            .await
            .ok();
    }
    look(&running).await;
    assert_eq!(serves(&running).await, (true, json!(null)));
}

#[tokio::test]
async fn an_entry_of_a_newer_program_is_no_fork() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    look(&running).await;
    let head = running.get("/rollout").await.ok()["head"].as_str().unwrap().to_owned();
    let state = serde_json::to_value(running.gateway.release.state().unwrap()).unwrap();
    let state = {
        let mut next = state;
        next["version"] = json!(4);
        next.to_string()
    };
    let entry = format!(r#"{{"seq":4,"action":"rehearse","whatever":[1,2],"state":{state},"prev":"{head}"}}"#);
    let of_newer = format!(
        "INSERT INTO ltr_ledger (seq, entry, hash) VALUES (4, '{entry}', '{hash}'); \
         UPDATE ltr_release SET version = 4, head = '{hash}', state = '{state}'",
        hash = hash(&entry)
    );
    execute(&site, &of_newer).await;
    look(&running).await;
    assert_eq!(serves(&running).await, (true, json!(null)));
    assert_eq!(running.get("/rollout").await.ok()["state"]["version"], 4);
}

#[tokio::test]
async fn a_state_that_is_gone_or_cannot_be_read_serves_nothing_until_it_is_mended() {
    let faults = [
        (
            "CREATE TABLE kept AS SELECT * FROM ltr_release; DELETE FROM ltr_release",
            "INSERT INTO ltr_release SELECT * FROM kept; DROP TABLE kept",
            "ltr_release has no row",
        ),
        (
            "CREATE TABLE kept AS SELECT * FROM ltr_release; UPDATE ltr_release SET state = '{}', version = version + 1",
            "DELETE FROM ltr_release; INSERT INTO ltr_release SELECT * FROM kept; DROP TABLE kept",
            "cannot be read",
        ),
    ];
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    for (harm, mend, named) in faults {
        execute(&site, harm).await;
        let error = running.gateway.release.look().await.unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
        assert!(!serves(&running).await.0, "{harm}");
        execute(&site, mend).await;
        look(&running).await;
        assert_eq!(serves(&running).await, (true, json!(null)), "{mend}");
    }
    // So does a gateway that starts meanwhile, and a rollback is kept.
    let (harm, mend, named) = faults[0];
    execute(&site, harm).await;
    let other = another(&site).start().await;
    assert_eq!(other.get("/readyz").await.status, StatusCode::OK);
    assert!(!serves(&other).await.0);
    let back = running.post("/rollout/rollback", &json!({})).await;
    assert_eq!(back.json()["recorded"], false, "{named}");
    execute(&site, mend).await;
    for gateway in [&running, &other] {
        look(gateway).await;
        assert_eq!(phase(&gateway.get("/rollout").await.ok()).0, "rolled_back");
    }
    other.post("/rollout/weight", &json!({ "weight": 100 })).await.ok();
    other.gateway.release.find_publications().await;
    assert_eq!(serves(&other).await, (true, json!(null)));
}

#[tokio::test]
async fn a_rollback_that_was_followed_before_it_was_checked_must_be_there_later() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    look(&running).await;
    // Another gateway's rollback, whose entry cannot be read now.
    let other = another(&site).start().await;
    other.post("/rollout/rollback", &json!({})).await.ok();
    execute(&site, "ALTER TABLE ltr_ledger RENAME TO elsewhere").await;
    running.gateway.release.look().await.unwrap_err();
    assert!(!serves(&running).await.0, "it does not wait for the ledger");
    execute(&site, "ALTER TABLE elsewhere RENAME TO ltr_ledger").await;
    rewind(&site, 3).await;
    // At once, and after a restart.
    look(&running).await;
    let found = serves(&running).await;
    running.stop().await;
    let again = serves(&site.start().await).await;
    for (ltr, problem) in [found, again] {
        assert!(!ltr && problem.as_str().unwrap().contains("version 3"), "{problem}");
    }
}

#[tokio::test]
async fn a_state_that_is_not_the_one_of_its_last_entry_serves_nothing() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    running.post("/rollout/rollback", &json!({})).await.ok();
    look(&running).await;
    let edited = "UPDATE ltr_release SET state = json_set((SELECT json_extract(entry, '$.state') FROM ltr_ledger WHERE seq = 3), \
                  '$.version', 4)";
    let other = another(&site).start().await;
    look(&other).await;
    execute(&site, edited).await;
    site.publish("20261002T021500Z", Behaviour::Honest);
    // Nobody makes it look decided: neither an evaluation, nor a hold, nor a new model.
    for running in [&running, &another(&site).start().await] {
        running.gateway.release.evaluate(Utc::now()).await.unwrap_err();
        let hold = running.post("/rollout/hold", &json!({ "on": true })).await;
        assert_eq!(hold.refused(409)["code"], "record_replaced");
        running.gateway.release.find_publications().await;
        let (ltr, problem) = serves(running).await;
        assert!(!ltr && problem.as_str().unwrap().contains("last entry"), "{problem}");
        running.gateway.release.leave().await;
    }
    look(&other).await;
    assert!(!serves(&other).await.0);
    // An operator who knows says what serves, on the first attempt.
    running.post("/rollout/weight", &json!({ "weight": 100 })).await.ok();
    for running in [&running, &other] {
        look(running).await;
        assert_eq!(serves(running).await, (true, json!(null)));
    }
}

#[tokio::test]
async fn a_rollback_of_another_past_is_noticed_before_its_entries_can_be_read() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    running.post("/rollout/hold", &json!({ "on": true })).await.ok();
    look(&running).await;
    execute(
        &site,
        "CREATE TABLE one AS SELECT * FROM ltr_release; CREATE TABLE entries AS SELECT * FROM ltr_ledger",
    )
    .await;
    rewind(&site, 3).await;
    let other = another(&site).start().await;
    other.post("/rollout/rollback", &json!({})).await.ok();
    execute(&site, "ALTER TABLE ltr_ledger RENAME TO elsewhere").await;
    running.gateway.release.look().await.unwrap_err();
    assert!(!serves(&running).await.0);
    // The first past is back, as if nothing had been.
    execute(
        &site,
        "DROP TABLE elsewhere; ALTER TABLE entries RENAME TO ltr_ledger; DELETE FROM ltr_release; \
                    INSERT INTO ltr_release SELECT * FROM one",
    )
    .await;
    look(&running).await;
    let (ltr, problem) = serves(&running).await;
    assert!(!ltr && problem.is_string(), "{problem}");
}

#[tokio::test]
async fn a_rollback_that_could_not_know_of_the_replacement_does_not_vouch_for_the_record() {
    let site = Site::new();
    let running = rewound(&site).await;
    let back = running.post("/rollout/rollback", &json!({})).await.ok();
    assert_eq!((&back["phase"], &back["weight"]), (&json!("rolled_back"), &json!(0)));
    let other = another(&site).start().await;
    for gateway in [&running, &other] {
        look(gateway).await;
    }
    let problem = serves(&running).await.1;
    assert!(problem.as_str().unwrap().contains("version 3"), "{problem}");
    // The next one does.
    running.post("/rollout/rollback", &json!({})).await.ok();
    assert_eq!(serves(&running).await.1, json!(null));
}

#[tokio::test]
async fn an_order_is_not_forgotten_if_the_first_to_read_it_follows_nothing() {
    let site = Site::new();
    let running = rewound(&site).await;
    look(&running).await;
    let other = another(&site).start().await;
    let weight = json!({ "weight": 100, "version": crate::VERSION });
    other.post("/rollout/weight", &weight).await.ok();
    let unknown = running.post("/rollout/pin", &json!({ "version": "nobody" })).await;
    assert_eq!(unknown.refused(409)["code"], "unknown_version");
    look(&running).await;
    assert_eq!(serves(&running).await, (true, json!(null)));
}

#[tokio::test]
async fn the_table_of_former_programs_is_theirs_alone() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    execute(&site, "DELETE FROM ltr_rollout").await;
    look(&running).await;
    assert!(serves(&running).await.0);
    running.post("/rollout/rollback", &json!({})).await.ok();
}

#[tokio::test]
async fn gateways_that_start_together_on_an_empty_database_all_get_ready() {
    let site = Site::new();
    site.publish(crate::VERSION, Behaviour::Honest);
    let sites: Vec<Site> = (0..8).map(|_| another(&site)).collect();
    let started = futures_util::future::join_all(sites.iter().map(Site::start)).await;
    for running in &started {
        look(running).await;
        assert_eq!(running.get("/readyz").await.status, StatusCode::OK);
        let rollout = running.get("/rollout").await.ok();
        assert_eq!(rollout["challenger"], crate::VERSION, "{rollout:#}");
        assert_eq!(rollout["following"]["problem"], json!(null));
    }
}
