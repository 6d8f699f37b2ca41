//! Trust through the program itself: what was tampered with, keys that change, certificates that change.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use evil::Behaviour;
use ranking::features::DEFAULT_FEATURES;
use reqwest::Response;
use runtime::artefact::keys::{self, SigningKey};
use runtime::artefact::{self, KeyId};
use serde_json::{Value, json};
use testkit::PATIENCE;
use testkit_gateway::Serving;

use crate::{Site, TOKEN, VERSION, case};

/// Where the program's log goes.
pub(crate) fn log(site: &Site) -> PathBuf {
    site.settings.models.dir.with_file_name("gateway.log")
}

/// `ltr-host serve` on a site; killed when it is dropped.
pub(crate) struct Program {
    serving: Serving,
    pub address: String,
}

impl Program {
    /// Starts it with the site's settings, these among them.
    pub(crate) fn start(site: &Site, more: &[(&str, &Path)]) -> Program {
        let settings = &site.settings;
        let mut command = Command::new(env!("CARGO_BIN_EXE_ltr-host"));
        command
            .arg("serve")
            .env_clear()
            .env("LTR_HOST__LISTEN", "127.0.0.1:0")
            .env("LTR_DATABASE__URL", settings.database.url.expose())
            .env("LTR_DATABASE__SPOOL_DIR", &settings.database.spool_dir)
            .env("LTR_DATABASE__RANK_WAITS", "true")
            .env("LTR_MODELS__DIR", &settings.models.dir)
            .env("LTR_MODELS__TRUSTED_KEYS", &settings.models.trusted_keys)
            .env("LTR_MODELS__CODE_CACHE_DIR", &settings.models.code_cache_dir)
            .env("LTR_PRIVACY__SALT_FILE", &settings.privacy.salt_file)
            .env("LTR_HOST__DEADLINE_MS", "5000")
            .env("LTR_HOST__LTR_BUDGET_MS", "4000")
            .env("LTR_ACCESS__TOKENS", format!("[{}]", settings.access.tokens[0]))
            .envs(more.iter().copied());
        let serving = Serving::start(command, &log(site));
        Program {
            address: serving.address().to_owned(),
            serving,
        }
    }

    /// `kill -HUP`.
    pub(crate) fn hang_up(&self) {
        self.signal("-HUP");
    }

    pub(crate) fn signal(&self, signal: &str) {
        self.serving.signal(signal);
    }

    /// `kill -TERM`, and how it ended.
    pub(crate) async fn terminate(self) -> ExitStatus {
        self.signal("-TERM");
        self.ended().await
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) -> ExitStatus {
        self.serving.ended().await
    }

    pub(crate) async fn call(&self, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.send(path, &[], body).await
    }

    /// With these headers.
    pub(crate) async fn send(&self, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> (u16, Value) {
        let answer = self.request(path, headers, body).await;
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// The answer, not read yet.
    pub(crate) async fn request(&self, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Response {
        let client = testkit_gateway::http().build().unwrap();
        let url = format!("http://{}{path}", self.address);
        let mut request = match body {
            None => client.get(url).bearer_auth(TOKEN),
            Some(body) => client.post(url).bearer_auth(TOKEN).json(body),
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn notify(&self, version: &str) -> (u16, Value) {
        self.call("/models/notify?wait=1", Some(&json!({ "version": version })))
            .await
    }

    /// Lets the newest model answer all requests, on an operator's word.
    pub(crate) async fn newest_serves(&self) {
        let state = self.call("/rollout", None).await.1;
        let known = [&state["challenger"], &state["champion"]];
        let version = known.into_iter().find(|version| version.is_string());
        let order = json!({ "weight": 100, "version": version });
        let (status, answer) = self.call("/rollout/weight", Some(&order)).await;
        assert_eq!(status, 200, "{answer}");
    }

    pub(crate) async fn source(&self) -> Value {
        self.call("/rank", Some(&case(1))).await.1["source"].clone()
    }
}

#[tokio::test]
async fn one_flipped_bit_in_any_file_is_refused_by_the_name_of_the_file() {
    let site = Site::new();
    let program = Program::start(&site, &[]);
    site.publish(VERSION, Behaviour::Honest);
    assert_eq!(program.notify(VERSION).await.0, 200);
    program.newest_serves().await;
    let files = [
        artefact::MODEL,
        artefact::FEATURE_MAP,
        artefact::SCORER,
        artefact::MANIFEST,
        artefact::SIGNATURE,
    ];
    for (number, file) in files.into_iter().enumerate() {
        let version = format!("v{number}");
        site.publish_files(
            &version,
            &DEFAULT_FEATURES,
            &[(artefact::MODEL, b"tree"), (artefact::FEATURE_MAP, b"{}")],
            Behaviour::Honest,
        );
        let path = site.settings.models.dir.join("ltr").join(&version).join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (status, answer) = program.notify(&version).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert_eq!(status, 422);
        assert!(message.contains(file), "{file}: {message}");
        assert_eq!(program.source().await, "ltr", "{file}");
    }
}

#[tokio::test]
async fn a_key_is_added_without_a_signal_and_revoked_by_one() {
    let mut site = Site::new();
    site.publish(VERSION, Behaviour::Honest);
    let program = Program::start(&site, &[]);
    // Whether it was restored already or not, it is loaded after this.
    assert_eq!(program.notify(VERSION).await.0, 200);
    program.newest_serves().await;
    assert_eq!(program.source().await, "ltr");

    let first = KeyId::of(&site.publisher.key.verifying_key()).to_string();
    site.publisher.key = SigningKey::from_bytes(&[9; 32]);
    site.publish("v2", Behaviour::Honest);
    assert_eq!(program.notify("v2").await.0, 422);
    let keys = &site.settings.models.trusted_keys;
    keys::write_verifying_key(&keys.join("second.pub"), &site.publisher.key.verifying_key()).unwrap();
    std::fs::rename(keys.join("publish.pub"), keys.join("publish.revoked")).unwrap();
    program.hang_up();
    let gone = async { while program.source().await == "ltr" {} };
    tokio::time::timeout(PATIENCE, gone)
        .await
        .expect("what the revoked key signed is unloaded");
    let refused = program.call("/models", None).await.1["refused"].clone();
    let entry = refused
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["version"] == VERSION);
    let entry = entry.unwrap_or_else(|| panic!("{refused}"));
    assert_eq!(entry["code"], "revoked_key");
    assert!(entry["message"].as_str().unwrap().contains(&first), "{entry}");

    assert_eq!(program.notify("v2").await.0, 200);
    program.newest_serves().await;
    assert_eq!(program.source().await, "ltr");
}

#[tokio::test]
async fn models_that_nobody_signed_are_loud_in_the_log_and_in_the_metrics() {
    let site = Site::new();
    site.publish(VERSION, Behaviour::Honest);
    let signature = site
        .settings
        .models
        .dir
        .join("ltr")
        .join(VERSION)
        .join(artefact::SIGNATURE);
    std::fs::remove_file(signature).unwrap();
    for (allowed, status) in [("false", 422), ("true", 200)] {
        let program = Program::start(&site, &[("LTR_MODELS__ALLOW_UNSIGNED", Path::new(allowed))]);
        assert_eq!(program.notify(VERSION).await.0, status);
        let page = program.request("/metrics", &[], None).await.text().await.unwrap();
        let metric = format!("\nltr_unsigned_models_allowed {}\n", u8::from(allowed == "true"));
        assert!(page.contains(&metric), "{page}");
        let text = std::fs::read_to_string(log(&site)).unwrap();
        // At the start, and at each load.
        let warnings = text.matches("NOBODY SIGNED").count();
        assert_eq!(warnings >= 2, allowed == "true", "{text}");
        assert!(!text.contains(TOKEN), "{text}");
    }
}
