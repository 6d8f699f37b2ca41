//! Settings of both programs: one `ltr.toml`, and an environment variable for each key that
//! overrides it.
//!
//! [`Settings::load`] takes the file and the environment as arguments. So no other code reads them,
//! and a test needs neither. An unknown key or a wrong value is refused; the error names the key,
//! the value and what is allowed.

mod access;
mod database;
mod error;
mod flags;
mod keys;
mod load;
mod model;
mod print;
mod telemetry;
mod url;
mod validate;

pub use access::{Access, Edge, Role, Token};
pub use database::Database;
pub use error::SettingsError;
pub use flags::{Flags, SWITCH_WORDS, switch};
pub use model::{
    Client, Clock, Evaluate, Events, Gate, Host, Lake, Models, Objective, Privacy, Publish, Ranking, Rollout, Secret,
    Settings, Shadow, Tls, Train,
};
pub use telemetry::{Log, LogFormat, LogLevel, Telemetry};
pub use url::SecretUrl;

#[cfg(test)]
mod tests;
