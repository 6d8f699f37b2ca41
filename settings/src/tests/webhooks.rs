//! Webhooks: their entries, and their secrets.

use super::*;

const URL: &str = "https://hooks.example.org/services/T0/B0/pas-s-word";
const SECRET: &str = "pas-s-word-of-16";

/// An entry of `webhooks.targets` in JSON format.
fn entry(name: &str) -> String {
    format!("{{ name = \"{name}\", url = \"{URL}\", format = \"json\", secret = \"{SECRET}\" }}")
}

/// An entry of `webhooks.targets` for Slack, without a secret.
fn slack(name: &str, url: &str) -> String {
    format!("{{ name = \"{name}\", url = \"{url}\", format = \"slack\" }}")
}

/// The text of the error by which a list of targets is refused.
fn refusal(list: &str) -> String {
    let error = load(&format!("[webhooks]\ntargets = {list}"), &[]).unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(!said.contains("s-word"), "{list}: {said}");
    assert!(said.contains("webhooks.targets = <hidden>"), "{list}: {said}");
    error.to_string()
}

#[test]
fn webhooks_come_from_tables_from_a_list_and_from_the_environment() {
    let list = format!("[{}, {}]", entry("ops"), slack("team.chat-1", URL));
    let webhooks = load(&format!("[webhooks]\ntargets = {list}\ntimeout_seconds = 3"), &[])
        .unwrap()
        .webhooks;
    assert_eq!(webhooks.timeout().as_secs(), 3);
    let [ops, chat] = &webhooks.targets[..] else {
        panic!("{webhooks:?}");
    };
    assert_eq!((ops.name.as_str(), ops.format), ("ops", WebhookFormat::Json));
    assert_eq!((ops.url.expose(), ops.secret.expose()), (URL, SECRET));
    assert_eq!((chat.name.as_str(), chat.format), ("team.chat-1", WebhookFormat::Slack));
    assert!(chat.secret.is_empty());

    let by_env = load("", &[("LTR_WEBHOOKS__TARGETS", &list)]).unwrap().webhooks;
    assert_eq!(by_env.targets, webhooks.targets);
    assert_eq!(by_env.timeout_seconds, 10);
    let table = format!("[[webhooks.targets]]\nname = \"team.chat-1\"\nurl = \"{URL}\"\nformat = \"slack\"");
    assert_eq!(load(&table, &[]).unwrap().webhooks.targets, webhooks.targets[1..]);
}

#[test]
fn url_and_secret_of_a_webhook_are_never_shown() {
    let list = format!("[{}]", entry("ops"));
    let settings = load("", &[("LTR_WEBHOOKS__TARGETS", &list)]).unwrap();
    let printed = settings.print();
    let shown = format!("{printed} {settings:?}");
    assert!(!shown.contains("s-word") && !shown.contains("hooks.example"), "{shown}");
    assert!(
        printed.contains("name = \"ops\"") && printed.contains("url = \"<hidden>\""),
        "{printed}"
    );
    // The printed placeholders must become neither URL nor secret.
    let (key, _, allowed, _) = refused(&printed, &[]);
    assert_eq!(key, "webhooks.targets");
    assert!(allowed.contains("placeholder"), "{allowed}");
}

#[test]
fn a_webhook_under_a_misspelt_key_is_not_shown_either() {
    let list = format!("[{}]", entry("ops"));
    for file in [
        format!("[webhooks]\ntarget = {list}"),
        format!("[webhooks]\nurl = \"{URL}\""),
        format!("webhooks = {list}"),
        format!("webhook = {list}"),
        format!("[webhook]\ntargets = {list}"),
    ] {
        let error = load(&file, &[]).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains("webhook") && said.contains("allowed"), "{said}");
        assert!(!said.contains("s-word"), "{said}");
    }
    let error = load("", &[("LTR_WEBHOOKS", &list)]).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s-word"), "{error}");
}

#[test]
fn a_wrong_webhook_is_refused_by_its_place_without_being_shown() {
    let good = entry("ops");
    for (list, fault) in [
        (
            format!("[{}]", entry("")),
            "entry 1: the name is not 1 to 64 characters",
        ),
        (format!("[{good}, {}]", entry("a b")), "entry 2: the name is not"),
        (
            format!("[{good}, {good}]"),
            "entry 2: an earlier entry has the same name",
        ),
        (
            format!("[{}]", good.replace(SECRET, "s-word")),
            "entry 1: secret is not 16 to 256",
        ),
        (
            format!("[{}]", good.replace(SECRET, "pas s-word with blanks")),
            "entry 1: secret is not",
        ),
        (
            format!("[{}]", good.replace(SECRET, "")),
            "entry 1: format json needs a secret",
        ),
        (
            format!("[{}]", good.replace("\"json\"", "\"xml\"")),
            "\"json\" or \"slack\"",
        ),
        (format!("[{}]", good.replace("url", "uri")), "a list of at most 16"),
        (format!("[\"{SECRET}\"]"), "a list of at most 16"),
        (format!("\"{URL}\""), "a list of at most 16"),
        (
            format!("[{}]", vec![good.as_str(); 17].join(", ")),
            "there are 17 entries",
        ),
    ] {
        let said = refusal(&list);
        assert!(said.contains(fault), "{list}: {said}");
    }
    let (key, value, allowed, _) = refused("[webhooks]\ntimeout_seconds = 61", &[]);
    assert_eq!((key.as_str(), value.as_str()), ("webhooks.timeout_seconds", "61"));
    assert_eq!(allowed, "an integer, 1 to 60");
    assert_eq!(refused("[webhooks]\ntimeout_seconds = \"soon\"", &[]).1, "\"soon\"");
}

#[test]
fn a_webhook_is_https_or_on_this_machine() {
    for good in [
        "https://hooks.example.org/x?y=z",
        "https://10.0.0.7:8443",
        "https://[fd00::7]/x",
        "http://localhost:9000/x",
        "http://127.8.9.1/x",
        "http://[::1]:9000/x",
        "https://a_service/x@y",
    ] {
        let list = format!("[{}]", slack("chat", good));
        let settings = load("", &[("LTR_WEBHOOKS__TARGETS", &list)]);
        assert_eq!(settings.unwrap().webhooks.targets[0].url.expose(), good);
    }
    for (bad, fault) in [
        ("http://hooks.example.org/s-word", "is not loopback"),
        ("http://10.0.0.7/s-word", "is not loopback"),
        ("http://localhost.example.org/s-word", "is not loopback"),
        ("http://[fd00::7]/s-word", "is not loopback"),
        ("http://127.1/s-word", "is not loopback"),
        ("ftp://localhost/s-word", "begins with neither"),
        ("HTTPS://localhost/s-word", "begins with neither"),
        ("hooks.example.org/s-word", "begins with neither"),
        ("", "begins with neither"),
        ("https://user:pas-s-word@h/x", "has a user or a password"),
        ("https://s-word@h/x", "has a user or a password"),
        ("https://user:pas/s-word@h/x", "no valid port"),
        ("https://:8443/s-word", "names no host"),
        ("https://", "names no host"),
        ("https://h:0/s-word", "no valid port"),
        ("https://h:+80/s-word", "no valid port"),
        ("https://h:65536/s-word", "no valid port"),
        ("https://[::1/s-word", "no valid port"),
        ("https://h/s word", "has a blank"),
        ("https://h/#s-word", "a fragment"),
        ("https://h\\\\@s-word", "a backslash"),
    ] {
        let said = refusal(&format!("[{}]", slack("chat", bad)));
        assert!(said.contains("entry 1: url") && said.contains(fault), "{bad}: {said}");
    }
}
