//! What is published of a model, wherever it comes from.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use chrono::{DateTime, SecondsFormat, Utc};
use runtime::artefact::{self, ArtefactError, Manifest, keys};
use runtime::{CONTRACT_VERSION, Engine, Window};
use serde::Serialize;
use serde_json::Value;
use settings::Settings;

use super::{Published, golden};
use crate::compile;
use crate::feature_map::FeatureMap;
use crate::files;
use crate::night::version_of;
use crate::outcome::Permanent;

/// A model with all that its artefact says of it.
#[derive(Debug)]
pub struct Publication<'a> {
    /// LightGBM model text.
    pub model: &'a [u8],
    /// Text of `feature_map`.
    pub feature_map_json: &'a [u8],
    /// Order and scaling of the features.
    pub feature_map: &'a FeatureMap,
    /// Times of the first and the last case that it learned from.
    pub training_window: Window,
    /// SHA-256 of what it learned from, lower-case hexadecimal.
    pub data_sha256: &'a str,
    /// What it was measured to be.
    pub metrics: Value,
    /// Rows that it never learned from, in the order of the features; some become golden rows.
    pub rows: Vec<Vec<f64>>,
}

/// The manifest's `gate` of a model that no gate has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bypass {
    passed: bool,
    /// Who went around the gate: [`Manifest::gate_bypassed_as`].
    pub bypassed_as: String,
}

impl Bypass {
    /// By this name.
    pub fn new(bypassed_as: String) -> Bypass {
        Bypass {
            passed: false,
            bypassed_as,
        }
    }
}

impl Publication<'_> {
    /// Compiles, checks and signs the model, and writes its artefact. `gate`: what the gate said.
    ///
    /// # Errors
    /// An unreadable key, a component whose scores differ from LightGBM's in any bit, or a version that exists with
    /// another model. Nothing is published then.
    pub(super) fn write(&self, gate: Value, as_of: DateTime<Utc>, settings: &Settings) -> anyhow::Result<Published> {
        let key = keys::read_signing_key(&settings.publish.signing_key)
            .context("publish.signing_key (make one with `ltr-trainer keygen`)")?;
        let version = version_of(as_of);
        let request = compile::Request {
            model: self.model,
            feature_map: Some(self.feature_map),
            model_version: &version,
            training_window: Some((&self.training_window.start, &self.training_window.end)),
        };
        let component = compile::compile(&request).context("compiling the model")?;
        let filter = compile::edge_filter(&request).context("compiling the model")?;
        let engine = Engine::new(settings.models.limits())?;
        let scorer = engine.load(&component).context("loading the compiled model")?;
        let golden = golden::golden(&scorer, self)?;
        let golden_rows = golden.rows.len();
        let manifest = Manifest {
            manifest_version: artefact::MANIFEST_VERSION,
            version: version.clone(),
            contract_version: CONTRACT_VERSION.to_owned(),
            feature_names: self.feature_map.names().to_vec(),
            training_window: self.training_window.clone(),
            data_sha256: self.data_sha256.to_owned(),
            created_at: as_of.to_rfc3339_opts(SecondsFormat::Secs, true),
            files: Default::default(),
            metrics: self.metrics.clone(),
            gate,
            golden,
        };
        let files: [(&str, &[u8]); 4] = [
            (artefact::MODEL, self.model),
            (artefact::FEATURE_MAP, self.feature_map_json),
            (artefact::SCORER, &component),
            (artefact::EDGE_FILTER, &filter),
        ];
        let dir = match artefact::publish(&settings.models.dir.join("ltr"), &files, manifest, &key) {
            Err(ArtefactError::Exists(dir)) => same_as_published(dir, &files, self.data_sha256)?,
            published => published?,
        };
        Ok(Published {
            version,
            dir,
            scorer_bytes: component.len(),
            golden_rows,
            notified: None,
        })
    }
}

/// The artefact in `dir`, if it is of these files and this data: then a step that was repeated has
/// nothing to write.
fn same_as_published(dir: PathBuf, files: &[(&str, &[u8])], data_sha256: &str) -> anyhow::Result<PathBuf> {
    let published: Manifest = files::read_json(&dir.join(artefact::MANIFEST))?;
    let is_same = |(name, bytes): &(&str, &[u8])| published.files.get(*name) == Some(&files::sha256(bytes));
    ensure!(
        published.data_sha256 == data_sha256 && files.iter().all(is_same),
        Permanent::Usage(format!(
            "{}: published already, with another model; allowed: an --as-of that names another version",
            dir.display()
        ))
    );
    Ok(dir)
}
