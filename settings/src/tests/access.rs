//! Secrets, tokens, addresses and edges.

use super::*;

#[test]
fn a_secret_is_never_shown() {
    let token = "correct-horse-battery";
    let settings = load("", &[("LTR_CLIENT__TOKEN", token)]).unwrap();
    assert_eq!(settings.client.token.expose(), token);
    assert!(!settings.print().contains(token) && !format!("{settings:?}").contains(token));
    assert!(settings.print().contains("token = \"<hidden>\""));
    // The printed placeholder must not become the token.
    let (key, ..) = refused(&settings.print(), &[]);
    assert_eq!(key, "client.token");
    for wrong in ["short-secret", "has a space in it, and is long"] {
        let error = load("", &[("LTR_CLIENT__TOKEN", wrong)]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(wrong));
    }
    let typed = load("[client]\ntoken = 1234567890123456", &[]).unwrap_err();
    assert!(!typed.to_string().contains("1234567890123456"), "{typed}");
}

#[test]
fn a_sentry_dsn_is_never_shown() {
    let key = "cafe5e57ab1e";
    let dsn = format!("https://{key}@errors.example.org:8443/prefix/7");
    let settings = load("", &[("LTR_TELEMETRY__SENTRY_DSN", &dsn)]).unwrap();
    assert_eq!(settings.telemetry.sentry_dsn.expose(), dsn);
    assert!(!format!("{} {settings:?}", settings.print()).contains(key));
    assert_eq!(refused(&settings.print(), &[]).0, "telemetry.sentry_dsn");
    for (name, value) in [
        ("sentry_dsn", format!("https://{key}@errors.example.org")),
        ("sentry_dsn", format!("ftp://{key}@errors.example.org/7")),
        ("sentry_dsn", key.to_owned()),
        ("sentry_dns", dsn.clone()),
        ("otlp_endpoint", dsn.clone()),
    ] {
        let error = load(&format!("[telemetry]\n{name} = {value:?}"), &[]).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(
            said.contains(&format!("telemetry.{name}")) && said.contains("allowed"),
            "{said}"
        );
        assert!(!said.contains(key), "{said}");
    }
}

#[test]
fn an_endpoint_of_traces_is_a_url_of_http() {
    for good in [
        "http://collector:4318",
        "https://otel.example.org/base/",
        "http://[::1]:4318",
    ] {
        let settings = load("", &[("LTR_TELEMETRY__OTLP_ENDPOINT", good)]).unwrap();
        assert_eq!(settings.telemetry.otlp_endpoint, good);
    }
    for bad in [
        "collector:4318",
        "grpc://collector",
        "http://",
        "http://:4318",
        "http://a b",
        "http://u:pass-word@h",
    ] {
        let (key, value, allowed, _) = refused("", &[("LTR_TELEMETRY__OTLP_ENDPOINT", bad)]);
        assert_eq!(key, "telemetry.otlp_endpoint", "{bad}");
        assert!(
            allowed.contains("http://HOST") && !value.contains("pass-word"),
            "{allowed} {value}"
        );
    }
}

/// An entry of `access.tokens` whose hash repeats this digit.
fn entry(name: &str, digit: char) -> String {
    let sha256 = digit.to_string().repeat(64);
    format!("{{ name = \"{name}\", roles = [\"rank\", \"admin\"], sha256 = \"{sha256}\" }}")
}

#[test]
fn tokens_come_from_a_table_from_a_list_and_from_the_environment() {
    let (one, two) = (entry("shop", 'a'), entry("ops", '7'));
    let list = format!("[{one}, {two}]");
    let settings = load(&format!("[access]\ntokens = {list}"), &[]).unwrap();
    let names: Vec<&str> = settings.access.tokens.iter().map(|token| token.name.as_str()).collect();
    assert_eq!(names, ["shop", "ops"]);
    assert_eq!(settings.access.tokens[1].hash(), Some([0x77; 32]));
    assert_eq!(settings.access.tokens[0].to_string(), one);
    assert_eq!(
        load("", &[("LTR_ACCESS__TOKENS", &list)]).unwrap().access,
        settings.access
    );
    assert_eq!(load(&settings.print(), &[]).unwrap(), settings);
    let tables = format!(
        "[[access.tokens]]\nname = \"shop\"\nroles = [\"rank\", \"admin\"]\nsha256 = \"{}\"",
        "a".repeat(64)
    );
    assert_eq!(load(&tables, &[]).unwrap().access.tokens, settings.access.tokens[..1]);
}

#[test]
fn a_wrong_token_is_refused_without_being_shown() {
    let secret = "ltr_a-token-where-its-hash-should-be";
    let good = entry("shop", 'a');
    for (list, fault) in [
        (
            format!("[{}]", good.replace(&"a".repeat(64), secret)),
            "entry 1: sha256",
        ),
        (
            format!("[{good}, {}]", entry("shop", 'b')),
            "entry 2: an earlier entry has the same name",
        ),
        (
            format!("[{good}, {}]", entry("ops", 'a')),
            "entry 2: an earlier entry has the same sha256",
        ),
        (format!("[{}]", entry("", 'a')), "entry 1: the name"),
        (
            "[{ name = \"shop\", roles = [], sha256 = \"\" }]".into(),
            "entry 1: the list of roles is empty",
        ),
        (format!("[{}]", good.replace("rank", secret)), "a list of"),
        (format!("[{}]", good.replace("sha256", "token")), "a list of"),
        (format!("[\"{secret}\"]"), "a list of"),
        (format!("\"{secret}\""), "a list of"),
        ("12345".into(), "a list of"),
    ] {
        let error = load(&format!("[access]\ntokens = {list}"), &[]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("access.tokens = <hidden>") && text.contains(fault),
            "{list}: {text}"
        );
        assert!(!format!("{text} {error:?}").contains(secret), "{list}: {text}");
    }
}

#[test]
fn an_address_beyond_this_machine_needs_tokens() {
    let (key, value, allowed, _) = refused("[host]\nlisten = \"0.0.0.0:8080\"", &[]);
    assert_eq!((key.as_str(), value.as_str()), ("host.listen", "\"0.0.0.0:8080\""));
    assert!(allowed.contains("access.tokens"), "{allowed}");
    let file = format!(
        "[host]\nlisten = \"0.0.0.0:8080\"\n[access]\ntokens = [{}]",
        entry("shop", 'a')
    );
    load(&file, &[]).unwrap();
    load("[host]\nlisten = \"[::1]:8080\"", &[]).unwrap();
}

#[test]
fn the_admin_address_differs_from_listen_and_is_loopback_without_tokens() {
    for admin in ["127.0.0.1:8080", "0.0.0.0:9000", "localhost:9000", "9000"] {
        let (key, value, allowed, _) = refused(&format!("[host]\nadmin_listen = \"{admin}\""), &[]);
        assert_eq!((key.as_str(), value), ("host.admin_listen", format!("\"{admin}\"")));
        assert!(allowed.contains("IP:PORT"), "{allowed}");
    }
    let settings = load("[host]\nadmin_listen = \"127.0.0.1:9000\"", &[]).unwrap();
    assert_eq!(settings.host.admin_address().unwrap().port(), 9000);
    assert_eq!(Settings::default().host.admin_address(), None);
}

#[test]
fn a_certificate_and_its_key_come_together() {
    for (file, key) in [
        ("cert_file = \"a\"", "tls.key_file"),
        ("key_file = \"a\"", "tls.cert_file"),
        ("client_ca_file = \"a\"", "tls.client_ca_file"),
        ("cert_file = \"a\"\nclient_ca_file = \"a\"", "tls.key_file"),
    ] {
        assert_eq!(refused(&format!("[tls]\n{file}"), &[]).0, key, "{file}");
    }
    let all = "[tls]\ncert_file = \"a\"\nkey_file = \"b\"\nclient_ca_file = \"c\"";
    assert!(load(all, &[]).unwrap().tls.is_on());
    assert!(!Settings::default().tls.is_on());
}

#[test]
fn a_password_in_a_url_is_never_shown() {
    for url in [
        "postgres://ltr:pa%40ss-word@db:5432/ltr",
        "postgresql://ltr:pa:ss-word@db/ltr",
    ] {
        let settings = load("", &[("LTR_DATABASE__URL", url)]).unwrap();
        assert_eq!(settings.database.url.expose(), url);
        let shown = format!("{settings:?} {}", settings.print());
        assert!(
            shown.contains("://ltr:<hidden>@db") && !shown.contains("ss-word"),
            "{shown}"
        );
        // The printed placeholder must not become the password.
        let (key, value, allowed, _) = refused(&settings.print(), &[]);
        assert_eq!(key, "database.url");
        assert!(
            value.contains("<hidden>") && allowed.contains("--print-config"),
            "{allowed}"
        );
    }
    for wrong in [
        "mysql://ltr:pa/s@s-word@db/ltr",
        "postgres://ltr:pa/s#s-word@db/ltr",
        "postgres://ltr:pa-ss-word/ltr",
        "postgres://db/ltr?user=ltr&password=pas-s-word",
        "ltr:pas-s-word@db/ltr",
    ] {
        for key in ["url", "ulr"] {
            let file = format!("[database]\n{key} = {wrong:?}");
            let error = load(&file, &[]).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(said.contains("database.") && said.contains("<hidden>"), "{said}");
            assert!(!said.contains("s-word"), "{said}");
        }
    }
}

#[test]
fn a_redis_password_is_optional_and_never_shown() {
    for url in [
        "redis://db",
        "redis://db:6380/2",
        "rediss://[::1]",
        "redis://:pas-s-word@db",
        "rediss://ltr:pas-s-word@db:6380/0",
    ] {
        let settings = load("", &[("LTR_FLAGS__REDIS_URL", url)]).unwrap();
        assert_eq!(settings.flags.redis_url.expose(), url);
        let shown = format!("{settings:?} {}", settings.print());
        assert!(!shown.contains("s-word"), "{shown}");
        if url.contains('@') {
            assert_eq!(refused(&settings.print(), &[]).0, "flags.redis_url");
        }
    }
    for wrong in [
        "redis://pas-s-word@db",
        "redis://:pas-s-word@",
        "redis://:pas-s-word@db/first",
        "redis://:pas-s-word@db/#insecure",
        "valkey://:pas-s-word@db",
    ] {
        let error = load("", &[("LTR_FLAGS__REDIS_URL", wrong)]).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains("flags.redis_url") && !said.contains("s-word"), "{said}");
    }
}

#[test]
fn an_edge_is_a_token_an_address_or_a_network_and_nothing_else() {
    let tokens = format!("tokens = [{}]", entry("envoy", '7'));
    let edges = |list: &str| load(&format!("[access]\n{tokens}\nedges = {list}"), &[]);
    let settings = edges(r#"["envoy", "10.1.2.3", "192.168.0.0/16", "fd00::/8"]"#).unwrap();
    let edges_of = settings.access.edges().unwrap();
    let by_address = |peer: &str| edges_of.iter().any(|edge| edge.has(peer.parse().unwrap()));
    for peer in ["10.1.2.3", "192.168.7.9", "::ffff:192.168.7.9", "fd12::1"] {
        assert!(by_address(peer), "{peer}");
    }
    for peer in ["10.1.2.4", "192.169.0.1", "fe80::1", "::1"] {
        assert!(!by_address(peer), "{peer}");
    }
    let all = load("[access]\nedges = [\"0.0.0.0/0\"]", &[])
        .unwrap()
        .access
        .edges()
        .unwrap()
        .remove(0);
    assert!(all.has("127.0.0.1".parse().unwrap()));
    for wrong in [
        "[\"nobody\"]",
        "[\"10.0.0.0/33\"]",
        "[\"10.0.0/8\"]",
        "[\"\"]",
        "[\"::1/129\"]",
        "[\"::ffff:10.0.0.1\"]",
    ] {
        let error = edges(wrong).unwrap_err().to_string();
        assert!(error.contains("access.edges") && error.contains("networks"), "{error}");
    }
}
