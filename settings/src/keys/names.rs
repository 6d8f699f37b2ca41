//! Names of the keys that the code refers to.

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
