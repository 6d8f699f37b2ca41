//! Errors and panics to Sentry (https://develop.sentry.dev/sdk/data-model/envelopes/), without anybody's data.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use hyper::{Request, StatusCode, Uri};
use sentry::integrations::tracing::ErrorLayer;
use sentry::protocol::{Context, Event, Exception, Map, Thread, Value};
use sentry::types::Dsn;
use sentry::{ClientInitGuard, ClientOptions, Envelope, Transport};
use settings::Secret;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use super::panics::PANIC;
use super::scrub::scrub;
use super::send::Sender;
use crate::http::request_id;

/// Reports that may wait to be sent; more of them say nothing new.
const QUEUE: usize = 64;
/// How long a server that has had enough is left alone.
const ENOUGH: Duration = Duration::from_secs(60);
/// How long the end of the process waits for the last reports.
const LAST: Duration = Duration::from_secs(2);
const AGENT: &str = concat!("ltr-host/", env!("CARGO_PKG_VERSION"));

/// Reports from here on, panics of all threads included; until the guard is dropped, which waits a little for what
/// has not left yet. `None` without a DSN.
///
/// # Errors
/// A DSN that cannot be used. The error does not show it.
pub(super) fn start(dsn: &Secret) -> anyhow::Result<Option<ClientInitGuard>> {
    if dsn.is_empty() {
        return Ok(None);
    }
    let parsed = dsn.expose().parse::<Dsn>();
    // What its own error says may quote it.
    let dsn = parsed.map_err(|_| anyhow::anyhow!("telemetry.sentry_dsn cannot be read as a DSN"))?;
    let outbox = Outbox::start(&dsn).context("telemetry.sentry_dsn")?;
    let mut options = ClientOptions::new()
        .release(AGENT.replace('/', "@"))
        .max_breadcrumbs(0)
        .attach_stacktrace(true)
        .shutdown_timeout(LAST)
        .before_send(|event| Some(without_data(event)))
        .transport(Arc::new(outbox));
    options.dsn = Some(dsn);
    Ok(Some(sentry::init(options)))
}

/// What reports the log's errors.
pub(super) fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // A panic is reported by a hook of its own, which knows its stack.
    let reported = |metadata: &Metadata<'_>| *metadata.level() == Level::ERROR && metadata.target() != PANIC;
    ErrorLayer::new().with_filter(filter_fn(reported))
}

/// A report with nothing in it but what is listed here; texts are scrubbed.
fn without_data(event: Event<'static>) -> Event<'static> {
    let id = request_id::with_current(|id| id.uuid()).flatten();
    Event {
        event_id: event.event_id,
        level: event.level,
        message: event.message.as_deref().map(scrub),
        logger: event.logger,
        platform: event.platform,
        timestamp: event.timestamp,
        release: event.release,
        environment: event.environment,
        sdk: event.sdk,
        tags: id
            .map(|id| ("request_id".to_owned(), id.to_string()))
            .into_iter()
            .collect(),
        contexts: event.contexts.into_iter().filter_map(fields_of_the_log).collect(),
        exception: event.exception.into_iter().map(exception).collect::<Vec<_>>().into(),
        threads: event.threads.into_iter().map(stack).collect::<Vec<_>>().into(),
        ..Event::default()
    }
}

fn fields_of_the_log((name, context): (String, Context)) -> Option<(String, Context)> {
    let Context::Other(fields) = context else { return None };
    let fields: Map<String, Value> = fields
        .into_iter()
        .filter(|(_, value)| !value.is_array() && !value.is_object())
        .map(|(name, value)| match value {
            Value::String(text) => (name, scrub(&text).into()),
            value => (name, value),
        })
        .collect();
    name.starts_with("Rust Tracing")
        .then_some((name, Context::Other(fields)))
}

fn exception(exception: Exception) -> Exception {
    Exception {
        ty: exception.ty,
        value: exception.value.as_deref().map(scrub),
        stacktrace: exception.stacktrace,
        mechanism: exception.mechanism,
        ..Exception::default()
    }
}

fn stack(thread: Thread) -> Thread {
    Thread {
        stacktrace: thread.stacktrace,
        current: thread.current,
        ..Thread::default()
    }
}

enum Message {
    /// An envelope.
    Report(Bytes),
    /// Answered when everything before it has left.
    Flush(SyncSender<()>),
}

/// Reports on their way out, on a thread of its own: a panic may come before the server's runtime, or after it.
struct Outbox {
    queue: SyncSender<Message>,
    sender: Sender,
}

impl Outbox {
    fn start(dsn: &Dsn) -> anyhow::Result<Outbox> {
        let uri: Uri = dsn.envelope_api_url().as_str().parse()?;
        let auth = dsn.to_auth(Some(AGENT)).to_string();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sender = {
            let _inside = runtime.enter();
            Sender::new("sentry", dsn.envelope_api_url().as_str())?
        };
        let (queue, messages) = sync_channel(QUEUE);
        let courier = sender.clone();
        let deliver = move || runtime.block_on(deliver(courier, messages, uri, auth));
        std::thread::Builder::new().name("sentry".into()).spawn(deliver)?;
        Ok(Outbox { queue, sender })
    }
}

async fn deliver(sender: Sender, messages: Receiver<Message>, uri: Uri, auth: String) {
    let mut quiet_until = Instant::now();
    while let Ok(message) = messages.recv() {
        let report = match message {
            Message::Report(report) => report,
            Message::Flush(done) => {
                // Who waits for it may have given up.
                let _ = done.send(());
                continue;
            }
        };
        if Instant::now() < quiet_until {
            sender.lost(1, &"the server has had enough");
            continue;
        }
        let request = Request::post(&uri)
            .header("content-type", "application/x-sentry-envelope")
            .header("x-sentry-auth", &auth)
            .body(report);
        match sender.send(request.expect("a DSN makes a URL and a header")).await {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => {
                if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                    quiet_until = Instant::now() + ENOUGH;
                }
                sender.lost(1, &answer.status());
            }
            Err(error) => sender.lost(1, &error),
        }
    }
}

impl Transport for Outbox {
    fn send_envelope(&self, envelope: Envelope) {
        let mut report = Vec::new();
        envelope.to_writer(&mut report).expect("a Vec takes every write");
        if self.queue.try_send(Message::Report(report.into())).is_err() {
            self.sender.lost(1, &"too many wait");
        }
    }

    fn flush(&self, timeout: Duration) -> bool {
        let (done, flushed) = sync_channel(1);
        self.queue.try_send(Message::Flush(done)).is_ok() && flushed.recv_timeout(timeout).is_ok()
    }
}
