//! The settings as one typed value. What each key means is in `keys.rs`, beside what it allows.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ranking::features::DEFAULT_FEATURES;
use ranking::weights::{DEFAULT_PRESET, DEFAULT_PRESETS};
use ranking::{Criteria, Fairness, Presets, Schema, Windows};
use serde::{Deserialize, Serialize, Serializer};

use crate::{Access, Database, Flags, Log, Telemetry};

/// Everything that can be configured. `Default` runs both programs embedded, with no server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub ranking: Ranking,
    pub labels: Windows,
    pub events: Events,
    pub database: Database,
    pub models: Models,
    pub host: Host,
    pub tls: Tls,
    pub log: Log,
    pub telemetry: Telemetry,
    pub access: Access,
    pub client: Client,
    pub shadow: Shadow,
    pub flags: Flags,
    pub privacy: Privacy,
    pub rollout: Rollout,
    pub lake: Lake,
    pub train: Train,
    pub evaluate: Evaluate,
    pub gate: Gate,
    pub publish: Publish,
}

impl Settings {
    /// The feature schema.
    ///
    /// # Panics
    /// If `validate` would refuse the settings; [`Settings::load`] returns only valid ones.
    pub fn schema(&self) -> Schema {
        Schema::new(self.ranking.features.iter().cloned()).expect("validate has accepted the features")
    }

    /// The legacy weights by preset.
    ///
    /// # Panics
    /// Like [`Settings::schema`].
    pub fn presets(&self) -> Presets {
        Presets::new(&self.schema(), &self.ranking.presets, &self.ranking.default_preset)
            .expect("validate has accepted the presets")
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ranking {
    pub features: Vec<String>,
    pub default_preset: String,
    pub fairness: Fairness,
    /// Weights by feature, by preset.
    pub presets: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Default for Ranking {
    fn default() -> Ranking {
        let weights = |raw: [f64; 11]| DEFAULT_FEATURES.map(String::from).into_iter().zip(raw).collect();
        Ranking {
            features: DEFAULT_FEATURES.map(String::from).to_vec(),
            default_preset: DEFAULT_PRESET.into(),
            fairness: Fairness::default(),
            presets: DEFAULT_PRESETS
                .map(|(name, raw)| (name.to_owned(), weights(raw)))
                .into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Models {
    /// Artefacts lie in `{dir}/ltr/{version}/`.
    pub dir: PathBuf,
    /// Empty: models come from `dir` only.
    pub source: String,
    pub max_download_mb: u32,
    pub download_seconds: u32,
    /// Directory of the publishers' public keys: `{name}.pub` is trusted, `{name}.revoked` no longer.
    pub trusted_keys: PathBuf,
    pub allow_unsigned: bool,
    pub max_component_mb: u32,
    pub max_memory_mb: u32,
    pub warm_instances: u32,
    pub poll_seconds: u32,
    /// Empty: machine code is not cached.
    pub code_cache_dir: PathBuf,
    pub code_cache_mb: u32,
}

impl Models {
    /// Whether `source` is empty, an S3 URL or the URL of a directory.
    pub(crate) fn has_usable_source(&self) -> bool {
        let plain = |rest: &str| !rest.contains(['?', '#', '@', ':']);
        match self.source.split_once("://") {
            Some(("s3", rest)) => plain(rest) && !rest.is_empty() && !rest.starts_with('/'),
            Some(("file", rest)) => plain(rest) && rest.starts_with('/'),
            _ => self.source.is_empty(),
        }
    }

    /// The interval between two searches of the directory and the source; `None`: never.
    pub fn poll(&self) -> Option<Duration> {
        (self.poll_seconds > 0).then(|| Duration::from_secs(self.poll_seconds.into()))
    }
}

impl Default for Models {
    fn default() -> Models {
        Models {
            dir: "var/models".into(),
            source: String::new(),
            max_download_mb: 256,
            download_seconds: 60,
            trusted_keys: "var/keys/trusted".into(),
            allow_unsigned: false,
            max_component_mb: 64,
            max_memory_mb: 256,
            warm_instances: 2,
            poll_seconds: 10,
            code_cache_dir: "var/cache/code".into(),
            code_cache_mb: 256,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    pub listen: SocketAddr,
    /// Empty: everything is on `listen`.
    pub admin_listen: String,
    pub deadline_ms: u64,
    pub ltr_budget_ms: u64,
    pub max_connections: usize,
    pub max_headers: usize,
    pub max_header_bytes: usize,
    pub max_body_bytes: usize,
    pub max_body_total_mb: usize,
    pub max_json_depth: usize,
    pub max_lawyers: usize,
    pub max_rows: usize,
    pub header_timeout_ms: u64,
    pub body_timeout_ms: u64,
    pub request_timeout_ms: u64,
    pub write_timeout_ms: u64,
    pub drain_delay_ms: u64,
    pub drain_timeout_ms: u64,
    /// 0: no limit.
    pub rate_per_second: u32,
    pub rate_burst: u32,
    pub clock: Clock,
}

impl Default for Host {
    fn default() -> Host {
        Host {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: String::new(),
            deadline_ms: 200,
            ltr_budget_ms: 100,
            max_connections: 4096,
            max_headers: 64,
            max_header_bytes: 16 << 10,
            max_body_bytes: 8 << 20,
            max_body_total_mb: 256,
            max_json_depth: 32,
            max_lawyers: 10_000,
            max_rows: 100_000,
            header_timeout_ms: 30_000,
            body_timeout_ms: 10_000,
            request_timeout_ms: 60_000,
            write_timeout_ms: 10_000,
            drain_delay_ms: 0,
            drain_timeout_ms: 10_000,
            rate_per_second: 0,
            rate_burst: 100,
            clock: Clock::System,
        }
    }
}

impl Host {
    /// The time within which `/rank` answers.
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    /// The operators' separate address, if configured.
    ///
    /// # Panics
    /// If `validate` would refuse the settings.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        let set = !self.admin_listen.is_empty();
        set.then(|| self.admin_listen.parse().expect("validate has accepted the address"))
    }

    /// The limit for all request bodies together, in bytes.
    pub fn max_body_total(&self) -> usize {
        self.max_body_total_mb << 20
    }

    /// How long a connection may take to deliver the head of its next request.
    pub fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    /// How long a body may take to arrive.
    pub fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }

    /// How long a request may take in all, its body included.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// How long a client may read nothing of its response.
    pub fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }

    /// How long requests are still accepted after the signal to stop, while `/readyz` reports draining.
    pub fn drain_delay(&self) -> Duration {
        Duration::from_millis(self.drain_delay_ms)
    }

    /// How long requests in progress may take to finish after that.
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }

    /// How much of the deadline the model may use.
    pub fn ltr_budget(&self) -> Duration {
        Duration::from_millis(self.ltr_budget_ms)
    }
}

/// The gateway's certificates; if all are empty it serves plain HTTP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// Empty: clients need no certificate.
    pub client_ca_file: PathBuf,
}

impl Tls {
    pub fn is_on(&self) -> bool {
        !self.cert_file.as_os_str().is_empty()
    }
}

/// How the trainer and `ltr-host rollout` call a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Client {
    /// Empty: calls carry no token.
    pub token: Secret,
    /// Empty: the system's certificate authorities.
    pub ca_file: PathBuf,
}

/// Where the gateway takes "now" from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    System,
    /// The request header `X-LTR-Time`: for simulations and replays only.
    Header,
}

/// Text that must not reach a log: `Debug` and serialisation say only whether it is set.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The placeholder that is shown for a secret.
    pub const HIDDEN: &'static str = "<hidden>";

    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn shown(&self) -> &'static str {
        if self.is_empty() { "" } else { Secret::HIDDEN }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shadow {
    pub fraction: f64,
    pub salt: String,
}

impl Default for Shadow {
    fn default() -> Shadow {
        Shadow {
            fraction: 0.10,
            salt: "ltr-shadow-v1".into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Privacy {
    pub salt_file: PathBuf,
    pub pseudonymise_events: bool,
    pub groups_without_consent: bool,
}

impl Default for Privacy {
    fn default() -> Privacy {
        Privacy {
            salt_file: "var/keys/privacy.salt".into(),
            pseudonymise_events: true,
            groups_without_consent: false,
        }
    }
}

/// Limits for the times of incoming events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    pub max_ahead_seconds: u32,
    pub max_age_hours: u32,
}

impl Default for Events {
    fn default() -> Events {
        Events {
            max_ahead_seconds: 600,
            max_age_hours: 90 * 24,
        }
    }
}

impl Events {
    /// How far an event's time may lie after the gateway's; `None`: no limit.
    pub fn max_ahead(&self) -> Option<Duration> {
        (self.max_ahead_seconds > 0).then(|| Duration::from_secs(self.max_ahead_seconds.into()))
    }

    /// How far an event's time may lie before the gateway's; `None`: no limit.
    pub fn max_age(&self) -> Option<Duration> {
        (self.max_age_hours > 0).then(|| Duration::from_secs(u64::from(self.max_age_hours) * 3600))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rollout {
    pub salt: String,
    pub criteria: Criteria,
}

impl Default for Rollout {
    fn default() -> Rollout {
        Rollout {
            salt: "ltr-rollout-v1".into(),
            criteria: Criteria::default(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lake {
    pub dir: PathBuf,
}

impl Default for Lake {
    fn default() -> Lake {
        Lake { dir: "var/lake".into() }
    }
}

/// A training objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Pairs of lawyers in the right order (LambdaMART).
    Lambdarank,
    /// Whole cases in the right order.
    RankXendcg,
    /// The label of each lawyer alone (pointwise).
    Regression,
}

impl Objective {
    /// LightGBM's name.
    pub fn name(self) -> &'static str {
        match self {
            Objective::Lambdarank => "lambdarank",
            Objective::RankXendcg => "rank_xendcg",
            Objective::Regression => "regression",
        }
    }

    /// The objective with this LightGBM name.
    pub fn from_name(name: &str) -> Option<Objective> {
        let all = [Objective::Lambdarank, Objective::RankXendcg, Objective::Regression];
        all.into_iter().find(|objective| objective.name() == name)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Train {
    /// The objective of the published model.
    pub objective: Objective,
    pub max_rounds: u32,
    /// Shares of the cases, newest last: training, then validation, then test.
    pub valid_fraction: f64,
    pub test_fraction: f64,
    /// Correct for position bias with LightGBM's `position` field.
    pub position_bias: bool,
    /// LightGBM's parameters by LightGBM's names.
    pub params: toml::Table,
}

impl Default for Train {
    fn default() -> Train {
        let params = toml::toml! {
            metric = "ndcg"
            ndcg_eval_at = [5]
            learning_rate = 0.05
            num_leaves = 48
            min_data_in_leaf = 20
            feature_fraction = 0.9
            lambda_l1 = 0.2
            lambda_l2 = 0.2
            early_stopping_round = 100
            seed = 42
            deterministic = true
            force_row_wise = true
            num_threads = 1
        };
        Train {
            objective: Objective::Lambdarank,
            max_rounds: 1000,
            valid_fraction: 0.15,
            test_fraction: 0.2,
            position_bias: true,
            params,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluate {
    pub resamples: usize,
    pub confidence: f64,
    pub seed: u64,
    pub mrr_min_grade: u8,
    pub fair_min_rows: usize,
    pub latency_calls: usize,
    pub latency_rows: usize,
}

impl Default for Evaluate {
    fn default() -> Evaluate {
        Evaluate {
            resamples: 2000,
            confidence: 0.95,
            seed: 42,
            mrr_min_grade: 2,
            fair_min_rows: 30,
            latency_calls: 500,
            latency_rows: 100,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    pub ndcg5_gain: f64,
    pub mrr5_gain: f64,
    pub fair_gap: f64,
    pub latency_p95_ms: f64,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate {
            ndcg5_gain: 0.03,
            mrr5_gain: 0.0,
            fair_gap: 0.05,
            latency_p95_ms: 15.0,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Publish {
    pub signing_key: PathBuf,
    pub notify_url: String,
    /// Empty: no Envoy watches a directory.
    pub edge_dir: PathBuf,
}

impl Publish {
    /// The directory where Envoys watch for the filter, if configured.
    pub fn edge_dir(&self) -> Option<&Path> {
        let set = !self.edge_dir.as_os_str().is_empty();
        set.then_some(&self.edge_dir)
    }
}

impl Default for Publish {
    fn default() -> Publish {
        Publish {
            signing_key: "var/keys/publish.key".into(),
            notify_url: "http://127.0.0.1:8080/models/notify".into(),
            edge_dir: PathBuf::new(),
        }
    }
}
