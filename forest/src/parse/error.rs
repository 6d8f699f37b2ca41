//! What is said of a text that is no model.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt;

/// Why a text is not a model: where, which key, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    line: usize,
    key: String,
    problem: String,
}

impl ParseError {
    pub(crate) fn new(line: usize, key: &str, problem: impl Into<String>) -> ParseError {
        ParseError {
            line,
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    /// Line of the text, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The key (or `Tree=`, `tree`) that is wrong or missing.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.key, self.problem)
    }
}

impl core::error::Error for ParseError {}

/// Bytes of the input as they are shown in an error.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    const LONGEST: usize = 80;
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]);
    let dots = if bytes.len() > LONGEST { "..." } else { "" };
    format!("{}{dots}", shown.escape_debug())
}
