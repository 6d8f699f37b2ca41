//! Several gateways on one database: one state, followed by all, whatever happens to any of them.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use evil::{Behaviour, Fault, When};
use serde_json::{Value, json};
use servers::Postgres;
use tempfile::TempDir;
use testkit::{PATIENCE, Random};
use uuid::Uuid;

use crate::harness::{Client, Gateway, LARGE, SMALL, SMALL_VALUES, Site, case};

const MODEL: &str = "20261001T021500Z";
const TRANSITIONS: u64 = 100;
/// In which a transition is followed, from the answer to the operator on.
const FOLLOWED: Duration = Duration::from_secs(1);

/// In which the gateway that is asked for a rollback serves legacy, from the operator's call on.
const SERVES_LEGACY: Duration = Duration::from_millis(100);

/// Gateways with a folder each, one database, and one folder of models.
struct Fleet {
    home: TempDir,
    url: String,
    sites: Vec<Site>,
}

impl Fleet {
    /// Settings of the whole fleet.
    fn new(url: Option<&str>, gateways: usize, settings: &[(&'static str, &str)]) -> Fleet {
        let home = TempDir::new().unwrap();
        let path = |name: &str| home.path().join(name).display().to_string();
        let url = url.map_or_else(|| format!("sqlite://{}", path("ltr.db")), str::to_owned);
        let site = |at: usize| {
            let mut site = Site::patient()
                .with("LTR_DATABASE__URL", &url)
                .with("LTR_MODELS__DIR", &path("models"))
                .with("LTR_MODELS__TRUSTED_KEYS", &path("trusted"))
                .with("LTR_PRIVACY__SALT_FILE", &path("privacy.salt"))
                .with("LTR_ROLLOUT__GATEWAY", &format!("gateway {at}"))
                .with("LTR_ROLLOUT__LEASE_SECONDS", "2");
            for (name, value) in settings {
                site = site.with(name, value);
            }
            site
        };
        let mut sites: Vec<Site> = (0..gateways).map(site).collect();
        let first = sites.remove(0);
        sites.insert(
            0,
            first.publishing_into(&home.path().join("models"), &home.path().join("trusted")),
        );
        Fleet { home, url, sites }
    }

    /// All gateways, ready, with the model loaded by each.
    async fn start(&self) -> Vec<Gateway> {
        self.start_with(Behaviour::Honest).await
    }

    /// The same, of a model that behaves as told.
    async fn start_with(&self, behaviour: Behaviour) -> Vec<Gateway> {
        self.sites[0].publish(MODEL, behaviour);
        let mut gateways = Vec::new();
        for site in &self.sites {
            gateways.push(site.start().await);
        }
        for gateway in &gateways {
            until(gateway, "has the model", |rollout| rollout["challenger"] == MODEL).await;
        }
        gateways
    }

    /// `ltr-host ledger verify`: its exit code, and what it says.
    fn verify(&self) -> (Option<i32>, String) {
        let mut command = Command::new(self.sites[0].command().get_program());
        let done = command
            .args(["ledger", "verify"])
            .current_dir(self.home.path())
            .env("LTR_DATABASE__URL", &self.url)
            .output()
            .unwrap();
        let said = [done.stdout, done.stderr].map(|said| String::from_utf8(said).unwrap());
        (done.status.code(), said.concat())
    }
}

async fn rollout(client: &Client) -> Value {
    client.json("/rollout").await
}

/// Waits until `GET /rollout` is as `expected` says.
async fn until(client: &Client, what: &str, expected: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    loop {
        let rollout = rollout(client).await;
        if expected(&rollout) {
            return rollout;
        }
        assert!(start.elapsed() < PATIENCE, "never {what}: {rollout:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn order(client: &Client, path: &str, body: &Value) -> Value {
    let answer = client.post(path, &[], body.to_string().into()).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.body
}

/// A hundred transitions, asked of one gateway after the other. Returns the longest time until all
/// others followed one.
async fn hundred_transitions(gateways: &[Gateway]) -> Duration {
    let mut longest = Duration::ZERO;
    for number in 0..TRANSITIONS {
        let asked = number as usize % gateways.len();
        let body = json!({ "weight": 1 + number % 99, "version": MODEL });
        let version = order(&gateways[asked], "/rollout/weight", &body).await["state"]["version"].clone();
        let committed = Instant::now();
        for other in gateways {
            until(other, "follows", |rollout| rollout["following"]["version"] == version).await;
        }
        longest = longest.max(committed.elapsed());
    }
    longest
}

async fn followed_by_all(fleet: Fleet) {
    let gateways = fleet.start().await;
    let longest = hundred_transitions(&gateways).await;
    println!("the longest of {TRANSITIONS} transitions took {longest:?} to be followed by all");
    assert!(longest < FOLLOWED, "{longest:?}");
    let (code, said) = fleet.verify();
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_on_postgresql_follow_each_transition_within_a_second() {
    let server = Postgres::shared();
    // Too seldom by itself: each has to hear of it.
    let settings = [("LTR_ROLLOUT__POLL_MS", "10000")];
    followed_by_all(Fleet::new(Some(&server.database()), 3, &settings)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_on_sqlite_follow_each_transition_within_a_second() {
    followed_by_all(Fleet::new(None, 2, &[])).await;
}

/// Kills or stops a gateway at random, and brings it back, until told to stop.
async fn harm(fleet: Arc<Fleet>, clients: Arc<parking::Clients>, stop: Arc<AtomicBool>, seed: u64) {
    let mut random = Random(seed);
    let mut running: Vec<Option<Gateway>> = clients.take();
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(random.below(150) as u64)).await;
        let at = random.below(running.len());
        if random.below(2) == 0 {
            // The lease holder among them, sooner or later.
            drop(running[at].take());
            let gateway = fleet.sites[at].start().await;
            clients.set(at, gateway.client.clone());
            running[at] = Some(gateway);
        } else if let Some(gateway) = &running[at] {
            gateway.signal("-STOP");
            // Longer than its lease, or shorter.
            tokio::time::sleep(Duration::from_millis(500 + random.below(2_500) as u64)).await;
            gateway.signal("-CONT");
        }
    }
    clients.give_back(running);
}

/// The clients of gateways that come and go.
mod parking {
    use parking_lot::Mutex;

    use crate::harness::{Client, Gateway};

    pub(super) struct Clients {
        clients: Mutex<Vec<Client>>,
        gateways: Mutex<Vec<Option<Gateway>>>,
    }

    impl Clients {
        pub(super) fn new(gateways: Vec<Gateway>) -> Clients {
            Clients {
                clients: Mutex::new(gateways.iter().map(|gateway| gateway.client.clone()).collect()),
                gateways: Mutex::new(gateways.into_iter().map(Some).collect()),
            }
        }

        pub(super) fn take(&self) -> Vec<Option<Gateway>> {
            std::mem::take(&mut *self.gateways.lock())
        }

        pub(super) fn give_back(&self, gateways: Vec<Option<Gateway>>) {
            *self.gateways.lock() = gateways;
        }

        pub(super) fn set(&self, at: usize, client: Client) {
            self.clients.lock()[at] = client;
        }

        pub(super) fn get(&self, at: usize) -> Client {
            let clients = self.clients.lock();
            clients[at % clients.len()].clone()
        }
    }
}

/// Orders at gateways that may be gone or stopped, with the same id until one has it on record.
async fn order_somewhere(clients: &parking::Clients, random: &mut Random, body: &Value) {
    let key = Uuid::new_v4().to_string();
    let start = Instant::now();
    loop {
        let client = clients.get(random.below(16));
        let headers = [("idempotency-key", key.as_str())];
        let call = client.try_post("/rollout/hold", &headers, body.to_string().into());
        let answer = tokio::time::timeout(Duration::from_secs(2), call).await;
        match answer {
            Ok(Ok(answer)) if answer.status == 200 => return,
            Ok(Ok(answer)) => assert!(answer.status >= 500, "{answer:?}"),
            _ => {}
        }
        assert!(start.elapsed() < PATIENCE, "nobody takes the order");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn one_state_through_kills(fleet: Fleet) {
    let gateways = fleet.start().await;
    let before = rollout(&gateways[0]).await["state"]["version"].as_u64().unwrap();
    let (fleet, stop) = (Arc::new(fleet), Arc::new(AtomicBool::new(false)));
    let clients = Arc::new(parking::Clients::new(gateways));
    let harming = tokio::spawn(harm(fleet.clone(), clients.clone(), stop.clone(), 7));
    let mut random = Random(11);
    for number in 0..TRANSITIONS {
        let body = json!({ "on": number % 2 == 0, "reason": format!("order {number}") });
        tokio::time::sleep(Duration::from_millis(random.below(100) as u64)).await;
        order_somewhere(&clients, &mut random, &body).await;
    }
    stop.store(true, Ordering::Relaxed);
    harming.await.unwrap();
    let gateways: Vec<Gateway> = clients.take().into_iter().flatten().collect();
    assert_eq!(gateways.len(), fleet.sites.len());
    for gateway in &gateways {
        let expected = before + TRANSITIONS;
        let rollout = until(gateway, "has every transition once", |rollout| {
            rollout["following"]["version"] == expected
        });
        assert_eq!(rollout.await["head"], self::rollout(&gateways[0]).await["head"]);
    }
    let (code, said) = fleet.verify();
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_and_pauses_of_three_gateways_on_postgresql_lose_and_repeat_no_transition() {
    let server = Postgres::shared();
    let settings = [("LTR_ROLLOUT__EVALUATE_SECONDS", "1")];
    one_state_through_kills(Fleet::new(Some(&server.database()), 3, &settings)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_and_pauses_of_two_gateways_on_sqlite_lose_and_repeat_no_transition() {
    let settings = [("LTR_ROLLOUT__EVALUATE_SECONDS", "1")];
    one_state_through_kills(Fleet::new(None, 2, &settings)).await;
}

/// Lets LTR answer everybody at all gateways.
async fn live(gateways: &[Gateway]) {
    order(
        &gateways[0],
        "/rollout/weight",
        &json!({ "weight": 100, "version": MODEL }),
    )
    .await;
    for gateway in gateways {
        until(gateway, "serves", |rollout| rollout["following"]["serves"] == "ltr").await;
        assert_eq!(source(gateway).await, "ltr");
    }
}

async fn source(client: &Client) -> String {
    let answer = client.rank(&case("asked", SMALL)).await;
    answer.text("source").unwrap_or_default().to_owned()
}

/// Rolls back at the first gateway while its database cannot be written. Returns the time until it
/// served legacy.
async fn rolled_back_without_the_database(gateways: &[Gateway]) -> Duration {
    let (client, start) = (gateways[0].client.clone(), Instant::now());
    let asked = tokio::spawn(async move {
        let body = json!({ "reason": "fire" }).to_string().into();
        client.post("/rollout/rollback", &[], body).await
    });
    while source(&gateways[0]).await != "legacy" {
        assert!(start.elapsed() < PATIENCE, "it never serves legacy");
    }
    let took = start.elapsed();
    assert!(took < SERVES_LEGACY, "{took:?}");
    let answer = asked.await.unwrap();
    assert_eq!(
        (answer.status, &answer.body["recorded"]),
        (202, &json!(false)),
        "{answer:?}"
    );
    assert_eq!(answer.body["weight"], 0);
    let shown = rollout(&gateways[0]).await;
    assert_eq!(shown["following"]["rollback_pending"]["reason"], "fire", "{shown:#}");
    assert_eq!(shown["weight"], 0);
    took
}

/// Once the database is back: all have the one rollback, and nothing un-rolls it.
async fn rolled_back_everywhere(fleet: &Fleet, gateways: &[Gateway]) {
    for gateway in gateways {
        let rollout = until(gateway, "rolls back", |rollout| {
            rollout["state"]["phase"]["name"] == "rolled_back" && rollout["following"]["rollback_pending"].is_null()
        });
        let rollout = rollout.await;
        assert_eq!(rollout["following"]["serves"], "legacy", "{rollout:#}");
        assert_eq!(source(gateway).await, "legacy");
        let history = until(gateway, "has the history", |rollout| {
            rollout["history"][0]["action"] == "rollback"
        })
        .await;
        let rollbacks = history["history"].as_array().unwrap().iter();
        assert_eq!(rollbacks.filter(|entry| entry["action"] == "rollback").count(), 1);
    }
    let (code, said) = fleet.verify();
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_acts_at_once_while_the_database_hangs_or_is_away_and_everywhere_when_it_is_back() {
    for hangs in [true, false] {
        let mut server = Postgres::start();
        let fleet = Fleet::new(Some(&server.database()), 2, &[("LTR_DATABASE__RANK_WAITS", "false")]);
        let mut gateways = fleet.start().await;
        live(&gateways).await;
        if hangs {
            server.pause();
        } else {
            server.crash();
        }
        let took = rolled_back_without_the_database(&gateways).await;
        println!("legacy after {took:?}");
        // A restart meanwhile does not bring LTR back.
        if !hangs {
            drop(gateways.remove(0));
            gateways.insert(0, fleet.sites[0].start().await);
            assert_eq!(source(&gateways[0]).await, "legacy");
        }
        if hangs {
            server.resume();
        } else {
            server.go_on();
        }
        rolled_back_everywhere(&fleet, &gateways).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_acts_at_once_while_the_database_only_reads() {
    let server = Postgres::shared();
    let url = server.database();
    let fleet = Fleet::new(Some(&url), 2, &[("LTR_DATABASE__RANK_WAITS", "false")]);
    let gateways = fleet.start().await;
    live(&gateways).await;
    let mut other = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    let name = url.rsplit('/').next().unwrap();
    let mut only_reads = async |yes: &str| {
        let statements = format!(
            "SET default_transaction_read_only = off; \
             ALTER DATABASE {name} SET default_transaction_read_only = {yes}; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        );
        sqlx::Executor::execute(&mut other, sqlx::AssertSqlSafe(statements))
            .await
            .unwrap();
    };
    only_reads("on").await;
    rolled_back_without_the_database(&gateways).await;
    only_reads("off").await;
    rolled_back_everywhere(&fleet, &gateways).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_gateways_roll_a_failing_model_back_by_themselves() {
    let server = Postgres::shared();
    let settings = [
        ("LTR_ROLLOUT__EVALUATE_SECONDS", "1"),
        ("LTR_ROLLOUT__WATCH__MIN_REQUESTS", "50"),
    ];
    let fleet = Fleet::new(Some(&server.database()), 3, &settings);
    let fails = Behaviour::Faulty(Fault::Trap, When::ValuesOver(SMALL_VALUES));
    let gateways = fleet.start_with(fails).await;
    live(&gateways).await;
    let start = Instant::now();
    while rollout(&gateways[0]).await["state"]["phase"]["name"] != "rolled_back" {
        for number in 0..10 {
            gateways[1].rank(&case(&number.to_string(), LARGE)).await;
        }
        assert!(start.elapsed() < PATIENCE, "nobody rolls it back");
    }
    for gateway in &gateways {
        let rollout = until(gateway, "follows", |rollout| rollout["following"]["serves"] == "legacy").await;
        assert_eq!(rollout["state"]["barred"], json!([MODEL]));
    }
    let (code, said) = fleet.verify();
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_acts_at_once_while_another_program_locks_the_file() {
    let settings = [("LTR_DATABASE__RANK_WAITS", "false")];
    let fleet = Fleet::new(None, 2, &settings);
    let gateways = fleet.start().await;
    live(&gateways).await;
    let mut lock = fleet.connection().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    let took = rolled_back_without_the_database(&gateways).await;
    println!("legacy after {took:?}");
    sqlx::query("ROLLBACK").execute(&mut lock).await.unwrap();
    rolled_back_everywhere(&fleet, &gateways).await;
}

impl Fleet {
    /// A connection of another program to the SQLite file.
    async fn connection(&self) -> sqlx::SqliteConnection {
        use sqlx::ConnectOptions;
        let path = self.url.strip_prefix("sqlite://").unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        options.busy_timeout(PATIENCE).connect().await.unwrap()
    }
}
