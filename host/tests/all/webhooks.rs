//! What must hold for whoever listens to the rollout by webhook.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::Empty;
use hyper::{Response, StatusCode};
use ltr_host::release::courier::{Courier, measure_owed};
use ranking::release::ledger;
use serde_json::{Value, json};
use settings::{Secret, Webhook, WebhookFormat, Webhooks};
use sha2::Sha256;
use store::{Commit, Committed, Effect, RolloutState, Store};
use tempfile::TempDir;
use testkit::PATIENCE;
use tokio::net::TcpListener;

use crate::Site;
use crate::receiver::{Call, Receiver};
use crate::running::Program;

const SECRET: &str = "pas-s-word-of-webhooks";
/// In the path of every URL: with Slack, that is what lets a caller post.
const PATH_SECRET: &str = "T0-B0-hush-hush";
/// Beyond what a test takes, so that only what is meant to be slow runs into it.
const TIMEOUT: u64 = 60;

/// A database whose commits owe messages.
struct Owing {
    folder: TempDir,
    store: Store,
    commits: AtomicUsize,
}

impl Owing {
    async fn new() -> Owing {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ltr.db");
        let store = Store::open(&format!("sqlite://{}", file.display())).await.unwrap();
        Owing {
            folder,
            store,
            commits: AtomicUsize::new(0),
        }
    }

    /// Commits a transition that owes its message to these; returns the message.
    async fn owe(&self, destinations: &[&str]) -> String {
        let expected = self.commits.fetch_add(1, Ordering::Relaxed) as u64;
        let seq = expected + 1;
        let entry = json!({ "seq": seq }).to_string();
        let hash = ledger::hash(&entry);
        let text = format!("transition {seq} (ops: a < b)");
        let body = json!({"event": "rollout", "seq": seq, "text": text, "head": hash}).to_string();
        let effects = destinations.iter().map(|&destination| Effect {
            destination,
            body: &body,
        });
        let commit = Commit {
            expected,
            state: "{}",
            entry: &entry,
            hash: &hash,
            command: None,
            mirror: &RolloutState::default(),
            outbox: &effects.collect::<Vec<_>>(),
            lease: None,
        };
        assert_eq!(self.store.commit_release(&commit).await.unwrap(), Committed::Done);
        body
    }

    /// Delivers what is due now.
    async fn deliver(&self, courier: &Courier) -> usize {
        courier.deliver_due(&self.store, &|| true).await.unwrap()
    }

    /// Delivers until so many messages have been, over the pauses after failures.
    async fn deliver_in_the_end(&self, courier: &Courier, messages: usize) {
        let start = Instant::now();
        let mut delivered = 0;
        while delivered < messages {
            assert!(start.elapsed() < PATIENCE, "{delivered} of {messages} delivered");
            delivered += self.deliver(courier).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(delivered, messages);
    }

    async fn owed(&self) -> u64 {
        measure_owed(&self.store).await.unwrap().owed
    }

    async fn last_error(&self) -> String {
        self.store.outbox_facts().await.unwrap().last_error.unwrap_or_default()
    }

    /// All files of the database, as text.
    fn files(&self) -> String {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        let bytes = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        bytes
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }
}

fn webhook(name: &str, address: &str, format: WebhookFormat) -> Webhook {
    Webhook {
        name: name.into(),
        url: Secret::new(format!("http://{address}/{PATH_SECRET}/{name}")),
        format,
        secret: Secret::new(SECRET),
    }
}

fn json_webhook(name: &str, address: &str) -> Webhook {
    webhook(name, address, WebhookFormat::Json)
}

fn courier_of(targets: Vec<Webhook>, timeout_seconds: u64) -> Courier {
    let settings = Webhooks {
        targets,
        timeout_seconds,
    };
    Courier::new(&settings).unwrap()
}

fn status(status: u16) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn header<'a>(call: &'a Call, name: &str) -> &'a str {
    call.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// The name in the last segment of the path.
fn destination(call: &Call) -> &str {
    Path::new(&call.path).file_name().unwrap().to_str().unwrap()
}

/// The sequence numbers that a destination got, in order.
fn seqs(calls: &[Call], of: &str) -> Vec<u64> {
    let calls = calls.iter().filter(|call| destination(call) == of);
    let seq = |call: &Call| serde_json::from_slice::<Value>(&call.body).unwrap()["seq"].as_u64();
    calls.map(|call| seq(call).unwrap()).collect()
}

#[tokio::test]
async fn a_receiver_can_verify_who_sent_a_message_and_when() {
    let (owing, receiver) = (Owing::new().await, Receiver::start().await);
    let courier = courier_of(vec![json_webhook("ops", &receiver.address)], TIMEOUT);
    assert_eq!(courier.destinations().collect::<Vec<_>>(), ["ops"]);
    let before = chrono::Utc::now().timestamp();
    let body = owing.owe(&["ops"]).await;
    assert_eq!(owing.owed().await, 1);
    assert_eq!(owing.deliver(&courier).await, 1);
    assert_eq!(owing.owed().await, 0);

    let call = receiver.calls().remove(0);
    assert_eq!(call.path, format!("/{PATH_SECRET}/ops"));
    assert_eq!(call.body, body);
    assert_eq!(header(&call, "content-type"), "application/json");
    assert!(
        header(&call, "x-ltr-delivery").ends_with("-1"),
        "{}",
        header(&call, "x-ltr-delivery")
    );
    let timestamp = header(&call, "x-ltr-timestamp");
    let sent: i64 = timestamp.parse().unwrap();
    assert!((before..=chrono::Utc::now().timestamp()).contains(&sent), "{sent}");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{timestamp}.{body}").as_bytes());
    let expected = format!("v1={}", hex::encode(mac.finalize().into_bytes()));
    assert_eq!(header(&call, "x-ltr-signature"), expected);
}

#[tokio::test]
async fn slack_gets_one_escaped_sentence_with_the_head_of_the_ledger() {
    let (owing, receiver) = (Owing::new().await, Receiver::start().await);
    let mut chat = webhook("chat", &receiver.address, WebhookFormat::Slack);
    chat.secret = Secret::default();
    let courier = courier_of(vec![chat], TIMEOUT);
    let body: Value = serde_json::from_str(&owing.owe(&["chat"]).await).unwrap();
    assert_eq!(owing.deliver(&courier).await, 1);
    let call = receiver.calls().remove(0);
    let head = body["head"].as_str().unwrap();
    let text = format!("transition 1 (ops: a &lt; b)\nledger entry 1, hash {head}");
    let posted: Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(posted, json!({ "text": text }));
    assert_eq!(header(&call, "content-type"), "application/json");
    assert_eq!(header(&call, "x-ltr-signature"), "");
}

#[tokio::test]
async fn a_refused_message_is_sent_again_under_the_same_delivery_id_and_before_later_ones() {
    let calls = AtomicUsize::new(0);
    let receiver = Receiver::answering(move |_| {
        let is_early = calls.fetch_add(1, Ordering::Relaxed) < 2;
        status(if is_early { 500 } else { 204 })
    })
    .await;
    let owing = Owing::new().await;
    let courier = courier_of(vec![json_webhook("ops", &receiver.address)], TIMEOUT);
    for _ in 0..3 {
        owing.owe(&["ops"]).await;
    }
    assert_eq!(owing.deliver(&courier).await, 0);
    assert_eq!(
        owing.last_error().await,
        "the server answered 500 Internal Server Error"
    );
    owing.deliver_in_the_end(&courier, 3).await;

    let calls = receiver.calls();
    assert_eq!(seqs(&calls, "ops"), [1, 1, 1, 2, 3]);
    let ids: Vec<&str> = calls.iter().map(|call| header(call, "x-ltr-delivery")).collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "{ids:?}");
    assert!(ids[2] != ids[3] && ids[3] != ids[4], "{ids:?}");
    assert_eq!(calls[0].body, calls[2].body);
}

#[tokio::test]
async fn a_destination_that_does_not_answer_delays_no_other() {
    // Connections are accepted by the kernel, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let receiver = Receiver::start().await;
    let courier = courier_of(
        vec![json_webhook("silent", &address), json_webhook("ops", &receiver.address)],
        TIMEOUT,
    );
    let owing = Arc::new(Owing::new().await);
    for _ in 0..3 {
        owing.owe(&["silent", "ops"]).await;
    }
    let delivering = owing.clone();
    let tour = tokio::spawn(async move { delivering.deliver(&courier).await });
    let received = async |count: usize| {
        let all = receiver.wait_for(|calls| (calls.len() == count).then(|| seqs(calls, "ops")));
        all.await
    };
    assert_eq!(received(3).await, [1, 2, 3]);
    // Nor what is committed while the tour waits.
    owing.owe(&["silent", "ops"]).await;
    assert_eq!(received(4).await, [1, 2, 3, 4]);
    assert!(!tour.is_finished());
    tour.abort();
}

#[tokio::test]
async fn a_destination_that_does_not_answer_in_time_is_tried_again() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let owing = Owing::new().await;
    owing.owe(&["silent"]).await;
    let courier = courier_of(vec![json_webhook("silent", &address)], 1);
    assert_eq!(owing.deliver(&courier).await, 0);
    assert_eq!(owing.last_error().await, "no response within 1 s");
    assert_eq!(owing.owed().await, 1);
}

#[tokio::test]
async fn only_2xx_is_success_and_redirects_are_not_followed() {
    let receiver = Receiver::answering(|call| {
        let mut response = status(destination(call).parse().unwrap());
        let elsewhere = "/elsewhere/200".parse().unwrap();
        response.headers_mut().insert("location", elsewhere);
        response
    })
    .await;
    for (code, delivered) in [
        ("200", true),
        ("202", true),
        ("302", false),
        ("307", false),
        ("404", false),
        ("429", false),
        ("503", false),
    ] {
        let owing = Owing::new().await;
        owing.owe(&[code]).await;
        let courier = courier_of(vec![json_webhook(code, &receiver.address)], TIMEOUT);
        assert_eq!(owing.deliver(&courier).await, usize::from(delivered), "{code}");
        let why = owing.last_error().await;
        assert_eq!(why.contains(code), !delivered, "{code}: {why}");
    }
    assert!(receiver.calls().iter().all(|call| call.path.contains(PATH_SECRET)));
}

#[tokio::test]
async fn neither_url_nor_secret_reaches_the_database() {
    let refusing = Receiver::answering(|_| status(403)).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = gone.local_addr().unwrap().to_string();
    drop(gone);
    let mut errors = Vec::new();
    for (address, format) in [
        (refusing.address.as_str(), WebhookFormat::Json),
        (closed.as_str(), WebhookFormat::Slack),
        // A name that no server resolves.
        ("no-such-host.invalid", WebhookFormat::Json),
    ] {
        let owing = Owing::new().await;
        owing.owe(&["ops"]).await;
        // A resolver may take its time.
        let courier = courier_of(vec![webhook("ops", address, format)], 5);
        assert_eq!(owing.deliver(&courier).await, 0);
        let (why, files) = (owing.last_error().await, owing.files());
        assert!(files.contains("transition 1"), "the message is not in the files");
        for hidden in [SECRET, PATH_SECRET, address, "no-such-host", "http://"] {
            assert!(!why.contains(hidden), "{why}");
        }
        for hidden in [SECRET, PATH_SECRET] {
            assert!(!files.contains(hidden), "{hidden}");
        }
        errors.push(why);
    }
    assert_eq!(errors[0], "the server answered 403 Forbidden");
    assert!(
        errors[1].starts_with("cannot connect: Connection refused"),
        "{errors:?}"
    );
}

#[tokio::test]
async fn a_message_to_a_destination_that_is_not_configured_waits_and_says_so() {
    let (owing, receiver) = (Owing::new().await, Receiver::start().await);
    let courier = courier_of(vec![json_webhook("ops", &receiver.address)], TIMEOUT);
    owing.owe(&["former", "ops"]).await;
    assert_eq!(owing.deliver(&courier).await, 1);
    assert_eq!(
        owing.last_error().await,
        "no webhook of this name is configured on the gateway that sends"
    );
    assert_eq!(owing.owed().await, 1);
    assert!(owing.store.outbox_due(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn who_lost_the_lease_sends_no_more() {
    let (owing, receiver) = (Owing::new().await, Receiver::start().await);
    let courier = courier_of(vec![json_webhook("ops", &receiver.address)], TIMEOUT);
    for _ in 0..3 {
        owing.owe(&["ops"]).await;
    }
    let deliver = async |still_holder: &(dyn Fn() -> bool + Sync)| {
        let delivered = courier.deliver_due(&owing.store, still_holder).await;
        delivered.unwrap()
    };
    assert_eq!(deliver(&|| false).await, 0);
    assert_eq!(receiver.calls().len(), 0);
    assert_eq!(deliver(&|| receiver.calls().len() < 2).await, 2);
    assert_eq!(seqs(&receiver.calls(), "ops"), [1, 2]);
}

#[tokio::test]
async fn the_program_tells_of_each_transition_by_itself_with_the_head_that_it_shows() {
    let receiver = Receiver::start().await;
    let site = Site::new();
    site.publish(crate::VERSION, evil::Behaviour::Honest);
    let targets = format!(
        "[{{ name = \"ops\", url = \"http://{}/hook\", format = \"json\", secret = \"sixteen-characters\" }}]",
        receiver.address
    );
    let program = Program::start(&site, &[("LTR_WEBHOOKS__TARGETS", targets.as_ref())]);
    let (status, ordered) = program
        .call("/rollout/hold", Some(&json!({ "on": true, "reason": "campaign" })))
        .await;
    assert_eq!(status, 200, "{ordered}");
    let message = receiver
        .wait_for(|calls| {
            let mut messages = calls
                .iter()
                .map(|call| serde_json::from_slice::<Value>(&call.body).unwrap());
            messages.find(|message| message["action"] == "hold")
        })
        .await;
    assert_eq!(
        (&message["reason"], &message["actor"]),
        (&json!("campaign"), &json!("tests"))
    );
    assert_eq!(message["head"], ordered["head"]);
    assert!(
        receiver
            .calls()
            .iter()
            .all(|call| call.headers.contains_key("x-ltr-signature"))
    );
    // Each once and in order, from the first entry on.
    let seqs = seqs(&receiver.calls(), "hook");
    let expected: Vec<u64> = (1..=seqs.len() as u64).collect();
    assert_eq!(seqs, expected);
}
