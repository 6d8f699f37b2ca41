use std::collections::BTreeSet;

use super::*;

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

/// Every hop must sample the same requests.
#[test]
fn the_choice_is_that_of_the_vectors_that_all_hops_share() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../../../ranking/vectors/sampling.json")).unwrap();
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
    assert_eq!(kinds.len(), 4, "both kinds of key, sampled and not");
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
