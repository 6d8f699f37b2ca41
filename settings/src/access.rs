//! Who may call the gateway: bearer tokens, of which only the hashes are configured.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The callers. Without any token, `/rank`, `/ltr/score`, `/events` and `/models/notify` are open, on a loopback
/// address alone, and nobody may change the rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    pub tokens: Vec<Token>,
}

/// One caller's token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Whose it is; what logs, errors and the rollout's history say.
    pub name: String,
    pub roles: Vec<Role>,
    /// SHA-256 of the token's bytes, 64 hexadecimal digits.
    pub sha256: String,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Send events.
    Ingest,
    /// Ask for rankings and scores.
    Rank,
    /// Change the models and the rollout.
    Admin,
}

impl Access {
    /// The first thing that is wrong with the tokens. Says nothing that was configured but names: what somebody
    /// put in the place of a hash may be the token itself.
    pub(crate) fn fault(&self) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        self.tokens.iter().enumerate().find_map(|(at, token)| {
            let earlier = &self.tokens[..at];
            let fault = if !(1..=64).contains(&token.name.len()) || !token.name.chars().all(plain) {
                "the name is not 1 to 64 of A-Z a-z 0-9 . _ -"
            } else if earlier.iter().any(|other| other.name == token.name) {
                "the name is there twice"
            } else if token.roles.is_empty() {
                "there are no roles"
            } else if token.hash().is_none() {
                "sha256 is not 64 hexadecimal digits"
            } else if earlier.iter().any(|other| other.hash() == token.hash()) {
                "the sha256 is there twice"
            } else {
                return None;
            };
            Some(format!("entry {}: {fault}", at + 1))
        })
    }
}

impl Token {
    /// The hash as bytes; `None` where it is not 64 hexadecimal digits.
    pub fn hash(&self) -> Option<[u8; 32]> {
        let mut hash = [0; 32];
        hex::decode_to_slice(&self.sha256, &mut hash).ok()?;
        Some(hash)
    }
}

/// As an entry of `access.tokens`.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = toml::Value::try_from(self).map_err(|_| fmt::Error)?;
        write!(f, "{entry}")
    }
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Ingest, Role::Rank, Role::Admin];

    /// As it is configured.
    pub fn name(self) -> &'static str {
        match self {
            Role::Ingest => "ingest",
            Role::Rank => "rank",
            Role::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        let role = Role::ALL.into_iter().find(|role| role.name() == text);
        role.ok_or_else(|| format!("allowed: {}", Role::ALL.map(Role::name).join(", ")))
    }
}
