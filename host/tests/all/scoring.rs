//! `/ltr/score`: the model alone.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::Float64Type;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use evil::{Behaviour, Fault, When};
use hyper::Method;
use ranking::features::DEFAULT_FEATURES;
use serde_json::{Value, json};

use crate::{BIG, Running, Site, VERSION, big_case, case, lawyer};

const ARROW: &str = "application/vnd.apache.arrow.stream";

fn features(area_match: f64) -> Value {
    lawyer("any", 0.5, area_match)["features"].clone()
}

#[tokio::test]
async fn one_row_gets_a_score_and_rows_get_scores_in_their_order() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let one = running
        .post("/ltr/score", &json!({"features": features(0.125)}))
        .await
        .ok();
    assert_eq!(one["score"], 0.125);
    let rows = json!({"rows": [features(0.5), features(0.1), features(1e-310)]});
    assert_eq!(
        running.post("/ltr/score", &rows).await.ok()["scores"],
        json!([0.5, 0.1, 1e-310]),
        "to the last bit"
    );
    assert_eq!(
        running.post("/ltr/score", &json!({"rows": []})).await.ok()["scores"],
        json!([])
    );
}

#[tokio::test]
async fn a_missing_or_unknown_feature_is_named() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let mut missing = features(0.5);
    missing.as_object_mut().unwrap().remove("geo");
    let mut unknown = features(0.5);
    unknown["charm"] = json!(0.5);
    let mut text = features(0.5);
    text["geo"] = json!("NaN");
    for (body, field) in [
        (json!({"features": missing}), "features.geo"),
        (json!({"features": unknown}), "features.charm"),
        (json!({"features": text}), "features.geo"),
        (json!({"rows": [features(0.5), missing]}), "rows[1].geo"),
    ] {
        let error = running.post("/ltr/score", &body).await.refused(422);
        assert_eq!(error["field"], field, "{error}");
    }
    for body in [
        json!({}),
        json!({"features": features(0.5), "rows": []}),
        json!({"row": 1}),
        json!({"rows": 1}),
    ] {
        running.post("/ltr/score", &body).await.refused(422);
    }
}

#[tokio::test]
async fn without_scores_there_is_a_reason_and_no_number() {
    let mut site = Site::new();
    let running = site.start().await;
    let body = json!({"features": features(0.5)});
    assert_eq!(running.post("/ltr/score", &body).await.refused(503)["code"], "no_model");
    running.stop().await;

    site.settings.host.deadline_ms = 2_000;
    site.settings.host.ltr_budget_ms = 1_000;
    let running = site
        .start_with(Behaviour::Faulty(Fault::TooFew, When::ValuesOver(BIG)))
        .await;
    let rows: Vec<Value> = (0..8).map(|_| features(0.5)).collect();
    assert_eq!(
        running.post("/ltr/score", &json!({"rows": rows})).await.refused(503)["code"],
        "bad_output"
    );
}

/// A gateway that gives scores only of what serves, whose champion answers this share of the requests.
async fn with_champion(weight: u8) -> (Site, Running) {
    let mut site = Site::new();
    site.settings.host.score_challenger = false;
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    running.post("/rollout/weight", &json!({ "weight": weight })).await.ok();
    (site, running)
}

#[tokio::test]
async fn only_a_model_that_serves_gives_scores_unless_the_option_says_otherwise() {
    let body = json!({"features": features(0.5)});
    let refuses = async |running: &Running| {
        let error = running.post("/ltr/score", &body).await.refused(503);
        assert_eq!(error["code"], "no_model");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("host.score_challenger = true"), "{message}");
    };
    let mut site = Site::new();
    site.settings.host.score_challenger = false;
    let running = site.start_with(Behaviour::Honest).await;
    refuses(&running).await;
    let (mut site, running) = with_champion(0).await;
    refuses(&running).await;
    running.stop().await;
    site.settings.host.score_challenger = true;
    site.start().await.post("/ltr/score", &body).await.ok();
    let (_site, running) = with_champion(1).await;
    running.post("/ltr/score", &body).await.ok();
}

#[tokio::test]
async fn scores_name_the_model_that_gave_them_and_refusals_name_none() {
    let (_site, running) = with_champion(100).await;
    for body in [json!({"features": features(0.5)}), json!({"rows": []})] {
        let answer = running.post("/ltr/score", &body).await;
        assert_eq!(answer.ok()["model_version"], VERSION);
        assert_eq!(answer.header("x-ltr-model"), VERSION);
    }
    let headers = [("content-type", ARROW)];
    let answer = running
        .send(Method::POST, "/ltr/score", &headers, stream(&columns()))
        .await;
    assert_eq!((answer.status.as_u16(), answer.header("x-ltr-model")), (200, VERSION));
    let answer = running.post("/ltr/score", &json!({})).await;
    answer.refused(422);
    assert_eq!(answer.header("x-ltr-model"), "");
}

fn stream(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns.iter().map(|(name, column)| (*name, column.clone()))).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn columns() -> Vec<(&'static str, ArrayRef)> {
    let column = |name| -> ArrayRef {
        match name {
            "area_match" => Arc::new(Float64Array::from(vec![0.25, 0.75])),
            _ => Arc::new(Float64Array::from(vec![Some(0.5), None])),
        }
    };
    // Not in the schema's order: columns go by name.
    DEFAULT_FEATURES
        .iter()
        .rev()
        .map(|name| (*name, column(*name)))
        .collect()
}

#[tokio::test]
async fn arrow_goes_in_and_arrow_comes_out() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let answer = running
        .send(
            Method::POST,
            "/ltr/score",
            &[("content-type", ARROW)],
            stream(&columns()),
        )
        .await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, ARROW));
    let scores: Vec<f64> = StreamReader::try_new(answer.body.as_slice(), None)
        .unwrap()
        .flat_map(|batch| batch.unwrap()["score"].as_primitive::<Float64Type>().values().to_vec())
        .collect();
    assert_eq!(scores, [0.25, 0.75, 0.25, 0.75], "both batches, in order");
}

#[tokio::test]
async fn a_column_that_is_unknown_doubled_or_of_another_type_is_refused_by_its_name() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let send = async |columns: &[(&str, ArrayRef)]| {
        let body = stream(columns);
        running
            .send(Method::POST, "/ltr/score", &[("content-type", ARROW)], body)
            .await
    };
    let good = columns();
    let other: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    for (column, field) in [
        (("colour", &good[0].1), "colour"),
        (("geo", &good[0].1), "geo"),
        (("geo", &other), "geo"),
    ] {
        let mut columns = good.clone();
        if Arc::ptr_eq(column.1, &other) {
            columns.retain(|(name, _)| *name != "geo");
        }
        columns.push((column.0, column.1.clone()));
        assert_eq!(send(&columns).await.refused(422)["field"], field);
    }
}

#[tokio::test]
async fn more_rows_than_allowed_are_refused_before_they_are_read() {
    let mut site = Site::new();
    site.settings.host.max_rows = 3;
    let running = site.start_with(Behaviour::Honest).await;
    // Two batches of two.
    let answer = running
        .send(
            Method::POST,
            "/ltr/score",
            &[("content-type", ARROW)],
            stream(&columns()),
        )
        .await;
    let error = answer.refused(422);
    assert!(error["allowed"].as_str().unwrap().contains("host.max_rows"), "{error}");
}

/// Puts these eight bytes in place of those, wherever they are.
fn replaced(stream: &[u8], old: i64, new: i64) -> Vec<u8> {
    let mut stream = stream.to_vec();
    for at in 0..stream.len() - 8 {
        if stream[at..at + 8] == old.to_le_bytes() {
            stream[at..at + 8].copy_from_slice(&new.to_le_bytes());
        }
    }
    stream
}

#[tokio::test]
async fn a_stream_whose_metadata_claim_what_its_body_does_not_have_is_refused() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    // So many rows that their number is found nowhere else in the stream.
    let rows = 0x0102_i64;
    let column: ArrayRef = Arc::new(Float64Array::from(vec![0.5; rows as usize]));
    let columns: Vec<(&str, ArrayRef)> = DEFAULT_FEATURES.iter().map(|name| (*name, column.clone())).collect();
    let whole = stream(&columns);
    for (old, new) in [
        (rows, -1),
        (rows, rows + 1_000),
        // The length of a column's values.
        (rows * 8, i64::MAX),
        (rows * 8, -8),
    ] {
        let claimed = replaced(&whole, old, new);
        assert_ne!(claimed, whole, "{old}");
        let answer = running
            .send(Method::POST, "/ltr/score", &[("content-type", ARROW)], claimed)
            .await;
        assert_eq!(answer.refused(400)["code"], "invalid_arrow", "{old} as {new}");
    }
}

#[tokio::test]
async fn a_stream_that_is_none_or_lacks_a_column_is_refused() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    let send = async |body: Vec<u8>| {
        running
            .send(Method::POST, "/ltr/score", &[("content-type", ARROW)], body)
            .await
    };
    let error = send(stream(&columns()[1..])).await.refused(422);
    assert_eq!(error["field"], "maturity");
    assert_eq!(
        send(b"not a stream".to_vec()).await.refused(400)["code"],
        "invalid_arrow"
    );
    let whole = stream(&columns());
    let mut cut = 0;
    for end in (0..whole.len()).step_by(97) {
        let answer = send(whole[..end].to_vec()).await;
        assert!(
            answer.status.is_client_error() || answer.status.is_success(),
            "{end} bytes: {}",
            answer.status
        );
        cut += u32::from(answer.status.is_client_error());
    }
    assert!(cut > 0);
}

fn rows(count: usize) -> Value {
    json!({ "rows": vec![features(0.5); count] })
}

/// The states of the breakers of `/rank` and of `/ltr/score`.
async fn breakers(running: &Running) -> (Value, Value) {
    let model = running.get("/models").await.ok()["loaded"][0].clone();
    (
        model["breaker"]["state"].clone(),
        model["score_breaker"]["state"].clone(),
    )
}

/// As slow as a model of a few thousand large trees, at 1 ms or so a row.
const BIG_MODEL: Behaviour = Behaviour::Slow(1_000_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_rows_than_a_model_scores_in_time_are_refused_and_rankings_do_not_suffer() {
    let mut site = Site::new();
    (site.settings.host.deadline_ms, site.settings.host.ltr_budget_ms) = (3_000, 2_500);
    let running = site.start_with(BIG_MODEL).await;
    running.ltr_serves().await;
    let body = rows(20_000);
    let bulk = async {
        for _ in 0..8 {
            let answer = running.post("/ltr/score", &body).await;
            // Those who wait for a turn until their time is over are told that it was busy.
            if answer.status == 503 {
                assert_eq!(answer.json()["error"]["code"], "busy");
                continue;
            }
            let error = answer.refused(422);
            assert_eq!(
                (&error["code"], &error["field"]),
                (&json!("too_many_rows"), &json!("rows"))
            );
            assert!(
                error["allowed"].as_str().unwrap().contains("host.deadline_ms"),
                "{error}"
            );
        }
    };
    let ranking = async {
        for id in 0..30 {
            let answer = running.rank(&[], &case(id)).await.ok();
            assert_eq!((&answer["source"], &answer["fallback"]), (&json!("ltr"), &json!(null)));
        }
    };
    tokio::join!(bulk, ranking);
    assert_eq!(breakers(&running).await, (json!("closed"), json!("closed")));

    // In the pieces that it names, the same rows are scored.
    let error = running.post("/ltr/score", &body).await.refused(422);
    let allowed = error["allowed"].as_str().unwrap();
    let fit: usize = allowed.split(' ').nth(2).unwrap().parse().unwrap();
    assert!((1..20_000).contains(&fit), "{allowed}");
    let scores = running.post("/ltr/score", &rows((fit / 8).max(1))).await.ok();
    assert_eq!(scores["scores"].as_array().unwrap().len(), (fit / 8).max(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_case_with_more_lawyers_than_a_model_ranks_in_time_is_no_fault_of_the_model() {
    let mut site = Site::new();
    (site.settings.host.deadline_ms, site.settings.host.ltr_budget_ms) = (2_000, 1_000);
    let running = site.start_with(BIG_MODEL).await;
    running.ltr_serves().await;
    assert_eq!(running.rank(&[], &case(1)).await.ok()["source"], "ltr");
    let mut large = case(2);
    large["lawyers"] = (0..8_000).map(|i| lawyer(&format!("adv_{i}"), 0.5, 0.5)).collect();
    large["top_n"] = json!(1);
    for _ in 0..6 {
        assert_eq!(running.rank(&[], &large).await.ok()["fallback"], "timeout");
    }
    assert_eq!(breakers(&running).await.0, "closed");
    assert_eq!(running.rank(&[], &case(3)).await.ok()["source"], "ltr");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_component_that_spins_is_left_alone_by_those_alone_who_met_it() {
    for fault in [Fault::Spin, Fault::Trap] {
        let mut site = Site::new();
        (site.settings.host.deadline_ms, site.settings.host.ltr_budget_ms) = (600, 300);
        let running = site.start_with(Behaviour::Faulty(fault, When::ValuesOver(BIG))).await;
        running.ltr_serves().await;
        let reason = if fault == Fault::Spin { "timeout" } else { "trap" };
        for _ in 0..5 {
            let error = running.post("/ltr/score", &rows(8)).await.refused(503);
            assert_eq!(error["code"], reason);
        }
        assert_eq!(breakers(&running).await, (json!("closed"), json!("open")), "{fault:?}");
        assert_eq!(running.post("/ltr/score", &rows(1)).await.refused(503)["code"], reason);
        // The same component goes on for rankings, until it fails them.
        assert_eq!(running.rank(&[], &case(1)).await.ok()["source"], "ltr");
        for _ in 0..5 {
            assert_eq!(running.rank(&[], &big_case(2)).await.ok()["fallback"], reason);
        }
        assert_eq!(breakers(&running).await.0, "open", "{fault:?}");
        assert_eq!(running.metric("ltr_breaker_state{role=\"champion\"}").await, 2.0);
    }
}
