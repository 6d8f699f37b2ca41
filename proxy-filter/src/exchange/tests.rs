use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testing::{Fake, Sent};

const SALT: &str = "0123456789abcdef0123456789abcdef";
const USER: &str = "6f1b1a34-3c1e-4c5a-9e0d-2f5b8c7d9e10";

fn config() -> Value {
    json!({
        "sampling": {"salt": "ltr-shadow-v1", "fraction": 1.0},
        "routes": [
            {"path_prefix": "/rank", "method": "POST", "modes": ["mark"]},
            {"path_prefix": "/copied", "method": "POST", "modes": ["mirror"]},
            {"path_prefix": "/both", "method": "POST", "modes": ["mark", "mirror"]},
            {"path_prefix": "/ltr/score", "method": "POST", "modes": ["score"]},
        ],
        "mirror": {
            "cluster": "shadow", "authority": "shadow.internal", "headers": ["authorization", "x-team"],
            "max_body_bytes": 1000, "max_in_flight": 2, "timeout_ms": 1000, "personal": {},
        },
        "score": {"max_body_bytes": 1000, "max_rows": 3, "max_json_depth": 32, "tokens_sha256": []},
    })
}

/// The configuration with changes by JSON pointer; the last name is made where it is not.
fn filter(changes: &[(&str, Value)]) -> Rc<Filter> {
    let mut json = config();
    for (place, value) in changes {
        let (parent, name) = place.rsplit_once('/').unwrap();
        json.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    let config = Config::read(json.to_string().as_bytes(), |_| Some(SALT.to_owned())).unwrap();
    Rc::new(Filter::new(config, Some(model())))
}

/// A stump on `x`: -1.5 up to 0.5, and 2.5 beyond.
fn model() -> Model {
    let text = b"tree\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\nfeature_names=x\n\n\
        Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold=0.5\ndecision_type=2\n\
        left_child=-1\nright_child=-2\nleaf_value=-1.5 2.5\n\nend of trees\n";
    let model = forest::Model::parse(text).unwrap();
    let image: &'static [u8] = Box::leak(forest::pack(&model, None).into_boxed_slice());
    let forest = Box::leak(Box::new(forest::Forest::new(image).unwrap()));
    Model::new(&["x".to_owned()], forest).unwrap()
}

/// Sends a request with its body in these parts, and ends it.
fn send(filter: &Rc<Filter>, proxy: &Fake, parts: &[&[u8]]) -> Vec<Next> {
    let mut exchange = Exchange::new(filter.clone());
    let mut said = vec![exchange.headers(proxy, parts.is_empty())];
    for (at, part) in parts.iter().enumerate() {
        *proxy.body.borrow_mut() = part.to_vec();
        said.push(exchange.body(proxy, part.len(), at + 1 == parts.len()));
    }
    exchange.over(proxy);
    filter.tick(proxy);
    said
}

fn passed(said: &[Next]) -> bool {
    said.iter().all(|next| *next == Next::Continue)
}

fn trusting() -> (&'static str, Value) {
    ("/trusted", json!({"cidrs": ["127.0.0.0/8"]}))
}

#[test]
fn chosen_requests_of_a_route_are_marked_and_others_are_not() {
    let filter = filter(&[]);
    for (path, marked) in [
        ("/rank", true),
        ("/both?x", true),
        ("/copied", false),
        ("/ranking", false),
        ("/", false),
    ] {
        let proxy = Fake::post(path);
        assert!(passed(&send(&filter, &proxy, &[b"{}"])));
        assert_eq!(proxy.has(SHADOW), marked, "{path}");
        assert_eq!(proxy.counted(Counter::Marked), u64::from(marked));
    }
    let proxy = Fake::post("/rank").with(":method", "GET");
    send(&filter, &proxy, &[]);
    assert!(!proxy.has(SHADOW));
}

/// What every hop has to say of the same requests.
#[test]
fn the_choice_is_that_of_the_vectors_that_all_hops_share() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../../ranking/vectors/sampling.json")).unwrap();
    let mut kinds = BTreeSet::new();
    for vector in &vectors {
        let sampling = json!({"salt": vector["salt"], "fraction": vector["fraction"]});
        let (changes, proxy) = match vector["request_id"].as_str() {
            Some(id) => (
                vec![("/sampling", sampling)],
                Fake::post("/rank").with("x-request-id", id),
            ),
            None => (
                vec![("/sampling", sampling), ("/sampling/key_header", json!("x-user-id"))],
                Fake::post("/rank").with("x-user-id", vector["key"].as_str().unwrap()),
            ),
        };
        send(&filter(&changes), &proxy, &[]);
        assert_eq!(proxy.has(SHADOW), vector["selected"].as_bool().unwrap(), "{vector}");
        kinds.insert((vector["request_id"].is_string(), vector["selected"].as_bool()));
    }
    assert_eq!(kinds.len(), 4, "both keys, chosen and not");
}

#[test]
fn what_has_no_key_is_not_chosen() {
    let by_id = filter(&[]);
    for proxy in [
        Fake::post("/rank").without("x-request-id"),
        Fake::post("/rank").with("x-request-id", "42"),
        Fake::post("/rank").with("x-request-id", b"\xff\xfe"),
    ] {
        send(&by_id, &proxy, &[]);
        assert!(!proxy.has(SHADOW) && proxy.counted(Counter::NoKey) == 1);
    }
    let by_user = filter(&[("/sampling/key_header", json!("x-user-id"))]);
    let proxy = Fake::post("/rank").with("x-user-id", "");
    send(&by_user, &proxy, &[]);
    assert!(!proxy.has(SHADOW) && proxy.counted(Counter::NoKey) == 1);
}

#[test]
fn strangers_cannot_say_what_trusted_peers_can() {
    let says = |proxy: Fake| {
        proxy
            .with(SHADOW, "1")
            .with("x-ltr-edge-copy", "1")
            .with("x-ltr-shadow-fraction", "1")
    };
    let suspicious = filter(&[("/sampling/fraction", json!(0.0))]);
    for path in ["/rank", "/elsewhere"] {
        let proxy = says(Fake::post(path));
        assert!(passed(&send(&suspicious, &proxy, &[])));
        let left = [SHADOW, "x-ltr-edge-copy", "x-ltr-shadow-fraction"].map(|name| proxy.has(name));
        assert_eq!(left, [false; 3], "{path}");
        assert_eq!(proxy.counted(Counter::Stripped), 3);
    }
    let trusting = filter(&[("/sampling/fraction", json!(0.0)), trusting()]);
    let proxy = says(Fake::post("/rank"));
    send(&trusting, &proxy, &[]);
    assert!(proxy.has(SHADOW) && proxy.has("x-ltr-edge-copy"));
    let mut stranger = says(Fake::post("/rank"));
    stranger
        .attributes
        .insert("source.address".into(), b"203.0.113.7:1".to_vec());
    send(&trusting, &stranger, &[]);
    assert!(!stranger.has(SHADOW) && !stranger.has("x-ltr-edge-copy"));
}

#[test]
fn a_certificate_is_trusted_by_its_name_and_only_if_it_was_verified() {
    let filter = filter(&[("/trusted", json!({"uri_sans": ["spiffe://shop/edge"]}))]);
    for (mtls, san, trusted) in [
        (1, "spiffe://shop/edge", true),
        (0, "spiffe://shop/edge", false),
        (1, "spiffe://x", false),
    ] {
        let mut proxy = Fake::post("/elsewhere").with(SHADOW, "1");
        proxy.attributes.insert("connection.mtls".into(), vec![mtls]);
        proxy
            .attributes
            .insert("connection.uri_san_peer_certificate".into(), san.into());
        send(&filter, &proxy, &[]);
        assert_eq!(proxy.has(SHADOW), trusted, "{mtls} {san}");
    }
}

#[test]
fn a_copy_of_a_trusted_peer_is_left_alone() {
    let proxy = Fake::post("/both").with("x-ltr-edge-copy", "1");
    let filter = filter(&[trusting()]);
    assert!(passed(&send(&filter, &proxy, &[b"{}"])));
    assert!(!proxy.has(SHADOW) && proxy.sent.borrow().is_empty());
}

#[test]
fn the_fraction_of_a_request_is_a_trusted_peers_to_say_and_never_goes_on() {
    let with = |fraction: &str| Fake::post("/rank").with("x-ltr-shadow-fraction", fraction);
    let trusting = filter(&[("/sampling/fraction", json!(0.0)), trusting()]);
    for (said, marked, invalid) in [
        ("1", true, 0),
        ("1.0 ", true, 0),
        ("0.0", false, 0),
        ("2", false, 1),
        ("all", false, 1),
    ] {
        let proxy = with(said);
        send(&trusting, &proxy, &[]);
        assert_eq!(
            (proxy.has(SHADOW), proxy.counted(Counter::FractionInvalid)),
            (marked, invalid),
            "{said}"
        );
        assert!(!proxy.has("x-ltr-shadow-fraction"));
    }
    let proxy = with("1");
    send(&filter(&[("/sampling/fraction", json!(0.0))]), &proxy, &[]);
    assert!(!proxy.has(SHADOW) && !proxy.has("x-ltr-shadow-fraction"));
    assert_eq!(proxy.counted(Counter::Stripped), 1);
}

#[test]
fn who_opts_out_is_never_chosen() {
    let filter = filter(&[trusting()]);
    for value in ["1", "", "true"] {
        let proxy = Fake::post("/both")
            .with("x-ltr-opt-out", value)
            .with("x-ltr-shadow-fraction", "1");
        send(&filter, &proxy, &[b"{}"]);
        assert!(!proxy.has(SHADOW) && proxy.sent.borrow().is_empty());
        assert_eq!(proxy.counted(Counter::OptedOut), 1);
    }
}

#[test]
fn a_copy_says_what_it_is_and_has_what_was_selected() {
    let filter = filter(&[]);
    let proxy = Fake::post("/copied/x?user=secret")
        .with("content-type", "application/json")
        .with("authorization", "Bearer t")
        .with("x-team", b"\xff")
        .with("cookie", "secret");
    assert!(passed(&send(&filter, &proxy, &[b"{\"a\"", b"", b": 1}"])));
    let sent = proxy.sent.borrow();
    let [Sent { cluster, headers, body }] = sent.as_slice() else {
        panic!("{sent:?}");
    };
    assert_eq!(
        (cluster.as_str(), body.as_slice()),
        ("shadow", b"{\"a\": 1}".as_slice())
    );
    let expected = json!({
        ":method": "POST", ":path": "/copied/x", ":authority": "shadow.internal",
        "x-ltr-edge-copy": "1", "x-ltr-request-id": USER, "x-request-id": USER,
        "content-type": "application/json", "authorization": "Bearer t",
    });
    assert_eq!(json!(headers), expected);
    assert_eq!(proxy.counted(Counter::MirrorHeaderDropped), 1);
}

#[test]
fn personal_fields_of_a_copy_are_under_pseudonyms_and_the_gateway_is_told() {
    let personal = json!({"pseudonymise": ["/case/user_id"], "salt_env": "SALT"});
    let filter = filter(&[("/mirror/personal", personal)]);
    let proxy = Fake::post("/copied");
    send(
        &filter,
        &proxy,
        &[json!({"case": {"user_id": USER}}).to_string().as_bytes()],
    );
    let sent = proxy.sent.borrow();
    let body: Value = serde_json::from_slice(&sent[0].body).unwrap();
    assert_eq!(
        body["case"]["user_id"],
        ranking::pseudonym_of_text(SALT.as_bytes(), USER).to_string()
    );
    assert_eq!(
        sent[0].headers["x-ltr-user-pseudonym"],
        ranking::salt_id(SALT.as_bytes()).to_string()
    );

    let proxy = Fake::post("/copied");
    send(&filter, &proxy, &[b"user=secret"]);
    assert!(proxy.sent.borrow().is_empty());
    assert_eq!(proxy.counted(Counter::MirrorUnreadable), 1);
    assert_eq!(*proxy.in_flight.borrow(), 0);
}

#[test]
fn what_is_not_copied_is_counted_by_its_reason_and_passes_all_the_same() {
    let large = vec![b'x'; 1001];
    let cases: [(Fake, &[&[u8]], Counter); 5] = [
        (Fake::post("/copied"), &[&large], Counter::MirrorTooLarge),
        (
            Fake::post("/copied"),
            &[&large[..600], &large[..600], b""],
            Counter::MirrorTooLarge,
        ),
        (
            Fake::post("/copied").with("content-length", "1001"),
            &[&large],
            Counter::MirrorTooLarge,
        ),
        (
            Fake::post("/copied").with("upgrade", "websocket"),
            &[b"frame"],
            Counter::MirrorUpgrade,
        ),
        (
            Fake {
                unsendable: true,
                ..Fake::post("/copied")
            },
            &[b"{}"],
            Counter::MirrorUnsent,
        ),
    ];
    for (proxy, parts, reason) in cases {
        let filter = filter(&[]);
        assert!(passed(&send(&filter, &proxy, parts)));
        assert!(proxy.sent.borrow().is_empty());
        assert_eq!((proxy.counted(reason), *proxy.in_flight.borrow()), (1, 0), "{reason:?}");
    }
    let by_user = filter(&[("/sampling/key_header", json!("x-user-id"))]);
    let proxy = Fake::post("/copied").with("x-user-id", "u").with("x-request-id", "42");
    assert!(passed(&send(&by_user, &proxy, &[])));
    assert_eq!(proxy.counted(Counter::MirrorNoId), 1);
}

#[test]
fn a_client_that_leaves_takes_its_copy_with_it() {
    let (filter, proxy) = (filter(&[]), Fake::post("/copied"));
    let mut exchange = Exchange::new(filter.clone());
    exchange.headers(&proxy, false);
    *proxy.body.borrow_mut() = b"{".to_vec();
    exchange.body(&proxy, 1, false);
    assert_eq!(*proxy.in_flight.borrow(), 1);
    exchange.over(&proxy);
    filter.tick(&proxy);
    assert!(proxy.sent.borrow().is_empty());
    assert_eq!(
        (proxy.counted(Counter::MirrorIncomplete), *proxy.in_flight.borrow()),
        (1, 0)
    );
}

#[test]
fn a_request_with_trailers_is_copied_when_they_come() {
    let (filter, proxy) = (filter(&[]), Fake::post("/copied"));
    let mut exchange = Exchange::new(filter.clone());
    exchange.headers(&proxy, false);
    *proxy.body.borrow_mut() = b"{}".to_vec();
    exchange.body(&proxy, 2, false);
    assert_eq!(exchange.trailers(&proxy), Next::Continue);
    filter.tick(&proxy);
    assert_eq!(proxy.sent.borrow()[0].body, b"{}");
}

#[test]
fn copies_are_bounded_and_each_has_one_outcome() {
    let filter = filter(&[]);
    let proxy = Fake::post("/copied");
    for _ in 0..5 {
        send(&filter, &proxy, &[b"{}"]);
    }
    assert_eq!(proxy.counted(Counter::MirrorSent), 2, "mirror.max_in_flight");
    assert_eq!((proxy.counted(Counter::MirrorBusy), *proxy.in_flight.borrow()), (3, 2));
    filter.answered(&proxy, Some(200));
    filter.answered(&proxy, None);
    for (status, outcome) in [(404, Counter::MirrorRefused), (503, Counter::MirrorFailed)] {
        send(&filter, &proxy, &[b"{}"]);
        filter.answered(&proxy, Some(status));
        assert!(proxy.counted(outcome) >= 1);
    }
    let ended = [Counter::MirrorAnswered, Counter::MirrorRefused, Counter::MirrorFailed];
    assert_eq!(ended.map(|outcome| proxy.counted(outcome)), [1, 1, 2]);
    assert_eq!((proxy.counted(Counter::MirrorSent), *proxy.in_flight.borrow()), (4, 0));
}

#[test]
fn copies_that_come_faster_than_ticks_do_not_put_the_tick_off() {
    let filter = filter(&[]);
    let proxy = Fake::post("/copied");
    for _ in 0..2 {
        Exchange::new(filter.clone()).headers(&proxy, true);
    }
    assert_eq!(*proxy.ticks.borrow(), 1);
    filter.tick(&proxy);
    assert_eq!(proxy.sent.borrow().len(), 2);
    filter.answered(&proxy, Some(200));
    Exchange::new(filter.clone()).headers(&proxy, true);
    assert_eq!(*proxy.ticks.borrow(), 2);
}

#[test]
fn what_is_under_way_when_a_configuration_is_replaced_is_settled() {
    let filter = filter(&[("/mirror/max_in_flight", json!(3))]);
    let proxy = Fake::post("/copied");
    send(&filter, &proxy, &[b"{}"]);
    let mut complete = Exchange::new(filter.clone());
    complete.headers(&proxy, true);
    let mut passing = Exchange::new(filter.clone());
    passing.headers(&proxy, false);
    filter.leave(&proxy);
    assert_eq!((proxy.counted(Counter::MirrorLost), *proxy.in_flight.borrow()), (2, 1));
    passing.trailers(&proxy);
    assert_eq!((proxy.counted(Counter::MirrorLost), *proxy.in_flight.borrow()), (3, 0));
}

/// The answer to a body that comes in parts which the proxy keeps together, as it does for a request that is held up.
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
        "held up if and only if it is answered"
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
        (200, json!({"score": -1.5}))
    );
    assert_eq!(
        answer(&[b"{\"rows\": [{\"x\"", b": 1}, {\"x\": null}]}"]),
        (200, json!({"scores": [2.5, -1.5]}))
    );
    assert_eq!(answer(&[b"{\"rows\": []}"]), (200, json!({"scores": []})));
    let (status, body) = answer(&[b"{\"features\": {\"y\": 1}}"]);
    let expected = json!({"error": {
        "code": "invalid_value", "field": "features.y", "value": "1", "request_id": USER,
        "allowed": "no such feature; the features are x",
        "message": "features.y is 1; allowed: no such feature; the features are x",
    }});
    assert_eq!((status, body), (422, expected));
    let (status, body) = answer(&[]);
    assert_eq!((status, &body["error"]["code"]), (400, &json!("invalid_json")));
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
    assert_eq!(proxy.answers.borrow()[0], (200, br#"{"score":2.5}"#.to_vec()));
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

#[test]
fn a_model_that_does_not_give_one_score_a_row_is_none() {
    let names = ["x".to_owned(), "y".to_owned()];
    let reason = Model::new(&names, model().forest()).unwrap_err();
    assert!(reason.contains("1 features with 2 names"), "{reason}");
}

/// What a proxy can say of a request, in any order that it may.
#[derive(Clone, Debug)]
enum Step {
    Body(Vec<u8>, bool),
    Trailers,
    Over,
    Tick,
    Answered(Option<u16>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (proptest::collection::vec(any::<u8>(), 0..700), any::<bool>()).prop_map(|(body, end)| Step::Body(body, end)),
        1 => Just(Step::Trailers),
        1 => Just(Step::Over),
        2 => Just(Step::Tick),
        2 => proptest::option::of(100u16..600).prop_map(Step::Answered),
    ]
}

proptest! {
    #[test]
    fn no_header_panics_or_holds_up_what_is_not_to_be_scored(
        headers in proptest::collection::btree_map(
            "(:path|:method|x-request-id|x-shadow-ltr|x-ltr-edge-copy|x-ltr-opt-out|x-ltr-shadow-fraction|content-length|content-type|upgrade)",
            any::<Vec<u8>>(), 0..10),
        end: bool,
    ) {
        let proxy = headers.iter().fold(Fake::post("/both"), |proxy, (name, value)| proxy.with(name, value));
        let mut exchange = Exchange::new(filter(&[trusting()]));
        prop_assert_eq!(exchange.headers(&proxy, end), Next::Continue);
        exchange.over(&proxy);
    }

    #[test]
    fn a_body_is_copied_whole_however_it_comes(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..6)) {
        let whole = parts.concat();
        let (filter, proxy) = (filter(&[]), Fake::post("/copied"));
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        prop_assert!(passed(&send(&filter, &proxy, &parts)));
        let sent = proxy.sent.borrow();
        match whole.len() {
            0..=1000 => prop_assert_eq!(&sent[0].body, &whole),
            _ => prop_assert!(sent.is_empty()),
        }
    }

    #[test]
    fn whatever_happens_the_gauge_is_what_is_under_way_and_within_its_bound(
        requests in proptest::collection::vec(proptest::collection::vec(step(), 0..6), 1..6)
    ) {
        let (filter, proxy) = (filter(&[]), Fake::post("/copied"));
        let answered = |status| {
            let sent = proxy.counted(Counter::MirrorSent);
            let ended = [Counter::MirrorAnswered, Counter::MirrorRefused, Counter::MirrorFailed];
            // The proxy tells each end once.
            if ended.iter().map(|outcome| proxy.counted(*outcome)).sum::<u64>() < sent {
                filter.answered(&proxy, status);
            }
        };
        let requested = requests.len() as u64;
        for steps in requests {
            let mut exchange = Exchange::new(filter.clone());
            exchange.headers(&proxy, false);
            for step in steps {
                let next = match step {
                    Step::Body(body, end) => {
                        let bytes = body.len();
                        *proxy.body.borrow_mut() = body;
                        exchange.body(&proxy, bytes, end)
                    }
                    Step::Trailers => exchange.trailers(&proxy),
                    Step::Over => { exchange.over(&proxy); Next::Continue }
                    Step::Tick => { filter.tick(&proxy); Next::Continue }
                    Step::Answered(status) => { answered(status); Next::Continue }
                };
                prop_assert_eq!(next, Next::Continue);
                prop_assert!((0..=2).contains(&*proxy.in_flight.borrow()));
            }
            exchange.over(&proxy);
        }
        filter.leave(&proxy);
        prop_assert_eq!(*proxy.in_flight.borrow(), 0);
        filter.answered(&proxy, None);
        prop_assert_eq!(*proxy.in_flight.borrow(), 0);
        let counted = |counters: &[Counter]| counters.iter().map(|counter| proxy.counted(*counter)).sum::<u64>();
        use Counter::*;
        let ends = [
            MirrorAnswered, MirrorRefused, MirrorFailed, MirrorUnsent, MirrorBusy, MirrorTooLarge, MirrorIncomplete,
            MirrorUnreadable, MirrorLost,
        ];
        prop_assert_eq!(counted(&ends), requested, "each request has one outcome");
    }
}
