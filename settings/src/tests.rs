use std::path::{Path, PathBuf};

use super::*;

mod access;
mod webhooks;

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

/// Loads settings that must be refused; returns key, value, allowed values and origin.
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
fn without_input_the_defaults_apply_and_are_valid() {
    let settings = Settings::load(None, []).unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.schema().len(), 11);
    assert_eq!(settings.presets().default_name(), "balanced");
    assert_eq!(load("", &[("PATH", "/bin"), ("LTRX", "1")]).unwrap(), settings);
}

#[test]
fn the_default_training_parameters() {
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
fn a_key_that_was_moved_is_refused_with_its_new_name() {
    let (key, value, allowed, origin) = refused("[publish]\nedge_dir = \"/etc/envoy/ltr\"", &[]);
    assert_eq!(
        (key.as_str(), value.as_str()),
        ("publish.edge_dir", "\"/etc/envoy/ltr\"")
    );
    assert_eq!(allowed, "its new name, rollout.edge_dir");
    assert!(origin.ends_with("ltr.toml"));
    let (_, _, allowed, origin) = refused("", &[("LTR_PUBLISH__EDGE_DIR", "/etc/envoy/ltr")]);
    assert_eq!(allowed, "its new name, rollout.edge_dir");
    assert_eq!(origin, "environment variable LTR_PUBLISH__EDGE_DIR");

    let settings = load("[rollout]\nedge_dir = \"/etc/envoy/ltr\"", &[]).unwrap();
    assert_eq!(settings.rollout.edge_dir(), Some(Path::new("/etc/envoy/ltr")));
    assert_eq!(Settings::default().rollout.edge_dir(), None);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
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
            "[rollout.trial]\nshare = 1.0",
            "rollout.trial.share",
            "1.0",
            "a number, 0 to 0.95",
        ),
        (
            "[rollout.relevance]\nfalse_alarms = 0",
            "rollout.relevance.false_alarms",
            "0.0",
            "above 0",
        ),
        ("[swaps]\nshare = 1.5", "swaps.share", "1.5", "a number, 0 to 1"),
        (
            "[swaps]\npairs = [{ upper = 1 }, { upper = 1, weight = 2.0 }]",
            "swaps.pairs",
            "[1 (1), 1 (2)]",
            "each once, and weights above 0 and at most 1000000 (upper is 1 twice)",
        ),
        ("[swaps]\npairs = []", "swaps.pairs", "[]", "(there is no pair)"),
        (
            "[swaps]\nsalt = \"ltr-hold-out-v1\"",
            "swaps.salt",
            "\"ltr-hold-out-v1\"",
            "text that no other sampler uses",
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
        ("[evaluate]\neta = -1", "evaluate.eta", "\"-1\"", "a number, 0 to 10"),
        ("[evaluate]\neta = \"x\"", "evaluate.eta", "\"x\"", "empty"),
        ("[evaluate]\neta = true", "evaluate.eta", "true", "a number, 0 to 10"),
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
fn how_fast_clients_stop_looking_is_a_number_or_not_known() {
    let eta = |toml: &str, env: &[(&str, &str)]| load(toml, env).unwrap().evaluate.eta();
    assert_eq!(eta("", &[]), None);
    for (toml, known) in [("1", 1.0), ("0", 0.0), ("0.75", 0.75), ("\"1.5\"", 1.5)] {
        assert_eq!(eta(&format!("[evaluate]\neta = {toml}"), &[]), Some(known), "{toml}");
    }
    assert_eq!(eta("[evaluate]\neta = 2", &[("LTR_EVALUATE__ETA", "0.5")]), Some(0.5));
    assert_eq!(eta("[evaluate]\neta = 2", &[("LTR_EVALUATE__ETA", "")]), None);
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
fn anything_but_a_regular_file_is_refused_without_blocking() {
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
                _ if key == sections::PRESETS || key == sections::PARAMS => {}
                toml::Value::Table(inner) => leaves(&key, inner, into),
                _ => into.push(key),
            }
        }
    }
    let mut there = Vec::new();
    leaves("", &Settings::default().tree(), &mut there);
    let sections = sections::sections();
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
fn settings_made_in_code_can_be_checked_too() {
    let mut settings = Settings::default();
    assert!(settings.validate().is_ok());
    settings.gate.fair_gap = f64::NAN;
    assert!(settings.validate().unwrap_err().to_string().contains("gate.fair_gap"));
}

#[test]
fn a_file_without_the_privacy_keys_keeps_the_old_behaviour() {
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
