use std::path::{Path, PathBuf};

use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn load(toml: &str, pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ltr.toml");
    std::fs::write(&file, toml).unwrap();
    Settings::load(Some(&file), env(pairs))
}

/// Key, value and what is allowed, of a refusal.
fn refused(toml: &str, pairs: &[(&str, &str)]) -> (String, String, String, String) {
    match load(toml, pairs) {
        Err(SettingsError::Refused {
            origin,
            key,
            value,
            allowed,
        }) => (key, value, allowed, origin),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_given_is_the_defaults_and_they_are_allowed() {
    let settings = Settings::load(None, []).unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.schema().len(), 11);
    assert_eq!(settings.presets().default_name(), "balanced");
    assert_eq!(load("", &[("PATH", "/bin"), ("LTRX", "1")]).unwrap(), settings);
}

#[test]
fn the_default_parameters_are_the_seeds() {
    let train = Settings::default().train;
    assert_eq!(train.objective, Objective::Lambdarank);
    let text = train.params.to_string();
    for line in [
        "metric = \"ndcg\"",
        "ndcg_eval_at = [5]",
        "learning_rate = 0.05",
        "num_leaves = 48",
        "min_data_in_leaf = 20",
        "feature_fraction = 0.9",
        "lambda_l1 = 0.2",
        "lambda_l2 = 0.2",
        "early_stopping_round = 100",
        "seed = 42",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}

#[test]
fn the_environment_goes_over_the_file_and_the_file_over_the_defaults() {
    let file = "[host]\ndeadline_ms = 300\nltr_budget_ms = 50\n[shadow]\nfraction = 1";
    let settings = load(
        file,
        &[
            ("LTR_HOST__DEADLINE_MS", "400"),
            ("LTR_HOST__LISTEN", "127.0.0.2:0"),
            ("LTR_SHADOW__SALT", "12345"),
            ("LTR_RANKING__FAIRNESS__TAU", "0.5"),
            ("LTR_TRAIN__POSITION_BIAS", "false"),
            ("LTR_TRAIN__PARAMS__NUM_LEAVES", "31"),
            ("LTR_TRAIN__PARAMS__NDCG_EVAL_AT", "[3, 5]"),
            ("LTR_RANKING__PRESETS__FAST__GEO", "0.9"),
        ],
    )
    .unwrap();
    assert_eq!(settings.host.deadline_ms, 400);
    assert_eq!(settings.host.ltr_budget_ms, 50);
    assert_eq!(settings.host.listen.port(), 0);
    assert_eq!(settings.shadow.fraction, 1.0);
    assert_eq!(settings.shadow.salt, "12345");
    assert_eq!(settings.ranking.fairness.tau, 0.5);
    assert!(!settings.train.position_bias);
    assert_eq!(settings.train.params["num_leaves"].as_integer(), Some(31));
    assert_eq!(settings.train.params["ndcg_eval_at"].as_array().unwrap().len(), 2);
    assert_eq!(settings.train.params["learning_rate"].as_float(), Some(0.05));
    assert_eq!(settings.ranking.presets["fast"]["geo"], 0.9);
    assert_eq!(settings.ranking.presets["fast"]["area_match"], 0.40);
}

#[test]
fn other_features_bring_their_own_presets() {
    let file = "[ranking]\nfeatures = [\"a\", \"b\"]\ndefault_preset = \"p\"\n\
                [ranking.presets.p]\na = 1\nb = 3";
    let settings = load(file, &[]).unwrap();
    assert_eq!(settings.presets().default_weights().values(), [0.25, 0.75]);
    let (key, _, allowed, _) = refused("[ranking]\nfeatures = [\"a\", \"b\"]", &[]);
    assert_eq!(key, "ranking.presets");
    assert!(
        allowed.contains("unknown feature \"area_match\"; allowed: a, b"),
        "{allowed}"
    );
}

#[test]
fn an_unknown_name_is_refused_with_the_names_there_are() {
    let (key, value, allowed, origin) = refused("[host]\nlisten_on = \"x\"", &[]);
    assert_eq!((key.as_str(), value.as_str()), ("host.listen_on", "\"x\""));
    assert!(
        allowed.contains("in [host] listen, admin_listen, deadline_ms"),
        "{allowed}"
    );
    assert!(origin.ends_with("ltr.toml"));

    let (key, _, allowed, _) = refused("[hosts]\nlisten = 1", &[]);
    assert_eq!(key, "hosts");
    assert!(
        allowed.contains("ranking, labels, events, database, models, host"),
        "{allowed}"
    );

    let (key, value, _, origin) = refused("", &[("LTR_HOST__LISTEM", "x")]);
    assert_eq!((key.as_str(), value.as_str()), ("host.listem", "\"x\""));
    assert_eq!(origin, "environment variable LTR_HOST__LISTEM");
    assert_eq!(refused("", &[("LTR_LISTEN", "x")]).0, "listen");
    assert_eq!(refused("", &[("LTR_", "x")]).0, "");

    let (key, _, allowed, _) = refused("[ranking.fairness]\nlamda = 1", &[]);
    assert_eq!(key, "ranking.fairness.lamda");
    assert!(allowed.contains("lambda, tau"), "{allowed}");
    let (key, _, allowed, _) = refused("host = 3", &[]);
    assert_eq!(key, "host");
    assert!(allowed.starts_with("a section [host] with listen"), "{allowed}");
}

#[test]
fn a_wrong_value_is_refused_with_what_is_allowed() {
    for (toml, key, value, allowed) in [
        ("[shadow]\nfraction = 1.5", "shadow.fraction", "1.5", "a number, 0 to 1"),
        ("[shadow]\nfraction = nan", "shadow.fraction", "nan", "a number, 0 to 1"),
        (
            "[shadow]\nfraction = \"x\"",
            "shadow.fraction",
            "\"x\"",
            "a number, 0 to 1",
        ),
        ("[shadow]\nsalt = \"\"", "shadow.salt", "\"\"", "text"),
        (
            "[host]\ndeadline_ms = 0",
            "host.deadline_ms",
            "0",
            "an integer, 1 to 60000",
        ),
        (
            "[host]\ndeadline_ms = -1",
            "host.deadline_ms",
            "-1",
            "an integer, 1 to 60000",
        ),
        (
            "[host]\ndeadline_ms = 1.5",
            "host.deadline_ms",
            "1.5",
            "an integer, 1 to 60000",
        ),
        ("[host]\ndeadline_ms = 100", "host.ltr_budget_ms", "100", "which is 100"),
        (
            "[host]\nlisten = \"localhost\"",
            "host.listen",
            "\"localhost\"",
            "IP:PORT",
        ),
        (
            "[host]\nclock = \"sundial\"",
            "host.clock",
            "\"sundial\"",
            "system or header",
        ),
        ("[log]\nformat = \"xml\"", "log.format", "\"xml\"", "text or json"),
        (
            "[log]\nlevel = \"loud\"",
            "log.level",
            "\"loud\"",
            "off or error or warn",
        ),
        (
            "[database]\nurl = \"postgres://h/d\"",
            "database.url",
            "\"postgres://h/d\"",
            "sqlite://PATH or postgres://USER",
        ),
        (
            "[database]\nca_file = \"ca.pem\"",
            "database.ca_file",
            "\"ca.pem\"",
            "only with a postgres:// URL",
        ),
        (
            "[database]\nmax_connections = 1",
            "database.max_connections",
            "1",
            "an integer, 2 to 1000",
        ),
        (
            "[database]\ntimeout_ms = 0",
            "database.timeout_ms",
            "0",
            "an integer, 100 to 600000",
        ),
        (
            "[publish]\nnotify_url = \"ftp://h\"",
            "publish.notify_url",
            "\"ftp://h\"",
            "http[s]://",
        ),
        (
            "[publish]\nnotify_url = \"https:///x\"",
            "publish.notify_url",
            "\"https:///x\"",
            "http[s]://",
        ),
        (
            "[models]\nsource = \"gs://bucket\"",
            "models.source",
            "\"gs://bucket\"",
            "s3://BUCKET",
        ),
        (
            "[models]\nsource = \"file://relative\"",
            "models.source",
            "\"file://relative\"",
            "file:///PATH",
        ),
        (
            "[flags]\nredis_url = \"http://h\"",
            "flags.redis_url",
            "\"http://h\"",
            "redis://",
        ),
        (
            "[flags]\nredis_url = \"redis://h:port\"",
            "flags.redis_url",
            "\"redis://h:<hidden>\"",
            "rediss://",
        ),
        (
            "[flags]\nkill_switch_key = \"\"",
            "flags.kill_switch_key",
            "\"\"",
            "the name of a key",
        ),
        (
            "[flags]\nkill_switch = \"halt\"",
            "flags.kill_switch",
            "\"halt\"",
            "on, true, yes, 1 or stop",
        ),
        (
            "[host]\nmax_body_total_mb = 10",
            "host.max_body_total_mb",
            "10",
            "host.max_body_bytes, which is 8388608",
        ),
        ("[flags]\npoll_ms = 0", "flags.poll_ms", "0", "an integer, 50 to 60000"),
        (
            "[rollout.criteria]\nconfidence = 1",
            "rollout.criteria.confidence",
            "1.0",
            "below 1",
        ),
        (
            "[models]\nwarm_instances = 9",
            "models.warm_instances",
            "9",
            "an integer, 1 to 8",
        ),
        (
            "[models]\npoll_seconds = -1",
            "models.poll_seconds",
            "-1",
            "an integer, 0 to 86400",
        ),
        (
            "[models]\ncode_cache_mb = 0",
            "models.code_cache_mb",
            "0",
            "an integer, 1 to 65536",
        ),
        ("[labels]\nclick_hours = 0", "labels.click_hours", "0", "1 to 8760"),
        (
            "[train.params]\nx = {y = 1}",
            "train.params.x",
            "{ y = 1 }",
            "a list of these",
        ),
        (
            "[train]\ntest_fraction = 0.9",
            "train.test_fraction",
            "0.9",
            "which is 0.15",
        ),
        (
            "[ranking]\nfeatures = [\"a\", \"a\"]",
            "ranking.features",
            "[\"a\", \"a\"]",
            "listed twice",
        ),
        (
            "[ranking]\ndefault_preset = \"q\"",
            "ranking.default_preset",
            "\"q\"",
            "balanced",
        ),
        (
            "[train]\nposition_bias = 1",
            "train.position_bias",
            "1",
            "true or false",
        ),
        (
            "[train]\nobjective = \"binary\"",
            "train.objective",
            "\"binary\"",
            "lambdarank or rank_xendcg or regression",
        ),
    ] {
        let found = refused(toml, &[]);
        assert_eq!((found.0.as_str(), found.1.as_str()), (key, value), "{found:?}");
        assert!(found.2.contains(allowed), "{found:?}");
    }
    let preset = refused("", &[("LTR_RANKING__PRESETS__FAST__GEO", "much")]);
    assert_eq!(preset.0, "ranking.presets.fast.geo");
    assert_eq!(preset.2, "a number of at least 0");
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let absent = Settings::load(Some(&PathBuf::from("/nonexistent/ltr.toml")), []).unwrap_err();
    assert!(absent.to_string().contains("/nonexistent/ltr.toml"));
    let broken = load("[host\n", &[]).unwrap_err();
    assert!(matches!(broken, SettingsError::Syntax { .. }));
    assert!(broken.to_string().contains("line 1"), "{broken}");
    let huge = load(&format!("#{}", "x".repeat(1 << 20)), &[]).unwrap_err();
    assert!(huge.to_string().contains("larger than"), "{huge}");
}

#[test]
fn what_is_no_file_is_said_to_be_none_and_waited_for_by_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("ltr.toml");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    for (path, what) in [
        (fifo.as_path(), "a FIFO"),
        (folder.path(), "a directory"),
        (Path::new("/dev/zero"), "a device"),
    ] {
        let error = Settings::load(Some(path), []).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn what_is_printed_loads_to_the_same_settings() {
    let mut settings = Settings::default();
    settings
        .ranking
        .presets
        .insert("by hand".into(), settings.ranking.presets["fast"].clone());
    settings.train.params.insert("learning_rate".into(), 1e-7.into());
    settings.rollout.criteria.seed = 7;
    settings.host.clock = Clock::Header;
    for settings in [Settings::default(), settings] {
        let printed = settings.print();
        assert_eq!(load(&printed, &[]).unwrap(), settings, "{printed}");
    }
}

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    fn leaves(prefix: &str, table: &toml::Table, into: &mut Vec<String>) {
        for (name, value) in table {
            let key = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            match value {
                _ if key == keys::PRESETS || key == keys::PARAMS => {}
                toml::Value::Table(inner) => leaves(&key, inner, into),
                _ => into.push(key),
            }
        }
    }
    let mut there = Vec::new();
    leaves("", &Settings::default().tree(), &mut there);
    let sections = keys::SECTIONS.iter();
    let mut documented: Vec<String> = sections
        .flat_map(|s| s.keys.iter().map(|k| format!("{}.{}", s.name, k.name)))
        .collect();
    there.sort();
    documented.sort();
    assert_eq!(there, documented);
    let printed = Settings::default().print();
    assert!(
        printed.contains("# Share of the requests. Allowed: a number, 0 to 1.\nfraction = 0.1"),
        "{printed}"
    );
}

#[test]
fn a_secret_is_never_shown() {
    let token = "correct-horse-battery";
    let settings = load("", &[("LTR_CLIENT__TOKEN", token)]).unwrap();
    assert_eq!(settings.client.token.expose(), token);
    assert!(!settings.print().contains(token) && !format!("{settings:?}").contains(token));
    assert!(settings.print().contains("token = \"<hidden>\""));
    // What is printed must not become the token.
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

/// An entry of `access.tokens` whose hash is this digit over and over.
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
            "entry 2: the name is there twice",
        ),
        (
            format!("[{good}, {}]", entry("ops", 'a')),
            "entry 2: the sha256 is there twice",
        ),
        (format!("[{}]", entry("", 'a')), "entry 1: the name"),
        (
            "[{ name = \"shop\", roles = [], sha256 = \"\" }]".into(),
            "entry 1: there are no roles",
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
fn the_address_of_operators_is_another_and_within_this_machine_while_there_are_no_tokens() {
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
        // What is printed must not become the password.
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
fn a_redis_is_named_with_or_without_a_password_which_is_never_shown() {
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
fn settings_made_in_code_can_be_checked_too() {
    let mut settings = Settings::default();
    assert!(settings.validate().is_ok());
    settings.gate.fair_gap = f64::NAN;
    assert!(settings.validate().unwrap_err().to_string().contains("gate.fair_gap"));
}

#[test]
fn a_file_that_is_older_than_a_key_about_persons_keeps_what_was_kept() {
    let privacy = |text: &str, env: &[(&str, &str)]| {
        let privacy = load(text, env).unwrap().privacy;
        (privacy.pseudonymise_events, privacy.groups_without_consent)
    };
    let new = Settings::load(None, []).unwrap().privacy;
    assert_eq!((new.pseudonymise_events, new.groups_without_consent), (true, false));
    assert_eq!(privacy("[shadow]\nfraction = 0.5", &[]), (false, true));
    let said = "[privacy]\npseudonymise_events = true\ngroups_without_consent = false";
    assert_eq!(privacy(said, &[]), (true, false));
    let by_env = [("LTR_PRIVACY__PSEUDONYMISE_EVENTS", "true")];
    assert_eq!(privacy("[shadow]\nfraction = 0.5", &by_env), (true, true));
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
    ] {
        let error = edges(wrong).unwrap_err().to_string();
        assert!(error.contains("access.edges") && error.contains("networks"), "{error}");
    }
}
