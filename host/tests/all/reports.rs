//! Reports of errors and panics, as Sentry gets them.

use std::net::TcpListener;
use std::path::Path;

use ltr_host::telemetry;
use serde_json::Value;
use settings::Settings;
use uuid::Uuid;

use crate::Site;
use crate::receiver::{Call, Receiver};
use crate::running::{Program, log};

const KEY: &str = "cafe5e57ab1e";

/// The events among the calls: the items of an envelope, each with a header line before it.
fn events(calls: &[Call]) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let mut events = Vec::new();
    for call in calls {
        let text = std::str::from_utf8(&call.body).unwrap();
        let mut lines = text.lines().skip(1);
        while let Some(header) = lines.next() {
            let item = parse(lines.next().unwrap());
            if parse(header)["type"] == "event" {
                events.push(item);
            }
        }
    }
    events
}

fn text(calls: &[Call]) -> String {
    let bodies = calls.iter().map(|call| String::from_utf8_lossy(&call.body));
    bodies.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_program_is_reported_without_what_names_a_person() {
    let receiver = Receiver::start().await;
    let site = Site::new();
    let dsn = format!("http://{KEY}@{}/7", receiver.address);
    let program = Program::start(&site, &[("LTR_TELEMETRY__SENTRY_DSN", Path::new(&dsn))]);
    // A key that cannot be read is an error in the log, which says its name.
    let (user, token) = (Uuid::from_u128(77), format!("ltr_{}", "0123abcd".repeat(8)));
    for name in [user.to_string(), token.clone()] {
        let folder = &site.settings.models.trusted_keys;
        std::fs::write(folder.join(format!("{name}.pub")), "no key").unwrap();
        program.hang_up();
        receiver.wait_for(|calls| events(calls).pop()).await;
        std::fs::remove_file(folder.join(format!("{name}.pub"))).unwrap();
    }
    assert_eq!(program.terminate().await.code(), Some(0));
    let calls = receiver.calls();
    let event = events(&calls).remove(0);
    let message = event["message"].as_str().unwrap();
    assert!(
        message.contains("models.trusted_keys") && message.contains('…'),
        "{event}"
    );
    assert_eq!(
        (&event["logger"], &event["release"]),
        (&"ltr_host::models::loader".into(), &"ltr-host@0.1.0".into())
    );
    for absent in ["server_name", "user", "request", "breadcrumbs"] {
        assert!(event[absent].is_null(), "{absent}: {event}");
    }
    let call = &calls[0];
    assert_eq!(call.path, "/api/7/envelope/");
    assert!(call.headers["x-sentry-auth"].to_str().unwrap().contains(KEY));
    let sent = text(&calls);
    assert!(!sent.contains(&user.to_string()) && !sent.contains(&token), "{sent}");
    let logged = std::fs::read_to_string(log(&site)).unwrap();
    assert!(!logged.contains(KEY), "{logged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_reported_with_its_place_and_without_what_it_quotes() {
    let receiver = Receiver::start().await;
    let mut settings = Settings::default();
    settings.telemetry.sentry_dsn = settings::Secret::new(format!("http://{KEY}@{}/7", receiver.address));
    let telemetry = telemetry::start(&settings, Some("off")).unwrap();
    let user = Uuid::from_u128(78);
    let panicked = std::thread::spawn(move || panic!("no lawyer \"adv_1\" for {user} at 10.1.2.3:99")).join();
    assert!(panicked.is_err());
    // Panics of other tests are for whoever runs them.
    drop(std::panic::take_hook());
    // Whoever ends now waits for what has not left yet.
    tokio::task::spawn_blocking(move || drop(telemetry)).await.unwrap();
    let calls = receiver.calls();
    let events = events(&calls);
    let panics = events.iter().map(|event| &event["exception"]["values"][0]);
    let panic = panics
        .clone()
        .find(|panic| panic["value"] == "no lawyer \"…\" for … at …");
    let panic = panic.unwrap_or_else(|| panic!("{events:?}"));
    assert_eq!(
        (&panic["type"], &panic["mechanism"]["handled"]),
        (&"panic".into(), &false.into())
    );
    assert!(panic["stacktrace"].to_string().contains("reports.rs"), "{panic}");
    let sent = text(&calls);
    for secret in [&user.to_string(), "adv_1", "10.1.2.3"] {
        assert!(!sent.contains(secret), "{secret}: {sent}");
    }
}

#[tokio::test]
async fn an_end_does_not_wait_long_for_a_server_that_never_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let dsn = format!("http://{KEY}@{}/7", silent.local_addr().unwrap());
    let site = Site::new();
    let program = Program::start(&site, &[("LTR_TELEMETRY__SENTRY_DSN", Path::new(&dsn))]);
    std::fs::write(site.settings.models.trusted_keys.join("broken.pub"), "no key").unwrap();
    program.hang_up();
    // The report is on its way.
    let (_connection, _) = silent.accept().unwrap();
    assert_eq!(program.terminate().await.code(), Some(0));
}
