use super::*;

/// The answer to a body in parts. The proxy accumulates them, as it does for a request that is
/// held.
fn scored(filter: &Rc<Filter>, proxy: &Fake, parts: &[&[u8]]) -> Option<(u32, Value)> {
    let mut exchange = Exchange::new(filter.clone());
    let mut next = exchange.headers(proxy, parts.is_empty());
    for (at, part) in parts.iter().enumerate() {
        let bytes = {
            let mut body = proxy.body.borrow_mut();
            body.extend_from_slice(part);
            body.len()
        };
        if next == Next::Continue {
            break;
        }
        next = exchange.body(proxy, bytes, at + 1 == parts.len());
    }
    let answers = proxy.answers.borrow();
    assert_eq!(
        answers.is_empty(),
        next == Next::Continue,
        "held if and only if it is answered"
    );
    let (status, body) = answers.first()?;
    Some((*status, serde_json::from_slice(body).unwrap()))
}

#[test]
fn rows_are_scored_in_place_and_what_is_wrong_is_refused_in_the_gateways_words() {
    let filter = filter(&[]);
    let answer = |parts: &[&[u8]]| scored(&filter, &Fake::post("/ltr/score"), parts).unwrap();
    assert_eq!(
        answer(&[b"{\"features\": {\"x\": 0.5}}"]),
        (200, json!({"model_version": VERSION, "score": -1.5}))
    );
    assert_eq!(
        answer(&[b"{\"rows\": [{\"x\"", b": 1}, {\"x\": null}]}"]),
        (200, json!({"model_version": VERSION, "scores": [2.5, -1.5]}))
    );
    assert_eq!(
        answer(&[b"{\"rows\": []}"]),
        (200, json!({"model_version": VERSION, "scores": []}))
    );
    let (status, body) = answer(&[b"{\"features\": {\"y\": 1}}"]);
    let expected = json!({"error": {
        "code": "invalid_value", "field": "features.y", "value": "1", "request_id": USER,
        "allowed": "only the features x",
        "message": "features.y is 1; allowed: only the features x",
    }});
    assert_eq!((status, body), (422, expected));
    let (status, body) = answer(&[]);
    assert_eq!((status, &body["error"]["code"]), (400, &json!("invalid_json")));
}

#[test]
fn scores_name_their_model_in_a_header_and_refusals_name_none() {
    let (filter, proxy) = (filter(&[]), Fake::post("/ltr/score"));
    scored(&filter, &proxy, &[br#"{"features": {"x": 1}}"#]);
    assert_eq!(proxy.answer_headers.borrow()["x-ltr-model"], VERSION);
    let proxy = Fake::post("/ltr/score");
    scored(&filter, &proxy, &[b"{}"]);
    assert!(!proxy.answer_headers.borrow().contains_key("x-ltr-model"));
}

#[test]
fn what_cannot_be_scored_here_goes_upstream_untouched() {
    let filter = filter(&[]);
    let post = || Fake::post("/ltr/score");
    let (row, large) = (br#"{"features": {"x": 1}}"#.as_slice(), vec![b' '; 1001]);
    let cases: [(Fake, &[&[u8]]); 9] = [
        (
            post().with("content-type", "application/vnd.apache.arrow.stream"),
            &[row],
        ),
        (post().with("content-type", "text/csv"), &[row]),
        (post().with("content-encoding", "gzip"), &[row]),
        (post().with("content-length", "1001"), &[&large]),
        (post(), &[&large[..600], &large[..600]]),
        (post(), &[br#"{"rows": [{"x": 1}, {"x": 1}, {"x": 1}, {"x": 1}]}"#]),
        (post().with("x-request-id", b"\xff"), &[row]),
        (Fake::post("/ltr/score/again"), &[row]),
        (post().with("upgrade", "h2c"), &[row]),
    ];
    for (proxy, parts) in cases {
        assert_eq!(scored(&filter, &proxy, parts), None);
        assert_eq!(proxy.counted(Counter::ScorePassed), 1);
    }
    let config = Config::read(config().to_string().as_bytes(), |_| None).unwrap();
    let without_model = Rc::new(Filter::new(config, None));
    assert_eq!(scored(&without_model, &post(), &[row]), None);
    for kind in ["application/json", "Application/JSON; charset=utf-8"] {
        assert!(scored(&filter, &post().with("content-type", kind), &[row]).is_some());
    }
}

#[test]
fn a_request_to_be_scored_may_end_with_trailers() {
    let (filter, proxy) = (filter(&[]), Fake::post("/ltr/score"));
    *proxy.body.borrow_mut() = br#"{"features": {"x": 1}}"#.to_vec();
    let bytes = proxy.body.borrow().len();
    let mut exchange = Exchange::new(filter);
    assert_eq!(exchange.headers(&proxy, false), Next::Hold);
    assert_eq!(exchange.body(&proxy, bytes, false), Next::Hold);
    assert_eq!(exchange.trailers(&proxy), Next::Hold);
    let body = format!("{{\"model_version\":\"{VERSION}\",\"score\":2.5}}");
    assert_eq!(proxy.answers.borrow()[0], (200, body.into_bytes()));
}

#[test]
fn with_tokens_whoever_shows_none_of_them_is_left_to_the_gateway() {
    // printf %s secret | sha256sum
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let filter = filter(&[("/score/tokens_sha256", json!([hash]))]);
    let row = br#"{"features": {"x": 1}}"#;
    let shown = |value: &str| scored(&filter, &Fake::post("/ltr/score").with("authorization", value), &[row]);
    assert!(shown("Bearer secret").is_some() && shown("bearer  secret ").is_some());
    for wrong in ["Bearer other", "Basic secret", "secret", "Bearer", ""] {
        assert_eq!(shown(wrong), None, "{wrong}");
    }
    assert_eq!(scored(&filter, &Fake::post("/ltr/score"), &[row]), None);
}

/// As the gateway offers the configuration while nothing is to be scored.
#[test]
fn with_a_hash_that_no_token_has_every_request_goes_upstream_before_its_body() {
    let filter = filter(&[("/score/tokens_sha256", json!(["0".repeat(64)]))]);
    for token in ["Bearer secret", "Bearer ", ""] {
        let proxy = Fake::post("/ltr/score").with("authorization", token);
        assert_eq!(Exchange::new(filter.clone()).headers(&proxy, false), Next::Continue);
        assert_eq!(proxy.counted(Counter::ScorePassed), 1);
    }
}

#[test]
fn a_model_that_does_not_give_one_score_a_row_or_has_no_usable_version_is_none() {
    let names = ["x".to_owned(), "y".to_owned()];
    let reason = Model::new(VERSION, &names, model().forest()).unwrap_err();
    assert!(reason.contains("1 features with 2 names"), "{reason}");
    for version in ["", "a b", "a\r\nset-cookie: b", "é"] {
        let reason = Model::new(version, &names[..1], model().forest()).unwrap_err();
        assert!(reason.contains("visible ASCII"), "{reason}");
    }
}
