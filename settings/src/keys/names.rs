//! Names of keys that the code speaks of.

/// Sections whose keys the user names.
pub(crate) const PRESETS: &str = "ranking.presets";
pub(crate) const PARAMS: &str = "train.params";
pub(crate) const ACCESS_TOKENS: &str = "access.tokens";
pub(crate) const CLIENT_TOKEN: &str = "client.token";
/// A section, one key of which is a secret.
pub(crate) const TELEMETRY: &str = "telemetry.";
pub(crate) const SENTRY_DSN: &str = "telemetry.sentry_dsn";
pub(crate) const DATABASE_URL: &str = "database.url";
pub(crate) const DATABASE_CA_FILE: &str = "database.ca_file";
pub(crate) const ACCESS_EDGES: &str = "access.edges";
/// In `privacy`: keys that older files lack, whose default is for new ones.
pub(crate) const PSEUDONYMISE_EVENTS: &str = "pseudonymise_events";
pub(crate) const GROUPS_WITHOUT_CONSENT: &str = "groups_without_consent";
pub(crate) const REDIS_URL: &str = "flags.redis_url";
