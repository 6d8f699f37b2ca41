//! URLs whose passwords must not be shown.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::Secret;

/// The URL of a server. `Debug` and serialisation hide its password.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The URL with its password.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn shown(&self) -> String {
        without_password(&self.0)
    }

    /// Whether no URL is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a text is empty, `s3://BUCKET[/PREFIX]` or `file:///PATH`.
pub(crate) fn is_place(text: &str) -> bool {
    let plain = |rest: &str| !rest.contains(['?', '#', '@', ':']);
    match text.split_once("://") {
        Some(("s3", rest)) => plain(rest) && !rest.is_empty() && !rest.starts_with('/'),
        Some(("file", rest)) => plain(rest) && rest.starts_with('/'),
        _ => text.is_empty(),
    }
}

impl<T: Into<String>> From<T> for SecretUrl {
    fn from(url: T) -> SecretUrl {
        SecretUrl(url.into())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

/// Hides every part of a URL that may be a password, parameters included. The URL may be malformed.
pub(crate) fn without_password(text: &str) -> String {
    let hidden = Secret::HIDDEN;
    let (scheme, rest) = match text.split_once("://") {
        Some(("sqlite", _)) => return text.to_owned(),
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    // Credentials end at the last `@`, not at a slash: a password that was not percent-encoded may
    // contain both.
    let (credentials, server) = match rest.rsplit_once('@') {
        Some((credentials, server)) => match credentials.split_once(':') {
            Some((user, _)) => (format!("{user}:{hidden}@"), server),
            // Redis has passwords without users, so credentials without a colon may be a password.
            None if scheme.starts_with("redis") => (format!("{hidden}@"), server),
            None => (format!("{credentials}@"), server),
        },
        None => (String::new(), rest),
    };
    let (server, parameters) = match server.split_once('?') {
        Some((server, _)) if !scheme.is_empty() => (server, format!("?{hidden}")),
        _ => (server, String::new()),
    };
    let is_port = |text: &str| {
        text.split('/')
            .next()
            .is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
    };
    // If the host is missing, the password stands in the place of the port.
    let server = match server.split_once(':') {
        Some((host, port)) if !scheme.is_empty() && !is_port(port) => format!("{host}:{hidden}"),
        _ => server.to_owned(),
    };
    format!("{scheme}{credentials}{server}{parameters}")
}
