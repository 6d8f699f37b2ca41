//! Settings of both programs: one `ltr.toml`, and an environment variable for each key that
//! overrides it.
//!
//! [`Settings::load`] takes the file and the environment as arguments. So no other code reads them,
//! and a test needs neither. An unknown key or a wrong value is refused; the error names the key,
//! the value and what is allowed.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests make, read and time what they like"
    )
)]

mod error;
mod load;
mod print;
mod secret;
mod section;
mod sections;
mod url;
mod validate;

pub use error::SettingsError;
pub use secret::Secret;
pub use sections::{
    Access, BusMechanism, Checks, Client, Clock, Database, Edge, Evaluate, Events, Flags, Gate, Host, Labels, Lake,
    Lineage, Log, LogFormat, LogLevel, Models, Objective, Privacy, Publish, Ranking, Relevance, Replacement, Role,
    Rollout, SWITCH_WORDS, Settings, Shadow, Swaps, Telemetry, Tls, Token, Train, Trial, Unit, Watch, Webhook,
    WebhookFormat, Webhooks, switch,
};
pub use url::SecretUrl;

#[cfg(test)]
mod tests;
