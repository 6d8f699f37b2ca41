//! Models of known quality against the simulated truth, from the simulation to the ledger.

use chrono::{DateTime, Utc};
use ltr_trainer::keygen;
use ltr_trainer::simulate::{self, Conditions, Quality, Truth};
use reqwest::StatusCode;
use serde_json::Value;
use settings::Settings;

use crate::harness::{Site, TOKEN};

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_went_around_the_gate_is_named_in_the_manifest_and_in_the_ledger() {
    let site = Site::patient()
        .with("LTR_HOST__CLOCK", "header")
        .with("LTR_HOST__SCORE_CHALLENGER", "false");
    let gateway = site.start().await;
    let url = format!("http://{}", gateway.address());
    let of = |name: &str| site.path().join(name).display().to_string();
    let variables = [
        ("LTR_CLIENT__TOKEN", TOKEN.to_owned()),
        ("LTR_MODELS__DIR", of("var/models")),
        ("LTR_MODELS__TRUSTED_KEYS", of("var/keys/trusted")),
        ("LTR_PUBLISH__SIGNING_KEY", of("simulation.key")),
        ("LTR_PUBLISH__NOTIFY_URL", format!("{url}/models/notify?wait=1")),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let settings = Settings::load(None, variables).unwrap();
    let key = keygen::Args {
        name: "simulation".to_owned(),
        rotate: false,
    };
    keygen::run(&key, &settings).unwrap();
    gateway.signal("-HUP");
    let from: DateTime<Utc> = "2026-10-01T08:00:00Z".parse().unwrap();
    let args = simulate::Args {
        url,
        from,
        days: 1,
        cases_per_day: 5,
        seed: 7,
        truth: Truth::Interactions,
        examination: Some(1.0),
        conditions: Conditions {
            day_shocks: 0.3,
            repeat_users: Some(0.2),
            late_labels: Some(0.1),
            drift: 0.3,
            ..Conditions::default()
        },
        publish_ranker: Some(Quality::Random),
        force_shadow: true,
        json: true,
    };
    simulate::run(args, &settings).await.unwrap();

    let manifest = std::fs::read(site.path().join("var/models/ltr/20261001T000000Z/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let name = "simulate --publish-ranker random";
    assert_eq!(manifest["gate"]["bypassed_as"], name);
    let (status, text) = gateway
        .get_with("/rollout", &[("x-ltr-time", "2026-10-02T00:00:00Z")])
        .await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let rollout: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(rollout["challenger"], "20261001T000000Z");
    let history = rollout["history"].as_array().unwrap();
    let entry = history.iter().find(|entry| entry["action"] == "challenger").unwrap();
    assert_eq!(entry["detail"]["gate_bypassed_as"], name, "{entry:#}");
    assert!(site.logged().contains("AROUND THE GATE"), "{}", site.logged());
}
