//! The error of refused settings.

use std::path::PathBuf;

use thiserror::Error;

/// Why settings were refused.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file cannot be read: it is missing, no regular file, over 1 MiB, or not UTF-8.
    #[error("cannot read {}: {cause}", file.display())]
    Io {
        /// The path as given to [`Settings::load`](crate::Settings::load).
        file: PathBuf,
        /// The system error, or the limit that is exceeded.
        cause: std::io::Error,
    },
    /// The file does not parse as TOML; its keys were not looked at.
    #[error("{} is not TOML: {message}", file.display())]
    Syntax {
        /// As in [`SettingsError::Io`].
        file: PathBuf,
        /// The parser's message, with line and column.
        message: String,
    },
    /// An unknown key, or a value that its key does not allow.
    #[error("{origin}: {key} = {value} is refused; allowed: {allowed}")]
    Refused {
        /// Where the value came from: the file, the environment variable or the built-in default.
        origin: String,
        /// The key as `section.key`.
        key: String,
        /// The value as TOML; a secret is hidden.
        value: String,
        /// What the key takes, in words; for an unknown key, the known ones beside it.
        allowed: String,
    },
}
