//! Model artefacts: how a trained model travels from the trainer to the hosts.
//!
//! An artefact is a directory `{models}/ltr/{version}/` with the model in its forms, a manifest that names
//! the SHA-256 of each file, and an Ed25519 signature over the manifest's bytes. It appears in one step
//! ([`publish`]) and is believed only when all of it checks out ([`open`], then [`admit`]).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{CONTRACT_VERSION, Engine, Limits, LoadError, Output, ScoreError, Scorer, Window};

pub mod keys;
mod listing;
mod publish;
mod read;
mod ring;
mod signature;

pub use listing::{Listing, Newest, Order, Skipped, SkippedEntry, newer, versions};
pub use publish::publish;
pub use read::Fetched;
pub use ring::{Distrust, Fault, KeyId, KeyRing, Listed, REVOKED, RingFacts, TRUSTED};

/// The model as LightGBM wrote it.
pub const MODEL: &str = "ltr_model.txt";
/// Order and scaling of the features.
pub const FEATURE_MAP: &str = "feature_map.json";
/// The component, with the model and the feature map baked in.
pub const SCORER: &str = "scorer.wasm";
/// The Envoy filter, with the same model and feature map. No gateway runs it; it is offered to Envoys.
pub const EDGE_FILTER: &str = "edge-filter.wasm";
/// The [`Manifest`], JSON.
pub const MANIFEST: &str = "manifest.json";
/// Who signed the manifest's bytes, and the signature: `ed25519 {key id} {signature}`, hexadecimal.
pub const SIGNATURE: &str = "manifest.sig";

/// The only manifest version there is.
pub const MANIFEST_VERSION: u32 = 1;
/// How long [`admit`] gives a scorer for the golden rows.
pub const GOLDEN_TIMEOUT: Duration = Duration::from_secs(5);

/// What is in an artefact, where it comes from, and how to tell that it works.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`].
    pub manifest_version: u32,
    /// The artefact's name and directory, for example `20261123T021500Z`.
    pub version: String,
    /// The version of the scorer contract the component is built for.
    pub contract_version: String,
    /// In the order of a row.
    pub feature_names: Vec<String>,
    /// Times of the first and the last case in the training part.
    pub training_window: Window,
    /// Of the training matrix, hexadecimal.
    pub data_sha256: String,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// SHA-256 (hexadecimal) of each file but the manifest and its signature. [`publish`] fills it in.
    pub files: BTreeMap<String, String>,
    /// Offline metrics, as the trainer reports them.
    pub metrics: serde_json::Value,
    /// The gate's criteria and results, as the trainer reports them; or who went around it, as `bypassed_as`.
    pub gate: serde_json::Value,
    /// At least one row, from the test part; [`check_golden`] scores them again.
    pub golden: Golden,
}

impl Manifest {
    /// The name by which the model was published around the gate; `None`: it passed the gate.
    pub fn gate_bypassed_as(&self) -> Option<&str> {
        self.gate.get("bypassed_as")?.as_str()
    }
}

/// Rows with the scores that the component must reproduce to the last bit ([`Output::Converted`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Features in the order of `feature_names`; `None` (JSON `null`) is missing.
    pub rows: Vec<Vec<Option<f64>>>,
    /// Scores row after row, `outputs` each.
    pub scores: Vec<f64>,
}

impl Golden {
    /// The rows as a scorer takes them: row-major, NaN for missing.
    pub fn values(&self) -> Vec<f64> {
        let values = self.rows.iter().flatten();
        values.map(|value| value.unwrap_or(f64::NAN)).collect()
    }
}

/// An artefact whose signature and hashes have been verified.
#[derive(Clone, Debug)]
pub struct Artefact {
    /// The folder it was read from: `{models_dir}/{version}`.
    pub dir: PathBuf,
    /// Its bytes carried the signature, unless `signed_by` is `None`.
    pub manifest: Manifest,
    /// The key that vouches for it; `None` only where the ring allows unsigned artefacts.
    pub signed_by: Option<KeyId>,
}

/// Why an artefact was not published or not believed.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    /// The models directory has no folder of that version.
    #[error("there is no artefact {version:?} in {}", dir.display())]
    NotFound {
        /// The version asked for.
        version: String,
        /// The models directory.
        dir: PathBuf,
    },
    /// The version cannot name a folder: see [`is_version`]. The disk was not touched.
    #[error("{version:?} is not an artefact version; allowed: 1 to 64 of A-Z a-z 0-9 . _ -, not starting with a dot")]
    BadVersion {
        /// The version asked for; [`fetch`] cuts it to 100 characters.
        version: String,
    },
    /// [`publish()`] was given a file name that is not allowed, or one name twice.
    #[error(
        "{name:?} is not a file name for an artefact; allowed: 1 to 64 of A-Z a-z 0-9 . _ -, no leading dot, not the manifest or its signature, each once"
    )]
    BadFileName {
        /// The name as it was given.
        name: String,
    },
    /// [`publish()`] found the version already there. Holds the version's folder.
    #[error("{} exists already; a published artefact is never changed", .0.display())]
    Exists(PathBuf),
    /// There is no signature, and the ring does not allow unsigned artefacts. Holds the version's
    /// folder.
    #[error("{} has no {SIGNATURE}", .0.display())]
    Unsigned(PathBuf),
    /// The signature file is not byte for byte as [`publish()`] writes it.
    #[error("{SIGNATURE} is not one line with ed25519, a key's id and a signature, in lower-case hexadecimal digits")]
    MalformedSignature,
    /// The ring does not trust the key that the signature names.
    #[error("{SIGNATURE}: {0}")]
    Distrusted(#[from] Distrust),
    /// The named key is trusted, but the signature does not verify with it. Holds the key's id.
    #[error("{SIGNATURE} does not sign {MANIFEST} under key {0}: one of the two is not as it was published")]
    BadSignature(KeyId),
    /// The bytes of a file do not have the hash that the manifest gives.
    #[error("{file}: sha256 is {found}; the manifest says {expected}")]
    HashMismatch {
        /// The file's name, without its folder.
        file: String,
        /// The SHA-256 in the manifest.
        expected: String,
        /// The SHA-256 of the bytes read, lower-case hexadecimal.
        found: String,
    },
    /// The manifest is not valid JSON for [`Manifest`], contradicts its folder or names files that
    /// are not allowed; or [`publish()`] cannot write it. Holds what is wrong.
    #[error("{MANIFEST}: {0}")]
    BadManifest(String),
    /// The component is larger than the caller of [`fetch`] allows; it was not read.
    #[error("{SCORER} has {size} bytes; allowed: at most {limit}")]
    TooLarge {
        /// The component's size, bytes.
        size: u64,
        /// The largest size allowed, bytes.
        limit: u64,
    },
    /// The files beside the component are too large together; none of them was read.
    #[error("{file} brings the files beside {SCORER} to more than {limit} bytes; allowed: at most that")]
    SideFilesTooLarge {
        /// The file with which the sum exceeds the limit.
        file: String,
        /// The largest sum allowed, bytes: 8 times the largest component.
        limit: u64,
    },
    /// The file system failed, or a file is a link or no regular file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl ArtefactError {
    /// A short name that stays the same across versions.
    pub fn code(&self) -> &'static str {
        match self {
            ArtefactError::NotFound { .. } => "not_found",
            ArtefactError::BadVersion { .. } => "bad_version",
            ArtefactError::BadFileName { .. } => "bad_file_name",
            ArtefactError::Exists(_) => "exists",
            ArtefactError::Unsigned(_) => "unsigned",
            ArtefactError::Distrusted(e) => e.code(),
            ArtefactError::MalformedSignature | ArtefactError::BadSignature(_) => "bad_signature",
            ArtefactError::HashMismatch { .. } => "hash_mismatch",
            ArtefactError::BadManifest(_) => "bad_manifest",
            ArtefactError::TooLarge { .. } | ArtefactError::SideFilesTooLarge { .. } => "too_large",
            ArtefactError::Io { .. } => "io",
        }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> ArtefactError {
        let path = path.to_owned();
        move |source| ArtefactError::Io { path, source }
    }
}

/// Why a verified artefact was not taken into service.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// [`Engine::load`] refused the component.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The manifest names another contract than [`CONTRACT_VERSION`]. The component was not loaded.
    #[error("the manifest says contract {found}; this host speaks {CONTRACT_VERSION}")]
    WrongContract {
        /// The manifest's `contract_version`.
        found: String,
    },
    /// The golden rows are missing, or their shape does not suit the component.
    #[error("the manifest says {what}")]
    BadManifest {
        /// What the manifest says, for example `there are no golden rows`.
        what: String,
    },
    /// The component and the manifest differ in the feature names or their order.
    #[error("the component's feature {index} is {component:?}; the manifest says {manifest:?}")]
    FeatureMismatch {
        /// The first position that differs, from 0.
        index: usize,
        /// The component's name there; empty where it has fewer features.
        component: String,
        /// The manifest's name there; empty where it has fewer features.
        manifest: String,
    },
    /// A golden score is not reproduced to the last bit.
    #[error("golden row {row}, output {output}: the component scores {found:?}; expected {expected:?}")]
    GoldenMismatch {
        /// The first row that differs, from 0.
        row: usize,
        /// The output within that row, from 0.
        output: usize,
        /// The manifest's score.
        expected: f64,
        /// The component's score, [`Output::Converted`].
        found: f64,
    },
    /// The scorer gave no scores for the golden rows within [`GOLDEN_TIMEOUT`].
    #[error("the golden rows could not be scored: {0}")]
    Golden(#[from] ScoreError),
}

impl AdmitError {
    /// Whether the model may be good and the machine was only too busy.
    pub fn is_transient(&self) -> bool {
        match self {
            AdmitError::Load(error) => error.is_transient(),
            AdmitError::Golden(error) => error.is_transient(),
            _ => false,
        }
    }

    /// A short name that stays the same across versions.
    pub fn code(&self) -> &'static str {
        match self {
            AdmitError::Load(e) => e.code(),
            AdmitError::WrongContract { .. } => "wrong_contract",
            AdmitError::BadManifest { .. } => "bad_manifest",
            AdmitError::FeatureMismatch { .. } => "feature_mismatch",
            AdmitError::GoldenMismatch { .. } => "golden_mismatch",
            AdmitError::Golden(e) => e.reason(),
        }
    }
}

/// Reads an artefact without believing any of it; [`Fetched::verify`] is the next step.
///
/// # Errors
/// `BadVersion`, `NotFound`, `TooLarge` (a component of more than `max_scorer_bytes`), `Io`.
pub fn fetch(models_dir: &Path, version: &str, max_scorer_bytes: usize) -> Result<Fetched, ArtefactError> {
    read::fetch(models_dir, version, max_scorer_bytes as u64)
}

/// Fetches and verifies, with the component's size bounded by the default [`Limits`].
///
/// # Errors
/// An [`ArtefactError`] for the first check that failed.
pub fn open(models_dir: &Path, version: &str, ring: &KeyRing) -> Result<(Artefact, Vec<u8>), ArtefactError> {
    fetch(models_dir, version, Limits::default().max_component_bytes)?.verify(ring)
}

/// Takes a verified artefact through both steps that lead into service: [`load`] and [`check_golden`].
///
/// # Errors
/// An [`AdmitError`] that names the first difference.
pub fn admit(engine: &Engine, artefact: &Artefact, wasm: &[u8]) -> Result<Scorer, AdmitError> {
    let scorer = load(engine, artefact, wasm)?;
    check_golden(&scorer, &artefact.manifest)?;
    Ok(scorer)
}

/// Loads the component of a verified artefact and holds it to the manifest: contract and feature names in order.
/// It must not serve before [`check_golden`].
///
/// # Errors
/// An [`AdmitError`] that names the first difference.
pub fn load(engine: &Engine, artefact: &Artefact, wasm: &[u8]) -> Result<Scorer, AdmitError> {
    let manifest = &artefact.manifest;
    if manifest.contract_version != CONTRACT_VERSION {
        return Err(AdmitError::WrongContract {
            found: manifest.contract_version.clone(),
        });
    }
    if manifest.golden.rows.is_empty() {
        return Err(AdmitError::BadManifest {
            what: "there are no golden rows".into(),
        });
    }
    let scorer = engine.load(wasm)?;
    check_features(&scorer.description().feature_names, &manifest.feature_names)?;
    Ok(scorer)
}

fn check_features(component: &[String], manifest: &[String]) -> Result<(), AdmitError> {
    let name = |names: &[String], index: usize| names.get(index).cloned().unwrap_or_default();
    match (0..component.len().max(manifest.len())).find(|&i| component.get(i) != manifest.get(i)) {
        None => Ok(()),
        Some(index) => Err(AdmitError::FeatureMismatch {
            index,
            component: name(component, index),
            manifest: name(manifest, index),
        }),
    }
}

/// Lets a scorer score the manifest's golden rows, within [`GOLDEN_TIMEOUT`], and compares to the last bit.
///
/// # Errors
/// `GoldenMismatch` for the first score that differs, `Golden` when there are none, `BadManifest` for golden rows
/// that do not suit the scorer.
pub fn check_golden(scorer: &Scorer, manifest: &Manifest) -> Result<(), AdmitError> {
    let golden = &manifest.golden;
    let width = scorer.width();
    if let Some(row) = golden.rows.iter().position(|row| row.len() != width) {
        let what = format!(
            "golden row {row} has {} values; expected {width}",
            golden.rows[row].len()
        );
        return Err(AdmitError::BadManifest { what });
    }
    let scores = scorer.score(&golden.values(), Output::Converted, GOLDEN_TIMEOUT)?;
    if scores.len() != golden.scores.len() {
        let what = format!("{} golden scores; expected {}", golden.scores.len(), scores.len());
        return Err(AdmitError::BadManifest { what });
    }
    let outputs = scorer.description().outputs as usize;
    let differs = |(found, expected): (&f64, &f64)| found.to_bits() != expected.to_bits();
    match scores.iter().zip(&golden.scores).position(differs) {
        None => Ok(()),
        Some(at) => Err(AdmitError::GoldenMismatch {
            row: at / outputs,
            output: at % outputs,
            expected: golden.scores[at],
            found: scores[at],
        }),
    }
}

/// Whether an artefact can have this version: 1 to 64 of `A-Z a-z 0-9 . _ -`, not starting with a dot.
pub fn is_version(name: &str) -> bool {
    is_plain_name(name)
}

/// Whether a name is safe as one component of a path, on any file system: no separator, no way up.
fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain)
}
