//! The log: lines on standard error, as text or JSON.

use std::fmt;
use std::io::IsTerminal;

use anyhow::anyhow;
use chrono::SecondsFormat;
use serde::Serialize;
use serde_json::{Map, Value};
use settings::{Log, LogFormat};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use super::traces::{self, Trace};
use crate::http::clock::wall;
use crate::http::request_id;

/// Target of the log line per request (`log.requests`). A line that the filter disables costs one
/// atomic load.
pub const REQUESTS: &str = "ltr_host::requests";

/// The layer that writes the log.
///
/// # Errors
/// Invalid directives.
pub(super) fn layer<S>(log: &Log, directives: Option<&str>) -> anyhow::Result<impl Layer<S> + use<S>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let filter = EnvFilter::try_new(directives.unwrap_or(log.level.name())).map_err(|error| {
        anyhow!(
            "RUST_LOG = {:?} ({error}); allowed: a level, or TARGET=LEVEL, separated by commas",
            directives.unwrap_or_default()
        )
    })?;
    let requests = if log.requests { "info" } else { "off" };
    let filter = filter.add_directive(format!("{REQUESTS}={requests}").parse()?);
    let line = Line {
        format: log.format,
        text: Format::default().with_ansi(std::io::stderr().is_terminal()),
    };
    let layer = tracing_subscriber::fmt::layer().event_format(line);
    Ok(layer.with_writer(std::io::stderr).with_filter(filter))
}

/// Writes an event, with the id and the trace of its request.
struct Line {
    format: LogFormat,
    text: Format,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        match self.format {
            LogFormat::Json => writeln!(out, "{}", json(event)),
            LogFormat::Text => {
                let mut line = String::new();
                self.text.format_event(context, Writer::new(&mut line), event)?;
                write!(out, "{}", line.trim_end())?;
                let id = request_id::with_current(|id| write!(out, " request_id={}", id.as_str()));
                id.unwrap_or(Ok(()))?;
                let trace = traces::with_current(|trace| write!(out, " trace_id={}", trace.id()));
                trace.unwrap_or(Ok(()))?;
                writeln!(out)
            }
        }
    }
}

/// One JSON object per line. Its texts are escaped, so that no value can end the line.
#[derive(Serialize)]
struct JsonLine<'a> {
    timestamp: String,
    level: &'static str,
    target: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

fn json(event: &Event<'_>) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let line = JsonLine {
        timestamp: wall().to_rfc3339_opts(SecondsFormat::Micros, true),
        level: match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        },
        target: event.metadata().target(),
        message: fields.message,
        fields: fields.others,
        request_id: request_id::with_current(|id| id.as_str().to_owned()),
        trace_id: traces::with_current(Trace::id),
    };
    serde_json::to_string(&line).expect("texts and JSON values can be written as JSON")
}

/// The message of an event, and its other fields.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.others.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.insert(field, format!("{value:?}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            _ => self.insert(field, value),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }
}
