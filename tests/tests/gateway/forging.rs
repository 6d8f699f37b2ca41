//! Evidence cannot be forged: whoever has tokens for all data moves no count by events for cases that were not ranked for
//! him, and with one user's cases no more than one user does.
//!
//! Two worlds with the same honest clients and the same salt are told apart by what the forger does in one of them.

use std::path::Path;

use chrono::{DateTime, Days, Duration, NaiveDate, SecondsFormat, TimeDelta, Utc};
use evil::Behaviour;
use ltr_trainer::etl::{Extent, build};
use ranking::Sampler;
use ranking::features::DEFAULT_FEATURES;
use reqwest::StatusCode;
use serde_json::{Value, json};
use settings::Settings;
use uuid::Uuid;

use crate::harness::{Answer, Gateway, Site, id};

const VERSION: &str = "20261001T021500Z";
const LAWYERS: usize = 4;
/// Whom legacy has first and the model last, and the other way round.
const LEGACYS: &str = "adv_0";
const MODELS: &str = "adv_3";
/// The share of the requests that are compared.
const COMPARED: f64 = 0.5;
/// The days of the trial that are counted.
const OF_TRIAL: [u64; 2] = [10, 11];

fn day(number: u64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 10, 2).unwrap() + Days::new(number)
}

fn at(number: u64, hour: u32) -> DateTime<Utc> {
    day(number).and_hms_opt(hour, 0, 0).unwrap().and_utc()
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A case that was ranked for somebody.
#[derive(Clone)]
struct Ranked {
    at: DateTime<Utc>,
    case_id: Uuid,
    user_id: Uuid,
    request_id: Uuid,
    order: Vec<String>,
    source: String,
}

impl Ranked {
    fn place(&self, lawyer: &str) -> u64 {
        self.order.iter().position(|id| id == lawyer).unwrap() as u64 + 1
    }

    /// What this user did with a lawyer, an hour later.
    fn signed(&self, lawyer: &str) -> Value {
        let name = format!("{} {} {lawyer}", self.case_id, self.user_id);
        action(
            &name,
            self.case_id,
            self.user_id,
            self.at + TimeDelta::hours(1),
            lawyer,
            self.place(lawyer),
        )
    }
}

fn action(name: &str, case_id: Uuid, user_id: Uuid, ts: DateTime<Utc>, lawyer: &str, rank_pos: u64) -> Value {
    json!({
        "event": "contract_signed", "event_id": id(&format!("action {name}")), "ts_utc": text(ts),
        "case_id": case_id, "user_id": user_id, "lawyer_id": lawyer, "rank_pos": rank_pos,
    })
}

/// An impression with everything that says: both rankings were drafted, and the model brought everybody in.
fn forged_impression(name: &str, case_id: Uuid, user_id: Uuid, ts: DateTime<Utc>) -> Value {
    let order: Vec<String> = (0..LAWYERS).rev().map(|lawyer| format!("adv_{lawyer}")).collect();
    json!({
        "event": "impression", "event_id": id(&format!("impression {name}")), "ts_utc": text(ts),
        "case_id": case_id, "user_id": user_id, "request_id": id(&format!("request {name}")),
        "lawyer_ids": order, "weights_used": {}, "features": vec![vec![0.5; DEFAULT_FEATURES.len()]; LAWYERS],
        "source": "interleaved", "model_version": VERSION, "policy": "interleaved",
        "drafted_by": vec!["ltr"; LAWYERS], "order_before": order,
        "coin": { "pair": [1, 2], "swapped": true, "probability": 0.5 },
        "ltr_version": VERSION, "ltr_ranks": (1..=LAWYERS).collect::<Vec<_>>(), "state_version": 2,
    })
}

/// A gateway with its log, at any time.
struct World {
    site: Site,
    gateway: Gateway,
    settings: Settings,
    honest: Vec<Ranked>,
}

/// All that decides.
#[derive(Debug, PartialEq)]
struct Counts {
    outcome_days: Vec<Value>,
    labels: Vec<String>,
    rollout: Vec<Value>,
}

impl World {
    async fn begin(salt: &Path) -> World {
        let salt = salt.display().to_string();
        let site = Site::patient()
            .with("LTR_HOST__CLOCK", "header")
            .with("LTR_PRIVACY__SALT_FILE", &salt)
            .with("LTR_SHADOW__FRACTION", &COMPARED.to_string())
            .with("LTR_ROLLOUT__AUTOMATIC", "true")
            .with("LTR_ROLLOUT__CRITERIA__MIN_CASES", "30")
            .with("LTR_ROLLOUT__CRITERIA__LATENCY_P95_MS", "1000")
            .with("LTR_ROLLOUT__WATCH__MIN_REQUESTS", "100000");
        site.publish(VERSION, Behaviour::Honest);
        let gateway = site.start().await;
        let of = |name: &str| site.path().join(name).display().to_string();
        let variables = [
            ("LTR_DATABASE__URL", site.database_url()),
            ("LTR_LAKE__DIR", of("lake")),
            ("LTR_PRIVACY__SALT_FILE", salt),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        World {
            settings: Settings::load(None, variables).unwrap(),
            site,
            gateway,
            honest: Vec::new(),
        }
    }

    async fn post(&self, now: DateTime<Utc>, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let now = text(now);
        let headers = [headers, &[("x-ltr-time", now.as_str())]].concat();
        self.gateway.post(path, &headers, body.to_string().into()).await
    }

    async fn events(&self, now: DateTime<Utc>, events: Vec<Value>) {
        let answer = self.post(now, "/events", &[], &events.into()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Has a case ranked. `compared`: whether the shadow sampler chooses it.
    async fn rank(&self, name: &str, case_id: Uuid, user_id: Uuid, now: DateTime<Utc>, compared: bool) -> Ranked {
        self.rank_with(name, case_id, user_id, now, compared, &[]).await
    }

    async fn rank_with(
        &self,
        name: &str,
        case_id: Uuid,
        user_id: Uuid,
        now: DateTime<Utc>,
        compared: bool,
        headers: &[(&str, &str)],
    ) -> Ranked {
        let request_id = request_id(name, compared);
        let body = json!({
            "case": { "case_id": case_id, "user_id": user_id },
            "lawyers": (0..LAWYERS).map(lawyer).collect::<Vec<_>>(),
        });
        let id = request_id.to_string();
        let headers = [headers, &[("x-request-id", id.as_str())]].concat();
        let answer = self.post(now, "/rank", &headers, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let ranking = answer.body["ranking"].as_array().unwrap();
        Ranked {
            at: now,
            case_id,
            user_id,
            request_id,
            order: ranking
                .iter()
                .map(|ranked| ranked["lawyer_id"].as_str().unwrap().to_owned())
                .collect(),
            source: answer.text("source").unwrap().to_owned(),
        }
    }

    /// A day of forty clients with a case each. Where both rankings are shown, two of three prefer the model's.
    async fn honest_day(&mut self, number: u64) {
        let mut events = Vec::new();
        for client in 0..40 {
            let name = format!("honest {number} {client}");
            let now = at(number, 9) + TimeDelta::minutes(client);
            let (case_id, user_id) = (id(&format!("case {name}")), id(&format!("user {name}")));
            let ranked = self.rank(&name, case_id, user_id, now, true).await;
            let signs = match ranked.source.as_str() {
                "interleaved" if client % 3 == 0 => Some(LEGACYS),
                "interleaved" => Some(MODELS),
                _ if number == 0 || client % 2 == 0 => Some(LEGACYS),
                _ => None,
            };
            events.extend(signs.map(|lawyer| ranked.signed(lawyer)));
            self.honest.push(ranked);
        }
        self.events(at(number, 12), events).await;
    }

    /// The run of that night, and what is decided in the hour after it.
    async fn night(&self, number: u64) -> Value {
        let now = at(number, 2);
        build(&Extent::all(), now, None, &self.settings).await.unwrap();
        let time = text(now + TimeDelta::hours(1));
        let (status, text) = self.gateway.get_with("/rollout", &[("x-ltr-time", &time)]).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// From legacy alone to a model on trial.
    async fn goes_on_trial(&mut self) -> Value {
        self.honest_day(0).await;
        let rollout = self.night(9).await;
        assert_eq!(rollout["state"]["phase"]["name"], "trial", "{rollout:#}");
        rollout
    }

    async fn counts(&self, rollout: &Value) -> Counts {
        let outcome_days = self.site.texts("SELECT counts FROM ltr_outcome_day ORDER BY day").await;
        let labels = self.site.texts(
            "SELECT q.request_id || ' ' || r.lawyer_id || ' ' || coalesce(r.label, 'none') \
             FROM ltr_shadow_row r JOIN ltr_shadow_request q ON q.id = r.request ORDER BY 1",
        );
        let parts = [judged(rollout), rollout["trial"].clone(), rollout["relevance"].clone()];
        Counts {
            outcome_days: outcome_days.iter().filter_map(|counts| deciding(counts)).collect(),
            labels: labels.await,
            rollout: [&parts[..], &[rollout["state"]["phase"].clone()]].concat(),
        }
    }
}

/// What a stored day says but its coverage, which is there to count what has no impression. `None`: the gateway displayed
/// nothing on that day.
fn deciding(counts: &str) -> Option<Value> {
    let mut counts: Value = serde_json::from_str(counts).unwrap();
    if let Some(evidence) = counts["evidence"].as_object_mut() {
        evidence.remove("coverage");
    }
    let is_empty = counts["arms"].as_object().unwrap().is_empty();
    (!is_empty).then_some(counts)
}

/// Evidence and verdict without how long scoring took, which differs from run to run.
fn judged(rollout: &Value) -> Value {
    let mut evidence = rollout["evidence"].clone();
    evidence["latency_p95_ms"] = Value::Null;
    let criteria = rollout["verdict"]["criteria"].as_array().unwrap().iter();
    let criteria: Vec<&Value> = criteria.filter(|criterion| criterion["name"] != "latency").collect();
    json!({ "evidence": evidence, "promote": rollout["verdict"]["promote"], "criteria": criteria })
}

fn request_id(name: &str, compared: bool) -> Uuid {
    let sampler = Sampler::new("ltr-shadow-v1", COMPARED).unwrap();
    let mut ids = (0..).map(|attempt| id(&format!("request {name} {attempt}")));
    ids.find(|id| sampler.selects(*id) == compared).unwrap()
}

/// The model scores the first feature, the legacy ranking mostly the others.
fn lawyer(number: usize) -> Value {
    let first = number as f64 / (LAWYERS - 1) as f64;
    let features = DEFAULT_FEATURES.iter().enumerate();
    let features: serde_json::Map<String, Value> = features
        .map(|(column, name)| ((*name).to_owned(), if column == 0 { first } else { 1.0 - first }.into()))
        .collect();
    json!({
        "lawyer_id": format!("adv_{number}"), "features": features,
        "cases_30d": 3, "monthly_capacity": 30, "last_offered_at": null,
    })
}

/// The days up to the verdict of the trial's first two. `forge` is what the forger does on the second evening.
async fn trial(salt: &Path, forge: impl AsyncFn(&World)) -> (Value, Counts) {
    let mut world = World::begin(salt).await;
    world.goes_on_trial().await;
    for number in OF_TRIAL {
        world.honest_day(number).await;
    }
    forge(&world).await;
    let rollout = world.night(20).await;
    let counts = world.counts(&rollout).await;
    (rollout, counts)
}

const FORGER: &str = "the forger";

/// Actions on cases that nobody ranked, and cases that only an impression by a client says were ranked.
async fn invent_cases(world: &World) {
    let evening = at(11, 20);
    let mut events = Vec::new();
    for number in 0..60 {
        let (name, user) = (
            format!("invented {number}"),
            id(&format!("invented user {}", number % 30)),
        );
        let case_id = id(&name);
        let ts = at(OF_TRIAL[number % 2], 10);
        events.push(action(&name, id(&format!("no {name}")), id(FORGER), ts, MODELS, 1));
        events.push(forged_impression(&name, case_id, user, ts));
        events.push(action(
            &format!("{name} again"),
            case_id,
            user,
            ts + TimeDelta::hours(1),
            MODELS,
            1,
        ));
    }
    world.events(evening, events).await;
    // What only the gateway says of a case nobody else can say.
    let mut as_gateway = forged_impression("as the gateway", id("x"), id(FORGER), evening);
    as_gateway["origin"] = json!("gateway");
    assert_eq!(world.post(evening, "/events", &[], &as_gateway).await.status, 422);
}

/// Actions and impressions in cases of others, whose ids the forger knows; of the users he knows the pseudonyms.
async fn meddle(world: &World) {
    let salt = std::fs::read_to_string(&world.settings.privacy.salt_file).unwrap();
    let evening = at(11, 20);
    let mut events = Vec::new();
    for (number, ranked) in world.honest.iter().enumerate() {
        let pseudonym = ranking::pseudonym(salt.trim().as_bytes(), ranked.user_id);
        for (place, lawyer) in (1..).zip(&ranked.order) {
            for user in [id(FORGER), pseudonym, Uuid::nil()] {
                let name = format!("{number} {place} {user}");
                let after = ranked.at + TimeDelta::minutes(1);
                let mut by_place = action(&name, ranked.case_id, user, after, lawyer, place);
                by_place["request_id"] = json!(ranked.request_id);
                events.push(by_place);
            }
        }
        // Shown before it was ranked, by as much as an impression may be old: an hour, a week, the whole month.
        let oldest = evening - TimeDelta::days(30);
        for (age, ts) in [
            ("hour", ranked.at - TimeDelta::hours(1)),
            ("week", ranked.at - TimeDelta::days(9)),
            ("month", oldest),
        ] {
            let name = format!("{number} {age}");
            events.push(forged_impression(&name, ranked.case_id, id(FORGER), ts.max(oldest)));
            events.push(action(
                &name,
                ranked.case_id,
                id(FORGER),
                ts.max(oldest) + TimeDelta::hours(1),
                MODELS,
                1,
            ));
        }
    }
    world.events(evening, events).await;
    // The case of another, ranked for himself, and then signed.
    for (number, ranked) in world.honest.iter().enumerate().skip(40).step_by(4) {
        let name = format!("taken {number}");
        let own = world.rank(&name, ranked.case_id, id(FORGER), evening, false).await;
        let signed = own.signed(MODELS);
        world.events(evening + TimeDelta::hours(2), vec![signed]).await;
    }
}

/// Events of the past, and of the future.
async fn misdate(world: &World) {
    let evening = at(11, 20);
    let future = action("future", id("f"), id(FORGER), evening + Duration::days(2), MODELS, 1);
    let ancient = forged_impression(
        "ancient",
        world.honest[0].case_id,
        id(FORGER),
        evening - Duration::days(31),
    );
    for event in [future, ancient] {
        let answer = world.post(evening, "/events", &[], &event).await;
        assert_eq!(answer.status, 422, "{answer:?}");
    }
    // Days that were counted, and the one before the trial.
    let events = [0, 8, 9].into_iter().flat_map(|number| {
        let name = format!("backdated {number}");
        let case_id = id(&name);
        let signed = action(&name, case_id, id(FORGER), at(number, 11), MODELS, 1);
        [forged_impression(&name, case_id, id(FORGER), at(number, 10)), signed]
    });
    world.events(evening, events.collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_events_move_no_count() {
    let dir = tempfile::tempdir().unwrap();
    let salt = dir.path().join("salt");
    let (rollout, honest) = trial(&salt, async |_: &World| {}).await;
    let numbers = &rollout["trial"]["numbers"];
    assert!(numbers["decided"].as_u64() > Some(20), "{rollout:#}");
    let (_, invented) = trial(&salt, invent_cases).await;
    assert_eq!(invented, honest);
    let (_, meddled) = trial(&salt, meddle).await;
    assert_eq!(meddled.rollout, honest.rollout);
    assert_eq!(meddled.labels, honest.labels);
    assert_eq!(meddled.outcome_days, honest.outcome_days);
    let (_, misdated) = trial(&salt, misdate).await;
    assert_eq!(misdated.rollout, honest.rollout);
    assert_eq!(misdated.labels, honest.labels);
}

/// Users whom the stored days count, by arm.
fn users(counts: &Counts, arm: &str) -> u64 {
    let of_day = |counts: &Value| counts["arms"][arm]["users"].as_u64().unwrap_or(0);
    counts.outcome_days.iter().map(of_day).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_counts_as_one_however_many_cases_on_however_many_days() {
    let dir = tempfile::tempdir().unwrap();
    let salt = dir.path().join("salt");
    let (honest_rollout, honest) = trial(&salt, async |_: &World| {}).await;
    let mut world = World::begin(&salt).await;
    let mut seen = std::collections::BTreeSet::new();
    for number in [0, 9, 10, 11] {
        match number {
            0 => world.honest_day(0).await,
            9 => {
                let rollout = world.night(9).await;
                assert_eq!(rollout["state"]["phase"]["name"], "trial", "{rollout:#}");
                continue;
            }
            _ => world.honest_day(number).await,
        }
        let mut events = Vec::new();
        for case in 0..60 {
            let name = format!("insistent {number} {case}");
            let now = at(number, 14) + TimeDelta::minutes(case);
            let own = world.rank(&name, id(&name), id(FORGER), now, true).await;
            seen.insert(own.source.clone());
            events.push(own.signed(MODELS));
        }
        world.events(at(number, 16), events).await;
    }
    let rollout = world.night(20).await;
    let counts = world.counts(&rollout).await;
    for arm in ["everybody", "legacy", "interleaved", "ltr", "hold_out"] {
        let more = users(&counts, arm) - users(&honest, arm);
        assert!(more <= 1, "{arm}: {more} users more; seen: {seen:?}");
    }
    let of = |rollout: &Value, pointer: &str| rollout.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    for number in [
        "/evidence/users",
        "/evidence/mrr_sequence/users",
        "/trial/numbers/users",
        "/trial/numbers/decided",
    ] {
        let more = of(&rollout, number) - of(&honest_rollout, number);
        assert!(more <= 1, "{number}: {more} more");
    }
    assert_eq!(rollout["state"]["phase"], honest_rollout["state"]["phase"]);
    assert_eq!(rollout["verdict"]["promote"], honest_rollout["verdict"]["promote"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn comparisons_that_somebody_asks_for_are_no_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let salt = dir.path().join("salt");
    let mut verdicts = Vec::new();
    for asks in [false, true] {
        let mut world = World::begin(&salt).await;
        if asks {
            let mut events = Vec::new();
            for number in 0..60 {
                let name = format!("asked for {number}");
                let now = at(0, 6) + TimeDelta::minutes(number);
                let user = id(&format!("user {name}"));
                for header in [("x-shadow-ltr", "1"), ("x-ltr-edge-copy", "1")] {
                    let name = format!("{name} {}", header.0);
                    let own = world.rank_with(&name, id(&name), user, now, false, &[header]).await;
                    events.push(own.signed(MODELS));
                    // A copy leaves no impression; a client says that there was one.
                    events.push(forged_impression(&name, own.case_id, user, now));
                }
            }
            world.events(at(0, 8), events).await;
        }
        let rollout = world.goes_on_trial().await;
        let made = world.site.number("SELECT count(*) FROM ltr_shadow_request").await;
        assert_eq!(made, if asks { 40 + 120 } else { 40 });
        verdicts.push(judged(&rollout));
    }
    assert_eq!(verdicts[0], verdicts[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_clock_is_the_machines_no_header_says_what_time_it_is() {
    let site = Site::patient();
    let gateway = site.start().await;
    let (case_id, user_id) = (id("case"), id("user"));
    let body = json!({ "case": { "case_id": case_id, "user_id": user_id }, "lawyers": [lawyer(0), lawyer(1)] });
    for time in ["2020-01-01T00:00:00Z", "2040-01-01T00:00:00Z"] {
        let id = id(time).to_string();
        let headers = [("x-ltr-time", time), ("x-request-id", id.as_str())];
        assert_eq!(
            gateway.post("/rank", &headers, body.to_string().into()).await.status,
            200
        );
        let event = action(time, case_id, user_id, time.parse().unwrap(), "adv_0", 1);
        let answer = gateway.post("/events", &headers, event.to_string().into()).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        let (status, _) = gateway.get_with("/rollout", &[("x-ltr-time", time)]).await;
        assert_eq!(status, StatusCode::OK);
    }
    let (from, to) = (Utc::now() - TimeDelta::hours(1), Utc::now() + TimeDelta::hours(1));
    let store = store::Store::open(&site.database_url()).await.unwrap();
    let logged = store.events_between(from, to).await.unwrap();
    assert_eq!(logged.records.len(), 2, "at the machine's time");
}
