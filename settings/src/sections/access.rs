//! Who may call the gateway: bearer tokens. The configuration holds only their hashes.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::section::Rule::Words;
use crate::section::{NAME_FAULT, is_name, section};

section! {
    /// Who may call the gateway, and which callers are edges. Without tokens, /rank, /ltr/score, /events
    /// and /models/notify are open to programs on this machine only. host.listen and the Host of a request
    /// must then be loopback, and bodies JSON or Arrow. Changes of the rollout are refused.
    ["access"] Access {
        /// Bearer tokens, stored as hashes; `ltr-host token` makes a token and its entry. Roles: ingest
        /// (/events), rank (/rank, /ltr/score), admin (changes of /rollout, /models/notify).
        tokens: Vec<Token> = Vec::new(), Words("a list of { name = \"NAME\", roles = [\"ingest\", \"rank\", \"admin\"], sha256 = \"64 hexadecimal digits\" }, each name and hash once");
        /// The Envoys that mark and copy requests. A comparison records whether one of them or another
        /// caller asked for it.
        edges: Vec<String> = Vec::new(), Words("a list of names of access.tokens, of IP addresses and of networks, as 10.0.0.0/8 (not IPv4-mapped, as ::ffff:10.0.0.1)");
    }
}

/// How the gateway recognises a configured edge (an Envoy).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edge {
    /// By the name of its token.
    Token(String),
    /// By its address: it shares the first `bits` bits with `address`.
    Network {
        /// An address of the network; only its first `bits` bits count.
        address: IpAddr,
        /// At most 32 for IPv4 and 128 for IPv6; a single address has all of them.
        bits: u8,
    },
}

impl Edge {
    /// Whether `peer` is an address of this edge. A token has none.
    pub fn has(&self, peer: IpAddr) -> bool {
        let Edge::Network { address, bits } = self else {
            return false;
        };
        let head = |address: u128, width: u8| address.checked_shr(u32::from(width - bits)).unwrap_or(0);
        match (address, peer.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(peer)) => head(own.to_bits().into(), 32) == head(peer.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(peer)) => head(own.to_bits(), 128) == head(peer.to_bits(), 128),
            _ => false,
        }
    }
}

/// One caller's token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The caller's name in logs, errors and the rollout's history.
    pub name: String,
    /// What the caller may do: exactly these, no role includes another. Not empty.
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
    /// The configured edges; `Err` holds the first text that names no edge.
    pub fn edges(&self) -> Result<Vec<Edge>, &str> {
        self.edges
            .iter()
            .map(|text| self.edge(text).ok_or(text.as_str()))
            .collect()
    }

    fn edge(&self, text: &str) -> Option<Edge> {
        if self.tokens.iter().any(|token| token.name == text) {
            return Some(Edge::Token(text.to_owned()));
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        // Peers are compared by their IPv4 address; a mapped one (::ffff:10.0.0.1) would never be met.
        if address.to_canonical() != address {
            return None;
        }
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        (bits <= width).then_some(Edge::Network { address, bits })
    }

    /// The first fault of the tokens. It repeats no configured value: where a hash should be,
    /// somebody may have put the token itself.
    pub(crate) fn fault(&self) -> Option<String> {
        self.tokens.iter().enumerate().find_map(|(at, token)| {
            let earlier = &self.tokens[..at];
            let fault = if !is_name(&token.name) {
                NAME_FAULT
            } else if earlier.iter().any(|other| other.name == token.name) {
                "an earlier entry has the same name"
            } else if token.roles.is_empty() {
                "the list of roles is empty"
            } else if token.hash().is_none() {
                "sha256 is not 64 hexadecimal digits"
            } else if earlier.iter().any(|other| other.hash() == token.hash()) {
                "an earlier entry has the same sha256"
            } else {
                return None;
            };
            Some(format!("entry {}: {fault}", at + 1))
        })
    }
}

impl Token {
    /// The hash as bytes; `None` if it is not 64 hexadecimal digits.
    pub fn hash(&self) -> Option<[u8; 32]> {
        let mut hash = [0; 32];
        hex::decode_to_slice(&self.sha256, &mut hash).ok()?;
        Some(hash)
    }
}

/// Formats the token as an entry of `access.tokens`.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = toml::Value::try_from(self).map_err(|_| fmt::Error)?;
        write!(f, "{entry}")
    }
}

impl Role {
    /// All roles, in the order in which messages list them.
    pub const ALL: [Role; 3] = [Role::Ingest, Role::Rank, Role::Admin];

    /// The name in the configuration.
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
