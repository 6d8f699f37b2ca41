use super::*;
use crate::testing::Sent;

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

/// The callbacks of a proxy, in any order.
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
            // The proxy reports each answer once.
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
