use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::Secret;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    pub url: DatabaseUrl,
    pub max_connections: u32,
    pub timeout_ms: u64,
    pub spool_dir: PathBuf,
    pub spool_mb: u64,
}

impl Default for Database {
    fn default() -> Database {
        Database {
            url: "sqlite://var/ltr.db".into(),
            max_connections: 5,
            timeout_ms: 3_000,
            spool_dir: "var/spool".into(),
            spool_mb: 256,
        }
    }
}

impl Database {
    /// How long a call waits for the database.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// Where the database is. `Debug` and serialisation hide a password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The URL with its password.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn shown(&self) -> String {
        without_password(&self.0)
    }

    pub(crate) fn is_usable(&self) -> bool {
        match self.0.split_once("://") {
            Some(("sqlite", path)) => !path.is_empty(),
            Some(("postgres" | "postgresql", rest)) => names_a_server(rest),
            _ => false,
        }
    }
}

impl<T: Into<String>> From<T> for DatabaseUrl {
    fn from(url: T) -> DatabaseUrl {
        DatabaseUrl(url.into())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

/// Whether `rest` is `USER[:PASSWORD]@HOST[:PORT]/DB`.
fn names_a_server(rest: &str) -> bool {
    let parts = rest.split_once('/').and_then(|(authority, database)| {
        let (user, server) = authority.rsplit_once('@')?;
        Some([user, server, database])
    });
    let named = |part: &str| !part.is_empty() && !part.starts_with(':');
    parts.is_some_and(|parts| parts.into_iter().all(named)) && !rest.contains(['?', '#'])
}

/// A text as it may be shown if it is a URL, be it a wrong one: what may be a password is hidden, and so are
/// parameters, which may hold one.
pub(crate) fn without_password(text: &str) -> String {
    let hidden = Secret::HIDDEN;
    let (scheme, rest) = match text.split_once("://") {
        Some(("sqlite", _)) => return text.to_owned(),
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    // Up to the last @ and not up to a slash: a password that was not encoded may have either.
    let (credentials, server) = match rest.rsplit_once('@') {
        Some((credentials, server)) => match credentials.split_once(':') {
            Some((user, _)) => (format!("{user}:{hidden}@"), server),
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
    // Where the host was forgotten, the password stands in the place of the port.
    let server = match server.split_once(':') {
        Some((host, port)) if !scheme.is_empty() && !is_port(port) => format!("{host}:{hidden}"),
        _ => server.to_owned(),
    };
    format!("{scheme}{credentials}{server}{parameters}")
}
