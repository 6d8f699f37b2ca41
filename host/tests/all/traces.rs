//! Spans of requests, as a collector gets them.

use std::path::Path;
use std::time::{Duration, Instant};

use evil::Behaviour;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;

use crate::receiver::{Call, Receiver};
use crate::running::{Program, log};
use crate::{Running, Site, VERSION, case, request_id};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

async fn site(receiver: &Receiver, ratio: f64) -> Site {
    let mut site = Site::new();
    site.settings.telemetry.otlp_endpoint = format!("http://{}", receiver.address);
    site.settings.telemetry.trace_ratio = ratio;
    site
}

fn spans(calls: &[Call]) -> Vec<Span> {
    let decode = |call: &Call| {
        assert_eq!(call.path, "/v1/traces");
        ExportTraceServiceRequest::decode(call.body.clone()).unwrap()
    };
    let resources = calls.iter().map(decode).flat_map(|request| request.resource_spans);
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// An attribute as text.
fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{key} is {other:?} in {span:?}"),
    }
}

/// All spans, once everything that ended is exported.
async fn stop(running: Running, receiver: &Receiver) -> Vec<Span> {
    running
        .gateway
        .traces
        .clone()
        .unwrap()
        .stop(Duration::from_secs(30))
        .await;
    spans(&receiver.calls())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_a_callers_trace_is_a_span_there_with_its_parts_below_it() {
    let receiver = Receiver::start().await;
    // Of its own the gateway would trace nothing; the caller's word counts.
    let site = site(&receiver, 0.0).await;
    let running = site.start_with(Behaviour::Honest).await;
    let id = request_id(1);
    let traced = [
        ("traceparent", format!("00-{TRACE}-{SPAN}-01")),
        ("x-request-id", id.clone()),
        ("x-shadow-ltr", "1".to_owned()),
    ];
    let traced = traced.each_ref().map(|(name, value)| (*name, value.as_str()));
    running.rank(&traced, &case(1)).await.ok();
    let unsampled = format!("00-{TRACE}-{SPAN}-00");
    running
        .rank(&[("traceparent", unsampled.as_str())], &case(2))
        .await
        .ok();
    running.rank(&[], &case(3)).await.ok();
    running.rank(&[("traceparent", "00-malformed-01")], &case(4)).await.ok();
    let spans = stop(running, &receiver).await;

    let root = spans.iter().find(|span| span.name == "POST /rank").unwrap();
    assert_eq!(
        (hex::encode(&root.trace_id), hex::encode(&root.parent_span_id)),
        (TRACE.into(), SPAN.into())
    );
    assert_eq!(root.kind, 2, "a server's");
    assert!(root.end_time_unix_nano > root.start_time_unix_nano);
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/rank"),
        ("http.response.status_code", "200"),
        ("request_id", id.as_str()),
    ] {
        assert_eq!(attribute(root, key), value);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in spans.iter().filter(|span| span.parent_span_id == root.span_id) {
        assert_eq!(hex::encode(&part.trace_id), TRACE);
        parts.push(&part.name);
    }
    parts.sort_unstable();
    assert_eq!(parts, ["commit", "score"]);
    // Only the one that its caller samples.
    assert_eq!(spans.len(), 3, "{spans:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_trace_begins_one_and_a_failure_is_marked() {
    let receiver = Receiver::start().await;
    let site = site(&receiver, 1.0).await;
    let running = site.start().await;
    running.rank(&[("traceparent", "00-malformed-01")], &case(1)).await.ok();
    // No model is loaded.
    running.post("/ltr/score", &json!({"rows": []})).await.refused(503);
    running.get("/models/and/users/by/name").await;
    let spans = stop(running, &receiver).await;
    let named = |name: &str| {
        spans
            .iter()
            .find(|span| span.name == name)
            .unwrap_or_else(|| panic!("{name}: {spans:?}"))
    };
    let rank = named("POST /rank");
    assert!(rank.parent_span_id.is_empty() && rank.trace_id.iter().any(|&byte| byte > 0));
    assert_eq!(rank.status.as_ref().map_or(0, |status| status.code), 0);
    assert_eq!(named("POST /ltr/score").status.as_ref().unwrap().code, 2);
    // What strangers wrote in a path is no name of a span.
    assert_eq!(attribute(named("GET unmatched"), "http.response.status_code"), "404");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_do_not_wait_for_a_collector_that_is_away_or_never_answers() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    for address in [silent.local_addr().unwrap(), closed] {
        let mut site = Site::new();
        site.settings.telemetry.otlp_endpoint = format!("http://{address}");
        site.settings.telemetry.trace_ratio = 1.0;
        let running = site.start().await;
        for id in 0..6_000 {
            // More than the queue holds; the answer is what matters.
            running.send(hyper::Method::GET, "/healthz", &[], "").await;
            if id % 100 == 0 {
                running.rank(&[], &case(id)).await.ok();
            }
        }
        let start = Instant::now();
        running
            .gateway
            .traces
            .clone()
            .unwrap()
            .stop(Duration::from_millis(100))
            .await;
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_knows_the_trace_and_the_end_of_the_program_brings_the_last_spans() {
    let receiver = Receiver::start().await;
    let site = Site::new();
    site.publish(VERSION, Behaviour::Honest);
    let endpoint = format!("http://{}/", receiver.address);
    let more = [
        ("LTR_TELEMETRY__OTLP_ENDPOINT", endpoint.as_str()),
        ("LTR_LOG__FORMAT", "json"),
        ("LTR_LOG__REQUESTS", "true"),
    ];
    let program = Program::start(&site, &more.map(|(name, value)| (name, Path::new(value))));
    let parent = format!("00-{TRACE}-{SPAN}-01");
    assert_eq!(
        program
            .send("/rank", &[("traceparent", &parent)], Some(&case(1)))
            .await
            .0,
        200
    );
    assert_eq!(program.terminate().await.code(), Some(0));
    let spans = spans(&receiver.calls());
    assert!(spans.iter().any(|span| span.name == "POST /rank"), "{spans:?}");
    let text = std::fs::read_to_string(log(&site)).unwrap();
    let line = text
        .lines()
        .find(|line| line.contains("\"/rank\""))
        .unwrap_or_else(|| panic!("{text}"));
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["trace_id"], TRACE);
}
