//! Reports errors and panics to Sentry, without personal data. The format is that of
//! <https://develop.sentry.dev/sdk/data-model/envelopes/>.

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

/// Maximum number of waiting reports. More are dropped, because they say little new.
const QUEUE: usize = 64;
/// Pause after a response with status 429.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(60);
/// How long the end of the process waits for the last reports.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
const AGENT: &str = concat!("ltr-host/", env!("CARGO_PKG_VERSION"));

/// Reports errors and the panics of all threads until the guard is dropped. The drop waits a little
/// for the last reports. `None` without a DSN.
///
/// # Errors
/// An invalid DSN. The error does not show it.
pub(super) fn start(dsn: &Secret) -> anyhow::Result<Option<ClientInitGuard>> {
    if dsn.is_empty() {
        return Ok(None);
    }
    let parsed = dsn.expose().parse::<Dsn>();
    // The parser's error may quote the DSN.
    let dsn = parsed.map_err(|_| anyhow::anyhow!("telemetry.sentry_dsn is not a valid Sentry DSN"))?;
    let outbox = Outbox::start(&dsn).context("telemetry.sentry_dsn")?;
    let mut options = ClientOptions::new()
        .release(AGENT.replace('/', "@"))
        .max_breadcrumbs(0)
        .attach_stacktrace(true)
        .shutdown_timeout(SHUTDOWN_TIMEOUT)
        .before_send(|event| Some(without_data(event)))
        .transport(Arc::new(outbox));
    options.dsn = Some(dsn);
    Ok(Some(sentry::init(options)))
}

/// The layer that reports the errors in the log.
pub(super) fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // Sentry's hook reports panics, with their stack.
    let reported = |metadata: &Metadata<'_>| *metadata.level() == Level::ERROR && metadata.target() != PANIC;
    ErrorLayer::new().with_filter(filter_fn(reported))
}

/// Copies only the fields that are listed here, and scrubs their texts.
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
        contexts: event.contexts.into_iter().filter_map(log_fields).collect(),
        exception: event.exception.into_iter().map(exception).collect::<Vec<_>>().into(),
        threads: event.threads.into_iter().map(stack).collect::<Vec<_>>().into(),
        ..Event::default()
    }
}

fn log_fields((name, context): (String, Context)) -> Option<(String, Context)> {
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
    /// An envelope, as bytes.
    Report(Bytes),
    /// Answered once everything before it was sent.
    Flush(SyncSender<()>),
}

/// Sends reports on a thread of its own, because a panic may come before the server's runtime
/// starts or after it ends.
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
        let sending = sender.clone();
        let deliver = move || runtime.block_on(deliver(sending, messages, uri, auth));
        std::thread::Builder::new().name("sentry".into()).spawn(deliver)?;
        Ok(Outbox { queue, sender })
    }
}

async fn deliver(sender: Sender, messages: Receiver<Message>, uri: Uri, auth: String) {
    let mut paused_until = Instant::now();
    while let Ok(message) = messages.recv() {
        let report = match message {
            Message::Report(report) => report,
            Message::Flush(done) => {
                // The caller may have stopped waiting.
                let _ = done.send(());
                continue;
            }
        };
        if Instant::now() < paused_until {
            sender.record_lost(1, &"the server limits the rate (429)");
            continue;
        }
        let request = Request::post(&uri)
            .header("content-type", "application/x-sentry-envelope")
            .header("x-sentry-auth", &auth)
            .body(report);
        match sender.send(request.expect("a DSN makes a URL and a header")).await {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => {
                if response.status() == StatusCode::TOO_MANY_REQUESTS {
                    paused_until = Instant::now() + RATE_LIMIT_PAUSE;
                }
                sender.record_lost(1, &response.status());
            }
            Err(error) => sender.record_lost(1, &error),
        }
    }
}

impl Transport for Outbox {
    fn send_envelope(&self, envelope: Envelope) {
        let mut report = Vec::new();
        envelope.to_writer(&mut report).expect("a Vec takes every write");
        if self.queue.try_send(Message::Report(report.into())).is_err() {
            self.sender.record_lost(1, &"the queue is full");
        }
    }

    fn flush(&self, timeout: Duration) -> bool {
        let (done, flushed) = sync_channel(1);
        self.queue.try_send(Message::Flush(done)).is_ok() && flushed.recv_timeout(timeout).is_ok()
    }
}
