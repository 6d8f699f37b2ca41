//! The sections of `ltr.toml`, a file for each job, and the settings as one typed value.

mod access;
mod connections;
mod database;
mod events;
mod flags;
mod host;
mod judge;
mod models;
mod privacy;
mod ranking;
mod rollout;
mod telemetry;
mod train;

use ::ranking::{Presets, Schema, Windows};
use serde::{Deserialize, Serialize};

pub use access::{Access, Edge, Role, Token};
pub use connections::{Client, Tls};
pub use database::Database;
pub use events::Events;
pub use flags::{Flags, SWITCH_WORDS, switch};
pub use host::{Clock, Host};
pub use judge::{Evaluate, Gate, Publish};
pub use models::Models;
pub use privacy::Privacy;
pub use ranking::Ranking;
pub use rollout::{Rollout, Shadow};
pub use telemetry::{Log, LogFormat, LogLevel, Telemetry};
pub use train::{Lake, Objective, Train};

use crate::section::{Rule, Section};

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

/// All sections in printing order; a section comes before its sub-sections, as TOML requires.
const SECTIONS: [&Section; 24] = [
    &Ranking::SECTION,
    &ranking::FAIRNESS,
    &ranking::PRESETS,
    &events::LABELS,
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
    &Lake::SECTION,
    &Train::SECTION,
    &train::PARAMS,
    &Evaluate::SECTION,
    &Gate::SECTION,
    &Publish::SECTION,
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
pub(crate) const CLIENT_TOKEN: &str = "client.token";
/// The prefix of the telemetry keys, one of which is secret.
pub(crate) const TELEMETRY: &str = "telemetry.";
pub(crate) const SENTRY_DSN: &str = "telemetry.sentry_dsn";
pub(crate) const DATABASE_URL: &str = "database.url";
pub(crate) const DATABASE_CA_FILE: &str = "database.ca_file";
pub(crate) const ACCESS_EDGES: &str = "access.edges";
/// Keys in `privacy` that older files lack. Their default applies to new files only.
pub(crate) const PSEUDONYMISE_EVENTS: &str = "pseudonymise_events";
pub(crate) const GROUPS_WITHOUT_CONSENT: &str = "groups_without_consent";
pub(crate) const REDIS_URL: &str = "flags.redis_url";
