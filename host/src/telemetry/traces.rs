//! Creates the spans of requests, and exports them by OTLP over HTTP
//! (<https://opentelemetry.io/docs/specs/otlp/>).

use std::time::Duration;

use anyhow::Context as _;
use hyper::{HeaderMap, StatusCode};
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt, Tracer as _, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter as Exporter,
};
use settings::Telemetry;

use super::send::Sender;
use super::traceparent;
use crate::http::request_id::RequestId;

/// Maximum number of spans that wait for the exporter. More are dropped.
const QUEUE: usize = 4096;
/// Maximum number of spans per export.
const BATCH: usize = 512;
/// How long a span waits for others, to be exported together.
const DELAY: Duration = Duration::from_secs(1);

/// Creates spans, and exports them on a thread of its own. Clones share both.
#[derive(Clone)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// `None` if `telemetry.otlp_endpoint` is empty. To be called inside a Tokio runtime.
    ///
    /// # Errors
    /// An endpoint that cannot be used.
    pub fn start(settings: &Telemetry) -> anyhow::Result<Option<Traces>> {
        if settings.otlp_endpoint.is_empty() {
            return Ok(None);
        }
        let endpoint = format!("{}/v1/traces", settings.otlp_endpoint.trim_end_matches('/'));
        let sender = Sender::new("otlp", &endpoint).context("telemetry.otlp_endpoint")?;
        let otlp = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .with_http_client(sender.clone())
            // While one batch is retried, later ones would be lost.
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .context("telemetry.otlp_endpoint")?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        let exporter = CountingExporter { otlp, sender };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            // The caller's sampling decision applies. New traces are sampled by the ratio.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
                settings.trace_ratio,
            ))))
            .with_resource(
                Resource::builder_empty()
                    .with_service_name("ltr-host")
                    .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
                    .build(),
            )
            .build();
        Ok(Some(Traces {
            tracer: provider.tracer("ltr-host"),
            provider,
        }))
    }

    /// Begins the span of a request, in the caller's trace if the headers name one.
    pub fn begin(&self, headers: &HeaderMap, method: &'static str, route: &str, id: &RequestId) -> Trace {
        let caller = traceparent::caller(headers);
        let parent = caller.map_or_else(Context::new, |caller| Context::new().with_remote_span_context(caller));
        // Names by <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>.
        let (verb, name) = match method {
            "other" => ("_OTHER", format!("HTTP {route}")),
            method => (method, format!("{method} {route}")),
        };
        let span = self
            .tracer
            .span_builder(name)
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", verb),
                KeyValue::new("http.route", route.to_owned()),
                KeyValue::new("request_id", id.as_str().to_owned()),
            ])
            .start_with_context(&self.tracer, &parent);
        Trace {
            context: Context::new().with_span(span),
            tracer: self.tracer.clone(),
        }
    }

    /// Exports the waiting spans, within `timeout`.
    pub async fn stop(self, timeout: Duration) {
        let stopped = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(timeout)).await;
        if !matches!(stopped, Ok(Ok(()))) {
            tracing::warn!("the last spans were not exported within {} s", timeout.as_secs());
        }
    }
}

/// The span of a request; ends when it is dropped.
pub struct Trace {
    context: Context,
    tracer: SdkTracer,
}

impl Trace {
    /// The trace id, as 32 hexadecimal digits.
    pub fn id(&self) -> String {
        self.context.span().span_context().trace_id().to_string()
    }

    fn is_sampled(&self) -> bool {
        self.context.span().span_context().is_sampled()
    }

    /// Sets the status and ends the span.
    pub fn answered(&self, status: StatusCode) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

tokio::task_local! {
    static CURRENT: Option<Trace>;
}

/// Runs `answering` with this span as the current one; `None` if no traces are exported.
pub async fn scope<T>(trace: Option<Trace>, answering: impl Future<Output = T>) -> T {
    CURRENT.scope(trace, answering).await
}

/// Applies `look` to the span of the current task's request; `None` if there is none.
pub fn with_current<T>(look: impl FnOnce(&Trace) -> T) -> Option<T> {
    CURRENT.try_with(|trace| trace.as_ref().map(look)).ok().flatten()
}

/// Runs `work` in a child span, if the request's span is sampled.
pub async fn child_span<T>(name: &'static str, work: impl Future<Output = T>) -> T {
    let begin = |trace: &Trace| trace.tracer.start_with_context(name, &trace.context);
    let span = with_current(|trace| trace.is_sampled().then(|| begin(trace)));
    let done = work.await;
    if let Some(Some(mut span)) = span {
        span.end();
    }
    done
}

/// The exporter, which also counts the spans that it could not deliver.
#[derive(Debug)]
struct CountingExporter {
    otlp: SpanExporter,
    sender: Sender,
}

impl Exporter for CountingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.otlp.export(batch).await;
        exported.inspect_err(|error| self.sender.record_lost(spans, error))
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}
