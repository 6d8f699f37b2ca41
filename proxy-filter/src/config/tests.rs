use serde_json::{Value, json};

use super::*;

const SALT: &str = "0123456789abcdef0123456789abcdef";

fn whole() -> Value {
    json!({
        "sampling": {"salt": "ltr-shadow-v1", "fraction": 0.1, "bypass_above": 0.2, "key_header": "x-user-id"},
        "trusted": {"cidrs": ["10.0.0.0/8", "::1"], "uri_sans": ["spiffe://shop/edge"]},
        "routes": [
            {"path_prefix": "/rank", "method": "POST", "modes": ["mark", "mirror"]},
            {"path_prefix": "/ltr/score", "method": "POST", "modes": ["score"]},
        ],
        "mirror": {
            "cluster": "shadow", "headers": ["authorization"],
            "max_body_bytes": 1_000_000, "max_in_flight": 64, "timeout_ms": 1000,
            "personal": {"redact": ["/case/notes"], "pseudonymise": ["/case/user_id"], "salt_env": "SALT"},
        },
        "score": {"max_body_bytes": 100_000, "max_rows": 1000, "max_json_depth": 32, "tokens_sha256": ["ab".repeat(32)]},
    })
}

fn read(json: &Value) -> Result<Config, ConfigError> {
    let variable = |name: &str| match name {
        "SALT" => Some(format!("{SALT}\n")),
        "SHORT" => Some("pepper".to_owned()),
        _ => None,
    };
    Config::read(json.to_string().as_bytes(), variable)
}

#[test]
fn a_whole_configuration_is_read_as_it_is_written() {
    let config = read(&whole()).unwrap();
    let sampling = config.sampling.unwrap();
    assert_eq!(sampling.sampler, Sampler::new("ltr-shadow-v1", 0.1).unwrap());
    assert_eq!(sampling.bypass_above, Some(Sampler::new("ltr-shadow-v1", 0.2).unwrap()));
    assert_eq!(sampling.key, Key::Header("x-user-id".into()));
    assert_eq!(config.trusted.networks.len(), 2);
    assert!(config.routes[0].mark && config.routes[0].mirror && !config.routes[0].score);
    let mirror = config.mirror.unwrap();
    assert_eq!(
        (mirror.cluster.as_str(), mirror.authority.as_str()),
        ("shadow", "shadow")
    );
    assert_eq!(mirror.timeout, Duration::from_secs(1));
    assert_eq!(
        mirror.personal.salt,
        SALT.as_bytes(),
        "the trailing newline is removed, as in the gateway"
    );
    assert_eq!(config.score.unwrap().tokens, [[0xab; 32]]);
}

#[test]
fn a_filter_without_bodies_takes_routes_that_mark_and_no_others() {
    let mut json = whole();
    for (modes, expected) in [
        (json!(["mark"]), None),
        (
            json!(["mark", "mirror"]),
            Some("routes[1].modes is not only mark; allowed: only mark"),
        ),
        (
            json!(["score"]),
            Some("routes[1].modes is not only mark; allowed: only mark"),
        ),
    ] {
        json["routes"][0]["modes"] = json!(["mark"]);
        json["routes"][1]["modes"] = modes;
        let refused = read(&json).unwrap().only_marks().err().map(|error| error.to_string());
        assert_eq!(refused.is_some(), expected.is_some());
        assert!(refused.unwrap_or_default().starts_with(expected.unwrap_or_default()));
    }
}

#[test]
fn the_salt_is_not_shown_by_debug() {
    assert!(!format!("{:?}", read(&whole()).unwrap()).contains(SALT));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_is_wrong_is_refused_in_a_sentence_that_names_it() {
    // Where, the new value (`null` removes the old one), and how the error begins.
    let cases = [
        (
            "/sampling/fraction",
            json!(1.5),
            "sampling.fraction is 1.5; allowed: 0 to 1",
        ),
        (
            "/sampling/fraction",
            json!(0.3),
            "sampling.bypass_above is 0.2; allowed: sampling.fraction (0.3) to 1, because",
        ),
        (
            "/sampling/bypass_above",
            json!(1.5),
            "sampling.bypass_above is 1.5; allowed: sampling.fraction (0.1) to 1, because",
        ),
        (
            "/sampling/salt",
            json!(""),
            "sampling.salt is empty; allowed: the gateway's shadow.salt, or any other text",
        ),
        (
            "/sampling/fraction",
            json!("a tenth"),
            "sampling.fraction: invalid type: string \"a tenth\", expected f64",
        ),
        (
            "/sampling",
            Value::Null,
            "sampling is absent; allowed: present if a route has the mode mark or mirror",
        ),
        (
            "/mirror",
            Value::Null,
            "mirror is absent; allowed: present if a route has the mode mirror",
        ),
        (
            "/score",
            Value::Null,
            "score is absent; allowed: present if a route has the mode score",
        ),
        ("/routes", json!([]), "routes is empty; allowed: at least one route"),
        (
            "/routes/0/path_prefix",
            json!("rank"),
            "routes[0].path_prefix is \"rank\"; allowed: / for all paths, or a path",
        ),
        (
            "/routes/0/path_prefix",
            json!("/rank/"),
            "routes[0].path_prefix is \"/rank/\"; allowed: / for all paths, or a path",
        ),
        (
            "/routes/0/method",
            json!("post"),
            "routes[0].method is \"post\"; allowed: a method such as POST",
        ),
        (
            "/routes/0/modes",
            json!([]),
            "routes[0].modes is empty; allowed: mark, mirror, both, or score alone",
        ),
        (
            "/routes/1/modes",
            json!(["score", "mark"]),
            "routes[1].modes is score with other modes; allowed: mark, mirror",
        ),
        (
            "/routes/1/modes",
            json!(["shadow"]),
            "routes[1].modes[0]: unknown variant `shadow`, expected one of `mark`",
        ),
        (
            "/trusted/cidrs/1",
            json!("10.0.0.0/33"),
            "trusted.cidrs[1] is \"10.0.0.0/33\"; allowed: an IP address",
        ),
        (
            "/trusted/uri_sans/0",
            json!(""),
            "trusted.uri_sans[0] is empty; allowed: the URI",
        ),
        (
            "/mirror/cluster",
            json!(""),
            "mirror.cluster is empty; allowed: the name of a cluster",
        ),
        (
            "/mirror/headers/0",
            json!("Host"),
            "mirror.headers[0] is \"Host\"; allowed: a header name in lower case",
        ),
        (
            "/mirror/headers/0",
            json!("x-ltr-edge-copy"),
            "mirror.headers[0] is \"x-ltr-edge-copy\"; allowed",
        ),
        (
            "/mirror/max_in_flight",
            json!(0),
            "mirror.max_in_flight is 0; allowed: 1 to 10000",
        ),
        (
            "/mirror/max_in_flight",
            json!(10_000),
            "mirror.max_body_bytes times mirror.max_in_flight is 10000000000; allowed: 0 to 1073741824",
        ),
        (
            "/mirror/timeout_ms",
            json!(60_001),
            "mirror.timeout_ms is 60001; allowed: 1 to 60000",
        ),
        (
            "/mirror/max_body_bytes",
            json!(1 << 30),
            "mirror.max_body_bytes is 1073741824; allowed: 0 to 16777216",
        ),
        (
            "/mirror/personal/redact/0",
            json!("notes"),
            "mirror.personal.redact[0] is \"notes\"; allowed: a JSON pointer",
        ),
        (
            "/mirror/personal/redact/0",
            json!("/a~2"),
            "mirror.personal.redact[0] is \"/a~2\"; allowed: a JSON pointer",
        ),
        (
            "/mirror/personal/salt_env",
            Value::Null,
            "mirror.personal.salt_env is absent; allowed: the environment",
        ),
        (
            "/mirror/personal/salt_env",
            json!("NO"),
            "mirror.personal.salt_env is \"NO\", which is not set; allowed",
        ),
        (
            "/mirror/personal/salt_env",
            json!("SHORT"),
            "mirror.personal.salt_env is \"SHORT\", with 6 characters",
        ),
        (
            "/score/max_rows",
            json!(0),
            "score.max_rows is 0; allowed: 1 to 1000000",
        ),
        (
            "/score/tokens_sha256/0",
            json!("secret"),
            "score.tokens_sha256[0] is not 64 hexadecimal digits; allowed: the SHA-256",
        ),
    ];
    for (place, value, expected) in cases {
        let mut json = whole();
        *json.pointer_mut(place).unwrap() = value;
        let sentence = read(&json).unwrap_err().to_string();
        assert!(sentence.starts_with(expected), "{place}: {sentence}");
    }
}

#[test]
fn an_unknown_key_is_refused_wherever_it_is() {
    for place in [
        "",
        "/sampling",
        "/trusted",
        "/routes/0",
        "/mirror",
        "/mirror/personal",
        "/score",
    ] {
        let mut json = whole();
        json.pointer_mut(place).unwrap()["fractoin"] = json!(1);
        let sentence = read(&json).unwrap_err().to_string();
        assert!(
            sentence.contains("unknown field `fractoin`, expected"),
            "{place}: {sentence}"
        );
    }
}

#[test]
fn what_is_no_json_is_refused() {
    for wrong in ["", "{", "[]", "{} {}", "\u{0}"] {
        let sentence = Config::read(wrong.as_bytes(), |_| None).unwrap_err().to_string();
        assert!(!sentence.is_empty() && sentence.contains(": "), "{wrong}: {sentence}");
    }
}
