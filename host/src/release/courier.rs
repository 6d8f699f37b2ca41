//! The courier: delivers to webhooks what transitions of the rollout owe them.
//!
//! A transition writes one message per destination into the outbox, within its own transaction. The
//! holder of the lease delivers them, each destination's in order, at least once. The outbox and the
//! log get a destination's name and neither its URL nor its secret: whoever knows the URL of a Slack
//! webhook can post there.

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use metrics::{counter, gauge};
use ranking::release::ledger::Sealed;
use ranking::release::{Action, Effect, Transition};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, Url};
use serde::Serialize;
use serde_json::{Value, json};
use settings::{Secret, Webhook, WebhookFormat, Webhooks};
use sha2::Sha256;
use store::{OutboxFacts, Owed, Store, StoreError};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::http::clock::wall;

/// The value of `event` in a message.
const EVENT: &str = "rollout";
/// Maximum number of messages that one look at the outbox returns: one per destination, and there are
/// far fewer destinations.
const MAX_DUE: u32 = 256;
/// Maximum number of bytes that are read of a response.
const MAX_RESPONSE: usize = 4 << 10;
/// How often the outbox is looked at while deliveries are underway: a message may become due while
/// another destination keeps the courier waiting.
const RECHECK: Duration = Duration::from_secs(1);
/// Pause after the first failure of a message. It doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Maximum pause, and the pause of a destination that is not configured.
const MAX_BACKOFF: Duration = Duration::from_secs(15 * 60);
const NOT_CONFIGURED: &str = "no webhook of this name is configured on the gateway that sends";
const NOT_A_MESSAGE: &str = "this version of the gateway cannot write the message for Slack";
const AGENT: &str = concat!("ltr-host/", env!("CARGO_PKG_VERSION"));

/// Delivers the messages of the outbox.
pub struct Courier {
    targets: Vec<Arc<Target>>,
}

/// A configured destination.
struct Target {
    name: String,
    url: Url,
    format: WebhookFormat,
    secret: Secret,
    timeout: Duration,
    client: Client,
}

/// The message of a transition.
#[derive(Serialize)]
struct Message<'a> {
    event: &'static str,
    seq: u64,
    ts_utc: DateTime<Utc>,
    action: Action,
    actor: &'a str,
    reason: &'a str,
    text: &'a str,
    weight: u8,
    champion: Option<&'a str>,
    challenger: Option<&'a str>,
    phase: &'a str,
    head: &'a str,
}

/// An attempt, and why it failed.
struct Attempt {
    owed: Owed,
    outcome: Result<(), String>,
}

/// The deliveries of one [`Courier::deliver_due`].
#[derive(Default)]
struct Tour {
    underway: JoinSet<Attempt>,
    /// The destinations of those underway.
    busy: HashSet<String>,
    delivered: usize,
}

impl Courier {
    /// Prepares a client per destination.
    ///
    /// # Errors
    /// A URL that is none; HTTPS, but this machine has no CA certificates. The error names the
    /// destination and shows no URL.
    pub fn new(settings: &Webhooks) -> anyhow::Result<Courier> {
        let target = |webhook: &Webhook| {
            let target = Target::new(webhook, settings.timeout());
            target.with_context(|| format!("webhooks.targets: {}", webhook.name))
        };
        let targets = settings.targets.iter().map(|webhook| target(webhook).map(Arc::new));
        Ok(Courier {
            targets: targets.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Names of the destinations, for the outbox rows of a transition.
    pub fn destinations(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().map(|target| target.name.as_str())
    }

    /// The message of a transition that was sealed at `now`, the same for every destination: a JSON
    /// object. `text` is the transition in one sentence, `weight` the percentage of all users whom LTR
    /// answers, `head` the hash of the ledger entry.
    pub fn body(transition: &Transition, sealed: &Sealed, now: DateTime<Utc>) -> String {
        let state = &transition.state;
        let sentences = transition.effects.iter();
        let sentences = sentences.map(|Effect::Announce(sentence)| sentence.as_str());
        let text = sentences.collect::<Vec<_>>().join(" ");
        let message = Message {
            event: EVENT,
            seq: state.version,
            ts_utc: now,
            action: transition.action,
            actor: &transition.actor,
            reason: &transition.reason,
            text: &text,
            weight: state.exposure.percent(),
            champion: state.champion.as_ref().map(|champion| champion.model.version.as_str()),
            challenger: state.challenger.as_ref().map(|model| model.version.as_str()),
            phase: state.phase.name(),
            head: &sealed.hash,
        };
        serde_json::to_string(&message).expect("a message is made of texts and integers")
    }

    /// Delivers what is due, until nothing is, the database fails, or `still_holder` says no.
    /// Returns the number of delivered messages.
    ///
    /// Destinations are served concurrently, one message at a time each. A delivery that is underway
    /// ends, with its outcome on record, whatever stops the others; each takes at most
    /// `webhooks.timeout_seconds`.
    ///
    /// # Errors
    /// The first error of the database.
    pub async fn deliver_due(
        &self,
        store: &Store,
        still_holder: &(dyn Fn() -> bool + Sync),
    ) -> Result<usize, StoreError> {
        let mut tour = Tour::default();
        let mut database = Ok(());
        loop {
            if database.is_ok() && still_holder() {
                database = self.set_out(store, &mut tour).await;
            }
            if tour.underway.is_empty() {
                break;
            }
            if let Ok(Some(attempt)) = timeout(RECHECK, tour.underway.join_next()).await {
                let settled = self.settle(store, &mut tour, attempt).await;
                database = database.and(settled);
            }
        }
        database?;
        measure_owed(store).await?;
        Ok(tour.delivered)
    }

    /// Begins the deliveries that are due, but for destinations that are busy.
    async fn set_out(&self, store: &Store, tour: &mut Tour) -> Result<(), StoreError> {
        for owed in store.outbox_due(MAX_DUE).await? {
            if !tour.busy.insert(owed.destination.clone()) {
                continue;
            }
            let target = self.target(&owed.destination).cloned();
            tour.underway.spawn(async move {
                let outcome = match target {
                    Some(target) => target.deliver(&owed).await,
                    None => Err(NOT_CONFIGURED.to_owned()),
                };
                Attempt { owed, outcome }
            });
        }
        Ok(())
    }

    /// Puts the outcome of an attempt on record.
    async fn settle(
        &self,
        store: &Store,
        tour: &mut Tour,
        attempt: Result<Attempt, JoinError>,
    ) -> Result<(), StoreError> {
        let Ok(Attempt { owed, outcome }) = attempt else {
            // Its destination stays busy, so that this tour does not try it over and over.
            tracing::error!("the delivery of a webhook panicked; the next tour tries it again");
            return Ok(());
        };
        let destination = owed.destination;
        tour.busy.remove(&destination);
        let Err(why) = outcome else {
            counter!("ltr_outbox_sent_total", "destination" => destination).increment(1);
            store.outbox_sent(owed.id).await?;
            tour.delivered += 1;
            return Ok(());
        };
        let pause = match self.target(&destination) {
            Some(_) => backoff(owed.id, owed.attempts),
            None => MAX_BACKOFF,
        };
        tracing::warn!(
            destination,
            seq = owed.seq,
            failures = owed.attempts.saturating_add(1),
            retry_seconds = pause.as_secs_f64(),
            "webhook not delivered: {why}"
        );
        counter!("ltr_outbox_failed_total", "destination" => destination).increment(1);
        store.outbox_failed(owed.id, &why, pause).await
    }

    fn target(&self, name: &str) -> Option<&Arc<Target>> {
        self.targets.iter().find(|target| target.name == name)
    }
}

/// Reads how much the outbox owes, and shows it as `ltr_outbox_owed`. Every gateway may call it, the
/// holder of the lease or not.
pub async fn measure_owed(store: &Store) -> Result<OutboxFacts, StoreError> {
    let facts = store.outbox_facts().await?;
    gauge!("ltr_outbox_owed").set(facts.owed as f64);
    Ok(facts)
}

impl Target {
    fn new(webhook: &Webhook, timeout: Duration) -> anyhow::Result<Target> {
        let url = Url::parse(webhook.url.expose()).context("url")?;
        let system_roots = Path::new("");
        let builder = client::builder(url.as_str(), system_roots)?;
        Ok(Target {
            name: webhook.name.clone(),
            format: webhook.format,
            secret: webhook.secret.clone(),
            client: builder.no_proxy().user_agent(AGENT).timeout(timeout).build()?,
            timeout,
            url,
        })
    }

    /// One attempt. The error says why it failed; it shows neither URL nor secret.
    async fn deliver(&self, owed: &Owed) -> Result<(), String> {
        let body = match self.format {
            WebhookFormat::Json => owed.body.clone(),
            WebhookFormat::Slack => slack_body(&owed.body).ok_or(NOT_A_MESSAGE)?,
        };
        let timestamp = wall().timestamp().to_string();
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("X-LTR-Delivery", format!("{}-{}", owed.id, owed.seq))
            .header("X-LTR-Timestamp", timestamp.as_str());
        if !self.secret.is_empty() {
            let signature = signature(self.secret.expose(), &timestamp, &body);
            request = request.header("X-LTR-Signature", signature);
        }
        let response = request.body(body).send().await.map_err(|error| self.why(error))?;
        let status = response.status();
        drain(response).await;
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("the server answered {status}"))
        }
    }

    /// An error in words. The innermost cause says most; it may name the host, which is hidden too.
    fn why(&self, error: reqwest::Error) -> String {
        if error.is_timeout() {
            return format!("no response within {} s", self.timeout.as_secs());
        }
        let what = if error.is_connect() {
            "cannot connect"
        } else {
            "no response"
        };
        let error = error.without_url();
        let mut cause: &dyn Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let mut text = cause.to_string().replace(self.url.as_str(), Secret::HIDDEN);
        if let Some(host) = self.url.host_str() {
            text = text.replace(host, Secret::HIDDEN);
        }
        format!("{what}: {text}")
    }
}

/// Reads a short response to its end, so that the connection can serve the next message. Its text is
/// not kept, because a server may quote the URL there.
async fn drain(mut response: Response) {
    let mut read = 0;
    while read < MAX_RESPONSE
        && let Ok(Some(chunk)) = response.chunk().await
    {
        read += chunk.len();
    }
}

/// HMAC-SHA-256 (RFC 2104) over `TIMESTAMP.BODY`. The timestamp is signed so that a receiver can
/// refuse old messages that somebody sends again.
fn signature(secret: &str, timestamp: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    for part in [timestamp, ".", body] {
        mac.update(part.as_bytes());
    }
    format!("v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// A message as Slack takes it: the sentence, and the head of the ledger. `None` if the message lacks
/// one of them.
fn slack_body(body: &str) -> Option<String> {
    let message: Value = serde_json::from_str(body).ok()?;
    let seq = message["seq"].as_u64()?;
    let [text, head] = [&message["text"], &message["head"]].map(Value::as_str);
    let text = format!("{}\nledger entry {seq}, hash {}", slack_text(text?), slack_text(head?));
    Some(json!({ "text": text }).to_string())
}

/// Escapes what Slack would take for a link or a mention:
/// <https://docs.slack.dev/messaging/formatting-message-text/#escaping>.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The pause after a failure that `attempts` others came before. Up to a quarter is taken off by the
/// id, so that messages that failed together are not retried together.
fn backoff(id: u64, attempts: u32) -> Duration {
    const STEPS: u32 = 1024;
    let pause = MAX_BACKOFF.min(FIRST_BACKOFF * 2_u32.pow(attempts.min(10)));
    // Fibonacci hashing: the upper ten bits differ between neighbours.
    let spread = (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as u32;
    pause - pause / (4 * STEPS) * spread
}

#[cfg(test)]
mod tests {
    use ranking::release::{State, begin, ledger};

    use super::*;

    #[test]
    fn the_signature_is_the_hmac_of_timestamp_and_body() {
        // python3 -c 'import hmac; print(hmac.new(b"a-secret-of-webhooks", b"1790820900.{\"event\":\"rollout\",\"seq\":7}", "sha256").hexdigest())'
        assert_eq!(
            signature("a-secret-of-webhooks", "1790820900", r#"{"event":"rollout","seq":7}"#),
            "v1=e03739cfb30fad95a4dc7297f18a43eb61c867801a040823fca02a0347406234"
        );
    }

    #[test]
    fn a_message_says_what_was_done_and_what_serves_now() {
        let now = DateTime::from_timestamp(1_790_820_900, 0).unwrap();
        let left = State::taken_over(30, Some("m1".into()), Some("m2".into()), now);
        let transition = begin(left, now);
        let sealed = ledger::seal(&transition, now, None, ledger::ORIGIN);
        let message: Value = serde_json::from_str(&Courier::body(&transition, &sealed, now)).unwrap();
        let Effect::Announce(sentence) = &transition.effects[0];
        assert_eq!(
            message,
            json!({
                "event": "rollout", "seq": 1, "ts_utc": "2026-10-01T02:15:00Z", "action": "begin",
                "actor": "controller", "reason": "", "text": sentence, "weight": 30, "champion": "m1",
                "challenger": "m2", "phase": "manual", "head": sealed.hash,
            })
        );
    }

    #[test]
    fn slack_gets_the_sentence_with_the_ledgers_head_and_no_mention() {
        let message = json!({"seq": 7, "text": "pinned (ops: a<b & <!channel> \"x\")", "head": "c0ffee", "new": 1});
        let body: Value = serde_json::from_str(&slack_body(&message.to_string()).unwrap()).unwrap();
        let text = "pinned (ops: a&lt;b &amp; &lt;!channel&gt; \"x\")\nledger entry 7, hash c0ffee";
        assert_eq!(body, json!({ "text": text }));
        for other in ["", "[]", "{}", r#"{"seq": 7, "text": "no head"}"#] {
            assert_eq!(slack_body(other), None, "{other}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_quarter_of_an_hour_and_differ_by_id() {
        for id in [0, 1, 2, 1000, u64::MAX] {
            for (attempts, full) in [(0, 1), (1, 2), (5, 32), (9, 512), (10, 900), (u32::MAX, 900)] {
                let (pause, full) = (backoff(id, attempts), Duration::from_secs(full));
                assert!(pause <= full && pause >= full * 3 / 4, "{id} {attempts}: {pause:?}");
                assert_eq!(pause, backoff(id, attempts));
            }
        }
        assert_ne!(backoff(1, 5), backoff(2, 5));
    }
}
