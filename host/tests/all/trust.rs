//! Who may publish, and what becomes of a model whose publisher is no longer trusted.

use std::path::PathBuf;

use evil::Behaviour;
use evil::entries::Entry;
use runtime::artefact::keys::{self, SigningKey};
use runtime::artefact::{self, KeyId};
use serde_json::json;

use crate::{Running, Site, VERSION, case};

const NEWER: &str = "20261002T021500Z";

impl Site {
    fn key_file(&self, name: &str) -> PathBuf {
        self.settings.models.trusted_keys.join(name)
    }

    fn revoke(&self, name: &str) {
        let [trusted, revoked] = ["pub", "revoked"].map(|ending| self.key_file(&format!("{name}.{ending}")));
        std::fs::rename(trusted, revoked).unwrap();
    }

    fn id(&self) -> String {
        KeyId::of(&self.publisher.key.verifying_key()).to_string()
    }
}

async fn notify(running: &Running, version: &str) -> crate::Answer {
    running
        .post("/models/notify?wait=1", &json!({"version": version}))
        .await
}

async fn source(running: &Running) -> serde_json::Value {
    running.rank(&[], &case(1)).await.ok()["source"].clone()
}

#[tokio::test]
async fn without_the_publishers_key_no_model_is_trusted_until_it_is_there() {
    let site = Site::new();
    std::fs::remove_dir_all(&site.settings.models.trusted_keys).unwrap();
    site.publish(VERSION, Behaviour::Honest);
    let running = site.start().await;
    let refused = running.get("/models").await.ok()["refused"][0].clone();
    assert_eq!(refused["code"], "unknown_key");
    assert!(refused["message"].as_str().unwrap().contains(&site.id()), "{refused}");
    assert_eq!(running.rank(&[], &case(1)).await.ok()["fallback"], "model_refused");

    keys::write_verifying_key(&site.key_file("publish.pub"), &site.publisher.key.verifying_key()).unwrap();
    notify(&running, VERSION).await.ok();
    assert_eq!(running.rank(&[], &case(1)).await.ok()["fallback"], json!(null));
    assert_eq!(running.get("/models").await.ok()["loaded"][0]["signed_by"], site.id());
}

#[tokio::test]
async fn a_key_is_rotated_without_a_restart_and_the_old_ones_model_serves_on_until_it_is_revoked() {
    let mut site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    let old = site.id();
    site.publisher.key = SigningKey::from_bytes(&[8; 32]);
    site.publish(NEWER, Behaviour::Honest);
    assert_eq!(notify(&running, NEWER).await.refused(422)["code"], "unknown_key");
    keys::write_verifying_key(&site.key_file("second.pub"), &site.publisher.key.verifying_key()).unwrap();
    notify(&running, NEWER).await.ok();
    running.ltr_serves().await;
    assert_eq!(source(&running).await, "ltr");

    site.revoke("publish");
    running.gateway.release.reload_keys().await;
    assert_eq!(source(&running).await, "ltr", "the new key is not concerned");
    let error = notify(&running, VERSION).await.refused(422);
    assert_eq!(error["code"], "revoked_key");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&old) && message.contains("publish"), "{message}");
}

#[tokio::test]
async fn a_loaded_model_goes_when_its_key_is_revoked_and_a_champion_comes_back_with_its_key() {
    let site = Site::new();
    site.publish(VERSION, Behaviour::Honest);
    let running = site.start().await;
    running.ltr_serves().await;
    assert_eq!(source(&running).await, "ltr");

    site.revoke("publish");
    running.gateway.release.reload_keys().await;
    let answer = running.rank(&[], &case(1)).await.ok();
    assert_eq!(
        (&answer["source"], &answer["fallback"]),
        (&json!("legacy"), &json!("model_refused"))
    );
    let models = running.get("/models").await.ok();
    assert_eq!(models["loaded"], json!([]));
    let refused = &models["refused"][0];
    assert_eq!(
        (&refused["version"], &refused["code"]),
        (&json!(VERSION), &json!("revoked_key"))
    );
    assert!(refused["message"].as_str().unwrap().contains(&site.id()), "{refused}");

    std::fs::rename(site.key_file("publish.revoked"), site.key_file("publish.pub")).unwrap();
    running.gateway.release.reload_keys().await;
    assert_eq!(source(&running).await, "ltr");
    assert_eq!(running.get("/models").await.ok()["loaded"][0]["role"], "champion");
}

/// The files of the ring that `GET /models` complains of.
async fn faults(running: &Running) -> Vec<String> {
    let faults = running.get("/models").await.ok()["keys"]["faults"].take();
    let names = faults.as_array().unwrap().iter();
    names.map(|fault| fault["file"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_told_and_keeps_no_other_from_counting() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    std::fs::write(site.key_file("torn.pub"), "half a k").unwrap();
    running.gateway.release.reload_keys().await;
    assert_eq!(source(&running).await, "ltr");
    assert_eq!(faults(&running).await, ["torn.pub"]);
    assert_eq!(running.metric("ltr_key_ring_faults").await, 1.0);
    site.publish(NEWER, Behaviour::Honest);
    notify(&running, NEWER).await.ok();

    // Its own key: what serves is not unloaded for a torn file, and nothing new is believed by it.
    std::fs::write(site.key_file("publish.pub"), "half a k").unwrap();
    running.gateway.release.reload_keys().await;
    assert_eq!(source(&running).await, "ltr");
    site.publish("20261103T021500Z", Behaviour::Honest);
    let error = notify(&running, "20261103T021500Z").await.refused(422);
    assert_eq!(error["code"], "unreadable_keys");
    assert!(error["message"].as_str().unwrap().contains("publish.pub"), "{error}");
}

#[tokio::test]
async fn a_revocation_counts_whatever_else_of_the_ring_cannot_be_read() {
    for entry in Entry::ALL {
        for stray in ["a.pub", "z.pub", "z.revoked"] {
            let site = Site::new();
            let running = site.start_with(Behaviour::Honest).await;
            running.ltr_serves().await;
            assert_eq!(source(&running).await, "ltr");
            entry.make(&site.key_file(stray));
            site.revoke("publish");
            running.gateway.release.reload_keys().await;
            assert_eq!(source(&running).await, "legacy", "{entry:?} as {stray}");
            assert_eq!(faults(&running).await, [stray], "{entry:?}");
        }
    }
}

#[tokio::test]
async fn a_revocation_that_cannot_be_read_ends_the_service_of_the_key_of_its_name() {
    let site = Site::new();
    let running = site.start_with(Behaviour::Honest).await;
    running.ltr_serves().await;
    std::fs::remove_file(site.key_file("publish.pub")).unwrap();
    Entry::Fifo.make(&site.key_file("publish.revoked"));
    running.gateway.release.reload_keys().await;
    let models = running.get("/models").await.ok();
    assert_eq!(
        (&models["loaded"], &models["refused"][0]["code"]),
        (&json!([]), &json!("revoked_key"))
    );
    running.stop().await;

    // A new process never saw that key, so that any could be meant: nothing is believed until the file is mended.
    keys::write_verifying_key(&site.key_file("publish-2027.pub"), &site.publisher.key.verifying_key()).unwrap();
    let running = site.start().await;
    let models = running.get("/models").await.ok();
    assert_eq!(models["refused"][0]["code"], "unreadable_keys");
    assert!(
        models["keys"]["closed"].as_str().unwrap().contains("publish.revoked"),
        "{models}"
    );
    assert_eq!(running.metric("ltr_key_ring_closed").await, 1.0);
    std::fs::remove_file(site.key_file("publish.revoked")).unwrap();
    notify(&running, VERSION).await.ok();
    assert_eq!(running.metric("ltr_key_ring_closed").await, 0.0);
}

#[tokio::test]
async fn a_model_that_nobody_signed_is_loaded_only_where_that_is_allowed() {
    let mut site = Site::new();
    site.publish(VERSION, Behaviour::Honest);
    let signature = site
        .settings
        .models
        .dir
        .join("ltr")
        .join(VERSION)
        .join(artefact::SIGNATURE);
    std::fs::remove_file(signature).unwrap();
    let running = site.start().await;
    assert_eq!(running.get("/models").await.ok()["refused"][0]["code"], "unsigned");
    running.stop().await;

    site.settings.models.allow_unsigned = true;
    let running = site.start().await;
    let loaded = running.get("/models").await.ok()["loaded"][0].clone();
    assert_eq!(
        (&loaded["version"], &loaded["signed_by"]),
        (&json!(VERSION), &json!(null))
    );
}
