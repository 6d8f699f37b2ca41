//! The error of refused settings.

use std::path::PathBuf;

use thiserror::Error;

/// Why settings were refused.
#[derive(Debug, Error)]
pub enum SettingsError {
    #[error("cannot read {}: {cause}", file.display())]
    Io { file: PathBuf, cause: std::io::Error },
    #[error("{} is not TOML: {message}", file.display())]
    Syntax { file: PathBuf, message: String },
    /// An unknown key, or a value that its key does not allow.
    #[error("{origin}: {key} = {value} is refused; allowed: {allowed}")]
    Refused {
        /// Where the value came from: the file, the environment variable or the built-in default.
        origin: String,
        /// The key as `section.key`.
        key: String,
        /// The value as TOML; a secret is hidden.
        value: String,
        allowed: String,
    },
}
