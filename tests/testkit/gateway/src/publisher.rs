use std::path::{Path, PathBuf};

use runtime::artefact::keys::{self, SigningKey};
use runtime::artefact::{self, ArtefactError, Golden, Manifest};
use runtime::{CONTRACT_VERSION, Window};
use serde_json::{Value, json};

/// Signs models and publishes them, as the nightly run does.
pub struct Publisher {
    /// What it signs with.
    pub key: SigningKey,
    /// What the manifests say of the offline gate.
    pub gate: Value,
    models: PathBuf,
}

impl Publisher {
    /// A publisher into the models' directory `models`, whose key the ring `trusted` believes from here on.
    ///
    /// # Panics
    /// If the public key cannot be written.
    pub fn new(models: &Path, trusted: &Path) -> Publisher {
        let key = SigningKey::from_bytes(&[7; 32]);
        keys::write_verifying_key(&trusted.join("publish.pub"), &key.verifying_key()).unwrap();
        Publisher {
            key,
            gate: json!({ "passed": true }),
            models: models.to_owned(),
        }
    }

    /// Publishes a version with these features, with `component` and the other `files` in it; its folder.
    ///
    /// # Errors
    /// As [`artefact::publish`].
    pub fn publish(
        &self,
        version: &str,
        features: &[&str],
        component: &[u8],
        files: &[(&str, &[u8])],
        golden: Golden,
    ) -> Result<PathBuf, ArtefactError> {
        let manifest = Manifest {
            manifest_version: artefact::MANIFEST_VERSION,
            version: version.to_owned(),
            contract_version: CONTRACT_VERSION.to_owned(),
            feature_names: features.iter().map(|name| (*name).to_owned()).collect(),
            training_window: Window {
                start: "2026-09-01T00:00:00Z".into(),
                end: "2026-10-01T00:00:00Z".into(),
            },
            data_sha256: "00".repeat(32),
            created_at: "2026-10-01T02:15:00Z".into(),
            files: Default::default(),
            metrics: json!({}),
            gate: self.gate.clone(),
            golden,
        };
        let files = [files, &[(artefact::SCORER, component)]].concat();
        artefact::publish(&self.models.join("ltr"), &files, manifest, &self.key)
    }
}

/// Golden rows of a component whose score is the first feature, such as an honest one of `evil`.
pub fn golden_of_first_feature(rows: Vec<Vec<Option<f64>>>) -> Golden {
    Golden {
        scores: rows.iter().filter_map(|row| row[0]).collect(),
        rows,
    }
}
