//! The sections of `ltr.toml`, a file for each job, and the settings as one typed value.

mod access;
mod checks;
mod connections;
mod database;
mod events;
mod flags;
mod gate;
mod host;
mod lineage;
mod models;
mod privacy;
mod ranking;
mod rollout;
mod swaps;
mod telemetry;
mod train;
mod webhooks;

use ::ranking::{Presets, Schema};
use serde::{Deserialize, Serialize};

pub use access::{Access, Edge, Role, Token};
pub use checks::Checks;
pub use connections::{Client, Tls};
pub use database::Database;
pub use events::{BusMechanism, Events, Labels};
pub use flags::{Flags, SWITCH_WORDS, switch};
pub use gate::{Evaluate, Gate, Publish};
pub use host::{Clock, Host};
pub use lineage::Lineage;
pub use models::Models;
pub use privacy::Privacy;
pub use ranking::Ranking;
pub use rollout::{Relevance, Replacement, Rollout, Shadow, Trial, Unit, Watch};
pub use swaps::Swaps;
pub use telemetry::{Log, LogFormat, LogLevel, Telemetry};
pub use train::{Lake, Objective, Train};
pub use webhooks::{Webhook, WebhookFormat, Webhooks};

use crate::section::{Rule, Section};

/// Everything that can be configured. `Default` runs both programs embedded, with no server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `[ranking]`: feature names, weight presets and the fairness re-rank.
    pub ranking: Ranking,
    /// `[labels]`: the attribution windows of click, contact and contract, in hours, and the impression that
    /// an action counts for.
    pub labels: Labels,
    /// `[events]`: how far the times of posted events may be off, and the bus that gets them.
    pub events: Events,
    /// `[database]`: where events, shadow log and rollout are stored, and the spool.
    pub database: Database,
    /// `[models]`: where models come from, which keys may sign them, and the sandbox's limits.
    pub models: Models,
    /// `[host]`: the gateway's addresses, limits and times.
    pub host: Host,
    /// `[tls]`: the gateway's certificate, and the authorities of its clients.
    pub tls: Tls,
    /// `[log]`: format and level of the gateway's log.
    pub log: Log,
    /// `[telemetry]`: export of traces and error reports; off by default.
    pub telemetry: Telemetry,
    /// `[access]`: bearer tokens with their roles, and the edges.
    pub access: Access,
    /// `[client]`: token and authorities with which the programs call a gateway.
    pub client: Client,
    /// `[shadow]`: the share of requests that the challenger scores without serving.
    pub shadow: Shadow,
    /// `[flags]`: the operator's switches, and the Redis that shares them.
    pub flags: Flags,
    /// `[privacy]`: which personal data is stored, and the salt of pseudonyms.
    pub privacy: Privacy,
    /// `[rollout]`: who serves, the criteria of a promotion, the technical watch, and the directory that
    /// Envoys watch.
    pub rollout: Rollout,
    /// `[swaps]`: the share of the users for whom neighbours are swapped, and when attention is known.
    pub swaps: Swaps,
    /// `[webhooks]`: the destinations that receive each transition of the rollout.
    pub webhooks: Webhooks,
    /// `[lake]`: where the lake and the trainer's runs are.
    pub lake: Lake,
    /// `[checks]`: the thresholds of the data checks before a training.
    pub checks: Checks,
    /// `[train]`: objective, split by time, and LightGBM's parameters.
    pub train: Train,
    /// `[evaluate]`: bootstrap, metrics and latency of the offline evaluation.
    pub evaluate: Evaluate,
    /// `[gate]`: the thresholds that a model must pass before it is published.
    pub gate: Gate,
    /// `[publish]`: the signing key, and the gateway to notify.
    pub publish: Publish,
    /// `[lineage]`: where the run records of the nightly steps go.
    pub lineage: Lineage,
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

/// All sections in printing order; a section comes before its sub-sections, as TOML requires.
const SECTIONS: [&Section; 32] = [
    &Ranking::SECTION,
    &ranking::FAIRNESS,
    &ranking::PRESETS,
    &Labels::SECTION,
    &Events::SECTION,
    &Database::SECTION,
    &Models::SECTION,
    &Host::SECTION,
    &Tls::SECTION,
    &Log::SECTION,
    &Telemetry::SECTION,
    &Access::SECTION,
    &Client::SECTION,
    &Shadow::SECTION,
    &Flags::SECTION,
    &Privacy::SECTION,
    &Rollout::SECTION,
    &rollout::CRITERIA,
    &Trial::SECTION,
    &Watch::SECTION,
    &Relevance::SECTION,
    &Replacement::SECTION,
    &Swaps::SECTION,
    &Webhooks::SECTION,
    &Lake::SECTION,
    &Checks::SECTION,
    &Train::SECTION,
    &train::PARAMS,
    &Evaluate::SECTION,
    &Gate::SECTION,
    &Publish::SECTION,
    &Lineage::SECTION,
];

/// All sections in printing order.
pub(crate) fn sections() -> impl Iterator<Item = &'static Section> {
    SECTIONS.into_iter()
}

/// The rule of a key, given as `section.key`.
pub(crate) fn rule(key: &str) -> Option<Rule> {
    let (section, name) = key.rsplit_once('.')?;
    let section = sections().find(|s| s.name == section)?;
    let key = section.keys.iter().find(|k| k.name == name)?;
    Some(key.rule)
}

/// The names allowed in a section ("" is the whole file): its keys, then its sub-sections.
pub(crate) fn names_in(section: &str) -> Vec<&'static str> {
    let keys = sections().filter(|s| s.name == section).flat_map(|s| s.keys);
    keys.map(|k| k.name).chain(sub_sections(section)).collect()
}

/// The names of a section's sub-sections.
pub(crate) fn sub_sections(section: &str) -> impl Iterator<Item = &'static str> {
    sections().filter_map(move |s| match s.name.rsplit_once('.') {
        Some((parent, name)) if parent == section => Some(name),
        None if section.is_empty() => Some(s.name),
        _ => None,
    })
}

/// Sections whose key names the user chooses.
pub(crate) const PRESETS: &str = "ranking.presets";
pub(crate) const PARAMS: &str = "train.params";
pub(crate) const ACCESS_TOKENS: &str = "access.tokens";
pub(crate) const ROLLOUT_LADDER: &str = "rollout.ladder";
pub(crate) const SWAPS_PAIRS: &str = "swaps.pairs";
pub(crate) const CLIENT_TOKEN: &str = "client.token";
pub(crate) const BUS_PASSWORD: &str = "events.bus_password";
/// The prefix of the telemetry keys. A DSN under any of them is secret.
pub(crate) const TELEMETRY: &str = "telemetry.";
pub(crate) const SENTRY_DSN: &str = "telemetry.sentry_dsn";
pub(crate) const DATABASE_URL: &str = "database.url";
pub(crate) const DATABASE_CA_FILE: &str = "database.ca_file";
pub(crate) const ACCESS_EDGES: &str = "access.edges";
/// Keys in `privacy` that older files lack. Their default applies to new files only.
pub(crate) const PSEUDONYMISE_EVENTS: &str = "pseudonymise_events";
pub(crate) const GROUPS_WITHOUT_CONSENT: &str = "groups_without_consent";
pub(crate) const REDIS_URL: &str = "flags.redis_url";
pub(crate) const LINEAGE_URL: &str = "lineage.url";
/// The prefix of the webhook keys, however they end. A URL or a secret may stand under any of them.
pub(crate) const WEBHOOK: &str = "webhook";
pub(crate) const WEBHOOKS_TARGETS: &str = "webhooks.targets";
pub(crate) const WEBHOOKS_TIMEOUT: &str = "webhooks.timeout_seconds";
