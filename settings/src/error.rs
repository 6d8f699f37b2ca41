use std::path::PathBuf;

use thiserror::Error;

/// Why settings were not accepted.
#[derive(Debug, Error)]
pub enum SettingsError {
    #[error("cannot read {}: {cause}", file.display())]
    Io { file: PathBuf, cause: std::io::Error },
    #[error("{} is not TOML: {message}", file.display())]
    Syntax { file: PathBuf, message: String },
    /// A key that does not exist, or a value that its key does not take.
    #[error("{origin}: {key} = {value} is refused; allowed: {allowed}")]
    Refused {
        /// The file, the environment variable, or the built-in default that the value came from.
        origin: String,
        /// The key as `section.key`.
        key: String,
        /// As TOML; hidden for a secret.
        value: String,
        allowed: String,
    },
}
