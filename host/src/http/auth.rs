//! Who calls, and what they may do: bearer tokens with roles.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::{HeaderMap, StatusCode, header};
use settings::{Edge, Role};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::ApiError;

/// The configured tokens, by their hashes.
pub struct Access {
    tokens: Vec<Arc<Known>>,
    edges: Vec<Edge>,
}

/// A configured token.
#[derive(Debug)]
pub struct Known {
    pub name: String,
    roles: Vec<Role>,
    hash: [u8; 32],
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub enum Caller {
    /// It carries no token.
    Anonymous,
    /// It carries a token that is not configured.
    Stranger,
    Known(Arc<Known>),
}

/// What a route asks of its caller.
#[derive(Clone, Copy)]
pub struct Need {
    pub role: Role,
    /// Whether anybody may while no token is configured at all. The gateway then listens on loopback alone.
    pub open_by_default: bool,
}

impl Access {
    /// # Panics
    /// Where `validate` would refuse the settings.
    pub fn new(settings: &settings::Access) -> Access {
        let known = |token: &settings::Token| Known {
            name: token.name.clone(),
            roles: token.roles.clone(),
            hash: token.hash().expect("validate has accepted the tokens"),
        };
        Access {
            tokens: settings.tokens.iter().map(|token| Arc::new(known(token))).collect(),
            edges: settings.edges().expect("validate has accepted the edges"),
        }
    }

    /// Whether a configured edge calls, by its token or by its address.
    pub fn is_edge(&self, caller: &Caller, peer: Option<IpAddr>) -> bool {
        self.edges.iter().any(|edge| match (edge, caller) {
            (Edge::Token(name), Caller::Known(known)) => *name == known.name,
            (Edge::Token(_), _) => false,
            (Edge::Network { .. }, _) => peer.is_some_and(|peer| edge.has(peer)),
        })
    }

    /// Whether no token is configured.
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Compares hashes, every one of them and in constant time, so that the time taken says nothing.
    pub fn identify(&self, headers: &HeaderMap) -> Caller {
        let Some(token) = bearer(headers) else {
            return Caller::Anonymous;
        };
        let hash = Sha256::digest(token);
        let mut caller = Caller::Stranger;
        for known in &self.tokens {
            if known.hash.ct_eq(&hash).into() {
                caller = Caller::Known(known.clone());
            }
        }
        caller
    }

    /// Lets a caller through who may.
    ///
    /// # Errors
    /// 401 without a token that is known, 403 where its roles do not suffice.
    pub fn check(&self, caller: &Caller, need: Need) -> Result<(), ApiError> {
        let role = need.role.name();
        if self.is_open() {
            return match need.open_by_default {
                true => Ok(()),
                false => Err(refused(
                    StatusCode::FORBIDDEN,
                    "no_tokens",
                    format!(
                        "no token is configured (access.tokens), so nobody may do this; `ltr-host token NAME --role {role}` makes one"
                    ),
                )),
            };
        }
        match caller {
            Caller::Anonymous => Err(refused(
                StatusCode::UNAUTHORIZED,
                "no_token",
                format!("this call needs a token with the role {role}, in the header Authorization: Bearer TOKEN"),
            )),
            Caller::Stranger => Err(refused(
                StatusCode::UNAUTHORIZED,
                "unknown_token",
                "the token in the header Authorization is not known here: no entry of access.tokens has its SHA-256",
            )),
            Caller::Known(known) if known.roles.contains(&need.role) => Ok(()),
            Caller::Known(known) => Err(refused(
                StatusCode::FORBIDDEN,
                "wrong_role",
                format!(
                    "the token of {} has the role {}; this call needs {role} (access.tokens)",
                    known.name,
                    known
                        .roles
                        .iter()
                        .map(|role| role.name())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            )),
        }
    }
}

impl Caller {
    /// Who is said to have done it.
    pub fn name(&self) -> &str {
        match self {
            Caller::Known(known) => &known.name,
            Caller::Anonymous | Caller::Stranger => "anonymous",
        }
    }
}

fn refused(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(status, code, message)
}

/// What stands behind `Bearer` in the header Authorization.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_known_by_its_address_where_that_is_configured() {
        let access = Access::new(&settings::Access {
            edges: vec!["10.1.0.0/16".into(), "::1".into()],
            ..settings::Access::default()
        });
        let is_edge = |peer: &str| access.is_edge(&Caller::Anonymous, peer.parse().ok());
        assert!(is_edge("10.1.2.3") && is_edge("::1"));
        assert!(!is_edge("10.2.0.1") && !is_edge("::2") && !is_edge("nowhere"));
    }
}
