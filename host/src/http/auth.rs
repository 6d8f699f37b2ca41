//! Authentication and authorisation of callers: bearer tokens with roles.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::{HeaderMap, StatusCode, header};
use settings::{Edge, Role};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::ApiError;

/// The configured tokens and edges.
pub struct Access {
    tokens: Vec<Arc<ApiToken>>,
    edges: Vec<Edge>,
}

/// A configured token. Only its hash is known.
#[derive(Debug)]
pub struct ApiToken {
    /// The token's name in the settings. It names the caller in the rollout history.
    pub name: String,
    roles: Vec<Role>,
    hash: [u8; 32],
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The request carries no token.
    Anonymous,
    /// The request carries a token that is not configured.
    UnknownToken,
    /// The request carries a configured token.
    ApiToken(Arc<ApiToken>),
}

/// The permission that a route requires.
#[derive(Clone, Copy)]
pub struct Permission {
    /// The role that the caller's token must have.
    pub role: Role,
    /// Whether everybody has it while no token is configured. The gateway then listens on loopback
    /// only.
    pub open_without_tokens: bool,
}

impl Access {
    /// # Panics
    /// If `validate` would refuse the settings.
    pub fn new(settings: &settings::Access) -> Access {
        let api_token = |token: &settings::Token| ApiToken {
            name: token.name.clone(),
            roles: token.roles.clone(),
            hash: token.hash().expect("validate has accepted the tokens"),
        };
        Access {
            tokens: settings.tokens.iter().map(|token| Arc::new(api_token(token))).collect(),
            edges: settings.edges().expect("validate has accepted the edges"),
        }
    }

    /// Whether the caller is a configured edge, by its token or by its address.
    pub fn is_edge(&self, caller: &Caller, peer: Option<IpAddr>) -> bool {
        self.edges.iter().any(|edge| match (edge, caller) {
            (Edge::Token(name), Caller::ApiToken(token)) => *name == token.name,
            (Edge::Token(_), _) => false,
            (Edge::Network { .. }, _) => peer.is_some_and(|peer| edge.has(peer)),
        })
    }

    /// Whether no token is configured.
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Identifies the caller by the bearer token. Compares with every hash, each in constant time,
    /// so that the time taken reveals nothing.
    pub fn identify(&self, headers: &HeaderMap) -> Caller {
        let Some(sent) = bearer(headers) else {
            return Caller::Anonymous;
        };
        let hash = Sha256::digest(sent);
        let mut caller = Caller::UnknownToken;
        for token in &self.tokens {
            if token.hash.ct_eq(&hash).into() {
                caller = Caller::ApiToken(token.clone());
            }
        }
        caller
    }

    /// Checks that the caller has the permission.
    ///
    /// # Errors
    /// 401 without a configured token, 403 if the token lacks the role.
    pub fn check(&self, caller: &Caller, permission: Permission) -> Result<(), ApiError> {
        let role = permission.role.name();
        if self.is_open() {
            return if permission.open_without_tokens {
                Ok(())
            } else {
                Err(refused(
                    StatusCode::FORBIDDEN,
                    "no_tokens",
                    format!(
                        "no token is configured (access.tokens), and this call needs one; make it with `ltr-host token NAME --role {role}`"
                    ),
                ))
            };
        }
        match caller {
            Caller::Anonymous => Err(refused(
                StatusCode::UNAUTHORIZED,
                "no_token",
                format!("this call needs a token with the role {role}, in the header Authorization: Bearer TOKEN"),
            )),
            Caller::UnknownToken => Err(refused(
                StatusCode::UNAUTHORIZED,
                "unknown_token",
                "the token in the header Authorization is unknown: no entry of access.tokens has its SHA-256",
            )),
            Caller::ApiToken(token) if token.roles.contains(&permission.role) => Ok(()),
            Caller::ApiToken(token) => Err(refused(
                StatusCode::FORBIDDEN,
                "wrong_role",
                format!(
                    "the token of {} has the role {}; this call needs {role} (access.tokens)",
                    token.name,
                    token
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
    /// The caller's name in the rollout's history.
    pub fn name(&self) -> &str {
        match self {
            Caller::ApiToken(token) => &token.name,
            Caller::Anonymous | Caller::UnknownToken => "anonymous",
        }
    }
}

fn refused(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(status, code, message)
}

/// The token after `Bearer` in the header `Authorization`.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_recognised_by_its_address() {
        let access = Access::new(&settings::Access {
            edges: vec!["10.1.0.0/16".into(), "::1".into()],
            ..settings::Access::default()
        });
        let is_edge = |peer: &str| access.is_edge(&Caller::Anonymous, peer.parse().ok());
        assert!(is_edge("10.1.2.3") && is_edge("::1"));
        assert!(!is_edge("10.2.0.1") && !is_edge("::2") && !is_edge("nowhere"));
    }
}
