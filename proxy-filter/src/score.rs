//! `POST /ltr/score` by the built-in model, with the gateway's responses. Requests that the filter
//! cannot answer exactly as the gateway would go to the gateway.

use std::fmt;

use api::Refusal;
use api::headers::MODEL;
use forest::{Forest, Output};
use ranking::Schema;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::proxy::{Counter, Proxy, announced};
use crate::route::{Route, without_query};

/// SHA-256 of a bearer token.
pub(crate) type TokenHash = [u8; 32];

/// The longest id that the gateway accepts from a caller, in bytes.
const MAX_ID_BYTES: usize = 128;

/// Limits and tokens for requests to score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Larger bodies go upstream. Envoy buffers a body until it is complete, so its buffer must be
    /// larger.
    pub(crate) max_body_bytes: usize,
    /// More rows go upstream: a worker scores them while its other requests wait.
    pub(crate) max_rows: usize,
    /// Like the gateway's `host.max_json_depth`.
    pub(crate) max_json_depth: usize,
    /// Hashes of the accepted tokens. If empty, no token is needed.
    pub(crate) tokens: Vec<TokenHash>,
}

/// The built-in model.
#[derive(Clone)]
pub struct Model {
    /// Visible ASCII, because it is also sent as a header.
    version: String,
    schema: Schema,
    forest: &'static Forest<'static>,
}

impl Model {
    /// # Errors
    /// The model does not give one score per row, or its feature names or its version are invalid.
    pub fn new(version: &str, feature_names: &[String], forest: &'static Forest<'static>) -> Result<Model, String> {
        if forest.outputs() != 1 || forest.width() != feature_names.len() {
            return Err(format!(
                "the model has {} outputs and {} features with {} names; allowed: one output and one name per feature",
                forest.outputs(),
                forest.width(),
                feature_names.len()
            ));
        }
        if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("the model's version is {version:?}; allowed: visible ASCII"));
        }
        let schema = Schema::new(feature_names).map_err(|error| error.to_string())?;
        Ok(Model {
            version: version.to_owned(),
            schema,
            forest,
        })
    }

    #[cfg(test)]
    pub(crate) fn forest(&self) -> &'static Forest<'static> {
        self.forest
    }

    fn score(&self, rows: &[Vec<f64>]) -> Vec<f64> {
        let mut scores = vec![0.0; rows.len()];
        self.forest.score(&rows.concat(), Output::Converted, &mut scores);
        scores
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model of {:?}", self.schema.names())
    }
}

/// A request that is held until it can be scored.
#[derive(Debug)]
pub(crate) struct Held {
    request_id: String,
    /// Bytes of the body that have arrived.
    pub(crate) bytes: usize,
}

impl Held {
    /// `None` if the headers show that the request cannot be scored here.
    pub(crate) fn of(proxy: &impl Proxy, route: &Route, settings: &Settings) -> Option<Held> {
        let path = proxy.header(":path")?;
        let plain = without_query(&path) == route.path_prefix.as_bytes()
            && ["upgrade", "content-encoding"]
                .iter()
                .all(|name| proxy.header(name).is_none())
            && proxy.header("content-type").is_none_or(|kind| is_json(&kind))
            && announced(proxy).is_none_or(|bytes| bytes <= settings.max_body_bytes)
            && settings.lets_in(proxy.header("authorization").as_deref());
        let id = proxy
            .header("x-request-id")
            .filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic))?;
        let request_id = String::from_utf8(id).ok()?;
        plain.then_some(Held { request_id, bytes: 0 })
    }

    /// Scores this body and answers the request. `false`: the request must go to the gateway.
    pub(crate) fn answer(&self, proxy: &impl Proxy, body: &[u8], model: &Model, settings: &Settings) -> bool {
        match api::score::json_rows(body, &model.schema, settings.max_json_depth) {
            Ok((rows, _)) if rows.len() > settings.max_rows => return false,
            Ok((rows, one)) => {
                proxy.count(Counter::Scored);
                let body = api::score::answer(&model.score(&rows), one, &model.version);
                self.say(proxy, 200, &[(MODEL, &model.version)], &body);
            }
            Err(refusal) => {
                proxy.count(Counter::ScoreRefused);
                let Refusal { status, .. } = refusal;
                let body = refusal.body(Some(&self.request_id)).to_string();
                self.say(proxy, status.into(), &[], body.as_bytes());
            }
        }
        true
    }

    fn say(&self, proxy: &impl Proxy, status: u32, more: &[(&str, &str)], body: &[u8]) {
        let headers = [
            ("content-type", "application/json"),
            ("x-request-id", self.request_id.as_str()),
        ];
        proxy.answer(status, &[&headers, more].concat(), body);
    }
}

impl Settings {
    /// Compares with every hash in constant time, so that timing reveals nothing about the tokens.
    fn lets_in(&self, authorization: Option<&[u8]>) -> bool {
        if self.tokens.is_empty() {
            return true;
        }
        let Some((scheme, token)) = authorization.and_then(|value| value.split_at_checked("Bearer ".len())) else {
            return false;
        };
        let hash: TokenHash = Sha256::digest(token.trim_ascii()).into();
        let known = self
            .tokens
            .iter()
            .fold(0, |known, token| known | token.ct_eq(&hash).unwrap_u8());
        scheme.eq_ignore_ascii_case(b"Bearer ") && known == 1
    }
}

fn is_json(content_type: &[u8]) -> bool {
    let kind = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
}
