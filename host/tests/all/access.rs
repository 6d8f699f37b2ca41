//! Who may do what.

use hyper::Method;
use ltr_host::router::Router;
use serde_json::json;
use settings::Role;

use crate::{Answer, Running, Site, TOKEN, VERSION, case, token};

/// Each guarded route, the role it needs, and a body that it reads.
const ROUTES: [(&str, Role); 10] = [
    ("/rank", Role::Rank),
    ("/ltr/score", Role::Rank),
    ("/events", Role::Ingest),
    ("/models/notify", Role::Admin),
    ("/rollout/promote", Role::Admin),
    ("/rollout/drill", Role::Admin),
    ("/rollout/hold", Role::Admin),
    ("/rollout/pin", Role::Admin),
    ("/rollout/rollback", Role::Admin),
    ("/rollout/weight", Role::Admin),
];

async fn post_as(running: &Running, path: &str, authorization: Option<&str>) -> Answer {
    let headers: Vec<_> = authorization
        .map(|value| ("authorization", value))
        .into_iter()
        .chain([JSON])
        .collect();
    running
        .send_bare(Method::POST, path, &headers, r#"{"weight": 50}"#)
        .await
}

#[tokio::test]
async fn each_route_takes_the_tokens_of_its_role_and_no_others() {
    let mut site = Site::new();
    site.settings.access.tokens = Role::ALL
        .map(|role| token(role.name(), &format!("secret of {}", role.name()), &[role]))
        .to_vec();
    let running = site.start().await;
    for (path, needed) in ROUTES {
        for role in Role::ALL {
            let answer = post_as(&running, path, Some(&format!("Bearer secret of {}", role.name()))).await;
            if role == needed {
                assert!(![401, 403].contains(&answer.status.as_u16()), "{path} as {role:?}");
                continue;
            }
            let error = answer.refused(403);
            assert_eq!(error["code"], "wrong_role");
            let message = error["message"].as_str().unwrap();
            assert!(
                message.contains(role.name()) && message.contains(needed.name()) && !message.contains("secret"),
                "{path}: {message}"
            );
        }
    }
}

#[tokio::test]
async fn without_a_known_token_the_answer_says_what_to_send_and_repeats_no_token() {
    let site = Site::new();
    let running = site.start().await;
    for (path, role) in ROUTES {
        for (authorization, code) in [
            (None, "no_token"),
            (Some(TOKEN.to_owned()), "no_token"),
            (Some(format!("Basic {TOKEN}")), "no_token"),
            (Some(format!("Bearer {TOKEN}x")), "unknown_token"),
            (Some("Bearer ".to_owned()), "unknown_token"),
        ] {
            let answer = post_as(&running, path, authorization.as_deref()).await;
            let error = answer.refused(401);
            assert_eq!(error["code"], code, "{path} {authorization:?}");
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"ltr\"");
            assert!(!String::from_utf8_lossy(&answer.body).contains(TOKEN));
            if code == "no_token" {
                let message = error["message"].as_str().unwrap();
                assert!(
                    message.contains("Authorization: Bearer") && message.contains(role.name()),
                    "{message}"
                );
            }
        }
    }
    assert_eq!(running.get("/rollout").await.ok()["weight"], 0);
    // The name of the scheme is in any case.
    let answer = post_as(&running, "/rollout/rollback", Some(&format!("bearer {TOKEN}"))).await;
    answer.ok();
}

#[tokio::test]
async fn what_shows_a_state_needs_no_token() {
    let site = Site::new();
    let running = site.start().await;
    for path in ["/models", "/healthz", "/readyz", "/metrics"] {
        let answer = running.send_bare(Method::GET, path, &[], "").await;
        assert_eq!(answer.status, 200, "{path}");
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// What a request says of itself, and the status and code that it gets.
type Refused = (&'static [(&'static str, &'static str)], u16, &'static str);

/// A gateway without tokens, whose challenger is [`VERSION`].
async fn open() -> (Site, Running) {
    let mut site = Site::new();
    site.settings.access.tokens.clear();
    site.publish(VERSION, evil::Behaviour::Honest);
    let running = site.start().await;
    (site, running)
}

#[tokio::test]
async fn with_no_token_configured_data_flows_and_nobody_changes_the_rollout() {
    let (_site, running) = open().await;
    let post = async |path: &str, body: String| running.send_bare(Method::POST, path, &[JSON], body).await;
    post("/rank", case(1).to_string()).await.ok();
    let body = json!({ "version": VERSION }).to_string();
    post("/models/notify?wait=1", body).await.ok();
    for authorization in [None, Some("Bearer "), Some("Bearer anything")] {
        for (path, _) in &ROUTES[4..] {
            let error = post_as(&running, path, authorization).await.refused(403);
            assert_eq!(error["code"], "no_tokens");
            assert!(error["message"].as_str().unwrap().contains("access.tokens"), "{error}");
        }
    }
}

#[tokio::test]
async fn with_no_token_configured_no_web_page_gets_an_answer() {
    let (_site, running) = open().await;
    const LOCAL: (&str, &str) = ("host", "127.0.0.1:8080");
    const OWN: (&str, &str) = ("origin", "http://127.0.0.1:8080");
    let page: [Refused; 9] = [
        (&[("host", "evil.example"), JSON], 403, "foreign_host"),
        (&[("host", "evil.example:8080"), JSON], 403, "foreign_host"),
        (
            &[LOCAL, JSON, ("origin", "https://evil.example")],
            403,
            "foreign_origin",
        ),
        (&[LOCAL, JSON, ("origin", "null")], 403, "foreign_origin"),
        (&[LOCAL, JSON, ("sec-fetch-site", "cross-site")], 403, "foreign_origin"),
        (
            &[LOCAL, JSON, OWN, ("origin", "https://evil.example")],
            403,
            "foreign_origin",
        ),
        (
            &[
                LOCAL,
                JSON,
                ("sec-fetch-site", "none"),
                ("sec-fetch-site", "cross-site"),
            ],
            403,
            "foreign_origin",
        ),
        (&[LOCAL, ("content-type", "text/plain")], 415, "content_type"),
        (&[LOCAL], 415, "content_type"),
    ];
    for (headers, status, code) in page {
        for path in ["/rank", "/ltr/score", "/events", "/models/notify"] {
            let answer = running
                .send_bare(Method::POST, path, headers, case(1).to_string())
                .await;
            let error = answer.refused(status);
            assert_eq!(error["code"], code, "{path} {headers:?}");
            assert!(error["message"].as_str().unwrap().contains("access.tokens"), "{error}");
        }
    }
    // Nor what it could read, or have worked out, once its name stands for this address.
    for path in ["/rollout", "/models", "/metrics"] {
        for headers in [[("host", "evil.example")], [("sec-fetch-site", "cross-site")]] {
            let answer = running.send_bare(Method::GET, path, &headers, "").await;
            answer.refused(403);
        }
    }
    assert!(
        running.get("/models").await.ok()["refused"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    // Where tokens are configured no page has one, and a proxy may call the gateway as it likes.
    let guarded = Site::new().start().await;
    let headers = [("host", "shop.example"), ("origin", "https://shop.example")];
    guarded
        .send(Method::POST, "/rank", &headers, case(1).to_string())
        .await
        .ok();
}

#[tokio::test]
async fn a_name_that_no_version_can_have_is_refused_and_nothing_of_it_stays() {
    let (_site, running) = open().await;
    let long = "x".repeat(7 << 20);
    for name in [long.as_str(), "", ".hidden", "a/b", "../v", "v 1", "v\n1", "é"] {
        for path in ["/models/notify", "/models/notify?wait=1"] {
            let body = json!({ "version": name }).to_string();
            let answer = running.send_bare(Method::POST, path, &[JSON], body).await;
            assert!(answer.body.len() < 2_000, "{} bytes", answer.body.len());
            assert_eq!(answer.refused(422)["field"], "version");
        }
    }
    let models = running.get("/models").await;
    assert!(models.body.len() < 10_000, "{} bytes", models.body.len());
    assert!(models.ok()["refused"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn who_shows_no_token_brings_no_older_version_back_and_an_admin_does() {
    let (mut site, running) = open().await;
    let (older, newer) = ("20260901T021500Z", "20261102T021500Z");
    // A name that is no time counts as older than any time.
    let nameless = "old";
    for version in [older, newer, nameless] {
        site.publish(version, evil::Behaviour::Honest);
    }
    let notify = async |version: &str| {
        let body = json!({ "version": version }).to_string();
        running
            .send_bare(Method::POST, "/models/notify?wait=1", &[JSON], body)
            .await
    };
    let challenger = async |running: &Running| running.get("/rollout").await.ok()["challenger"].clone();
    let error = notify(older).await.refused(422);
    assert_eq!(error["code"], "older_version");
    assert!(error["message"].as_str().unwrap().contains("access.tokens"), "{error}");
    assert_eq!(notify(nameless).await.refused(422)["code"], "older_version");
    assert_eq!(challenger(&running).await, VERSION);
    notify(newer).await.ok();
    assert_eq!(challenger(&running).await, newer);
    assert_eq!(notify(VERSION).await.refused(422)["code"], "older_version");
    assert_eq!(challenger(&running).await, newer);
    running.stop().await;

    // Nor where the newer one is on record alone.
    let running = site.start().await;
    running.stop().await;
    std::fs::remove_dir_all(site.settings.models.dir.join("ltr").join(newer)).unwrap();
    let running = site.start().await;
    let body = json!({ "version": VERSION }).to_string();
    let answer = running.send_bare(Method::POST, "/models/notify?wait=1", &[JSON], body);
    assert_eq!(answer.await.refused(422)["code"], "older_version");
    running.stop().await;

    site.settings.access.tokens = vec![token("tests", TOKEN, &Role::ALL)];
    let running = site.start().await;
    running
        .post("/models/notify?wait=1", &json!({ "version": older }))
        .await
        .ok();
    assert_eq!(challenger(&running).await, older);
}

#[tokio::test]
async fn the_history_names_the_owner_of_the_token() {
    let mut site = Site::new();
    site.settings
        .access
        .tokens
        .push(token("night-shift", "hush", &[Role::Admin]));
    let running = site.start().await;
    post_as(&running, "/rollout/rollback", Some("Bearer hush")).await.ok();
    running.gateway.release.refresh_snapshot().await.unwrap();
    let history = running.get("/rollout").await.ok()["history"].clone();
    assert_eq!(history[0]["actor"], "night-shift", "{history}");
}

#[tokio::test]
async fn operators_can_have_an_address_of_their_own() {
    let site = Site::new();
    let running = site.start().await;
    let data = Router::data(&running.gateway);
    let admin = Router::admin(&running.gateway);
    for (front, served, absent) in [
        (
            data,
            ["/rank", "/ltr/score", "/events"].as_slice(),
            ["/rollout", "/models", "/metrics"].as_slice(),
        ),
        (
            admin,
            &["/rollout", "/models", "/metrics"],
            &["/rank", "/ltr/score", "/events"],
        ),
    ] {
        let side = Running {
            front,
            gateway: running.gateway.clone(),
            written: tokio::spawn(async {}),
        };
        for path in served.iter().chain(&["/healthz", "/readyz"]) {
            assert_ne!(side.get(path).await.status, 404, "{path}");
        }
        for path in absent {
            assert_eq!(side.get(path).await.status, 404, "{path}");
        }
    }
}
