//! The plug-in configuration: JSON that is validated as a whole before it takes effect.

use std::fmt::Display;
use std::time::Duration;

use ranking::Sampler;
use serde::Deserialize;

use crate::mirror::{self, Personal, Pointer};
use crate::route::Route;
use crate::sampling::{Key, Sampling};
use crate::score::{self, TokenHash};
use crate::trust::Trusted;

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub(crate) sampling: Option<Sampling>,
    pub(crate) trusted: Trusted,
    pub(crate) routes: Vec<Route>,
    pub(crate) mirror: Option<mirror::Settings>,
    pub(crate) score: Option<score::Settings>,
}

/// Why a configuration is rejected: the key, its value and the allowed values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The configuration is no JSON of this shape: unknown key, missing key, wrong type.
    #[error("{key}: {reason}")]
    Shape {
        /// The path of the key, as `routes[0].modes`.
        key: String,
        /// What is wrong there.
        reason: String,
    },
    /// A key has a value that it does not take.
    #[error("{key} is {value}; allowed: {allowed}")]
    Value {
        /// The path of the key, as `sampling.fraction`.
        key: String,
        /// The value as it was read.
        value: String,
        /// What the key takes.
        allowed: String,
    },
}

fn value(key: impl Into<String>, value: impl Display, allowed: impl Into<String>) -> ConfigError {
    ConfigError::Value {
        key: key.into(),
        value: value.to_string(),
        allowed: allowed.into(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    sampling: Option<RawSampling>,
    trusted: Option<RawTrusted>,
    routes: Vec<RawRoute>,
    mirror: Option<RawMirror>,
    score: Option<RawScore>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSampling {
    salt: String,
    fraction: f64,
    /// The header whose value is hashed; the request id by default.
    key_header: Option<String>,
    /// The share above which Envoy's routes let requests skip the filter.
    bypass_above: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrusted {
    #[serde(default)]
    cidrs: Vec<String>,
    #[serde(default)]
    uri_sans: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoute {
    path_prefix: String,
    method: String,
    modes: Vec<RawMode>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawMode {
    Mark,
    Mirror,
    Score,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMirror {
    cluster: String,
    authority: Option<String>,
    headers: Vec<String>,
    max_body_bytes: usize,
    max_in_flight: u32,
    timeout_ms: u64,
    personal: RawPersonal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPersonal {
    #[serde(default)]
    redact: Vec<String>,
    #[serde(default)]
    pseudonymise: Vec<String>,
    /// The environment variable that holds the salt. The configuration itself contains no secret.
    salt_env: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScore {
    max_body_bytes: usize,
    max_rows: usize,
    max_json_depth: usize,
    tokens_sha256: Vec<String>,
}

/// Memory limit per copy and per request to score.
const MAX_BODY_BYTES: usize = 16 << 20;
/// Memory limit for all copies of a worker. A virtual machine fails when its 4 GiB are used up.
const MAX_COPIED_BYTES: usize = 1 << 30;

impl Config {
    /// Parses and validates a configuration. `variable` reads the environment variables that Envoy
    /// passes to the filter.
    ///
    /// # Errors
    /// The first invalid value.
    pub fn read(json: &[u8], variable: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let mut json = serde_json::Deserializer::from_slice(json);
        let raw: Raw = serde_path_to_error::deserialize(&mut json).map_err(|error| ConfigError::Shape {
            key: match error.path().to_string() {
                root if root == "." => "the plug-in configuration".into(),
                key => key,
            },
            reason: error.into_inner().to_string(),
        })?;
        json.end().map_err(|error| ConfigError::Shape {
            key: "the plug-in configuration".into(),
            reason: error.to_string(),
        })?;
        let routes = routes(raw.routes)?;
        let config = Config {
            sampling: raw.sampling.map(sampling).transpose()?,
            trusted: raw.trusted.map(trusted).transpose()?.unwrap_or_default(),
            mirror: raw.mirror.map(|raw| mirror(raw, variable)).transpose()?,
            score: raw.score.map(score).transpose()?,
            routes,
        };
        config.check_modes()?;
        Ok(config)
    }

    /// Whether the filter needs a model.
    pub fn scores(&self) -> bool {
        self.score.is_some()
    }

    /// Accepts a configuration for `edge-mark.wasm`, which gets the headers of requests and not
    /// their bodies.
    ///
    /// # Errors
    /// A route has a mode other than `mark`.
    pub fn only_marks(self) -> Result<Config, ConfigError> {
        match self.routes.iter().position(|route| route.mirror || route.score) {
            None => Ok(self),
            Some(at) => {
                let allowed = "only mark, because edge-mark.wasm gets no bodies; edge-filter.wasm has all modes";
                Err(value(format!("routes[{at}].modes"), "not only mark", allowed))
            }
        }
    }

    /// Each mode needs its section of the configuration.
    fn check_modes(&self) -> Result<(), ConfigError> {
        let absent = |key: &str, modes: &str| value(key, "absent", format!("present if a route has the mode {modes}"));
        let any = |mode: fn(&Route) -> bool| self.routes.iter().any(mode);
        if self.sampling.is_none() && any(|route| route.mark || route.mirror) {
            return Err(absent("sampling", "mark or mirror"));
        }
        if self.mirror.is_none() && any(|route| route.mirror) {
            return Err(absent("mirror", "mirror"));
        }
        if self.score.is_none() && any(|route| route.score) {
            return Err(absent("score", "score"));
        }
        Ok(())
    }
}

fn sampling(raw: RawSampling) -> Result<Sampling, ConfigError> {
    if raw.salt.is_empty() {
        return Err(value(
            "sampling.salt",
            "empty",
            "the gateway's shadow.salt, or any other text",
        ));
    }
    let sampler =
        Sampler::new(&raw.salt, raw.fraction).map_err(|error| value("sampling.fraction", error.0, "0 to 1"))?;
    let bypass_above = raw
        .bypass_above
        .map(|share| bypass_above(share, raw.fraction, &sampler))
        .transpose()?;
    let key = match raw.key_header {
        None => Key::RequestId,
        Some(name) => Key::Header(header_name("sampling.key_header", name)?),
    };
    Ok(Sampling {
        sampler,
        key,
        bypass_above,
    })
}

/// Requests that the filter would sample must not skip it.
fn bypass_above(share: f64, fraction: f64, sampler: &Sampler) -> Result<Sampler, ConfigError> {
    match sampler.at(share) {
        Ok(above) if share >= fraction => Ok(above),
        _ => {
            let allowed =
                format!("sampling.fraction ({fraction}) to 1, because requests that skip the filter are not sampled");
            Err(value("sampling.bypass_above", share, allowed))
        }
    }
}

fn trusted(raw: RawTrusted) -> Result<Trusted, ConfigError> {
    let network = |(at, text): (usize, &String)| {
        let allowed = "an IP address, or a network such as 10.0.0.0/8";
        text.parse()
            .map_err(|()| value(format!("trusted.cidrs[{at}]"), format!("{text:?}"), allowed))
    };
    if let Some(at) = raw.uri_sans.iter().position(String::is_empty) {
        return Err(value(
            format!("trusted.uri_sans[{at}]"),
            "empty",
            "the URI in a client's certificate",
        ));
    }
    Ok(Trusted {
        networks: raw.cidrs.iter().enumerate().map(network).collect::<Result<_, _>>()?,
        uri_sans: raw.uri_sans,
    })
}

fn routes(raw: Vec<RawRoute>) -> Result<Vec<Route>, ConfigError> {
    if raw.is_empty() {
        return Err(value("routes", "empty", "at least one route"));
    }
    raw.into_iter().enumerate().map(|(at, raw)| route(at, raw)).collect()
}

fn route(at: usize, raw: RawRoute) -> Result<Route, ConfigError> {
    let key = |field: &str| format!("routes[{at}].{field}");
    let prefix = &raw.path_prefix;
    if !prefix.starts_with('/') || prefix.contains(['?', '#']) || (prefix.len() > 1 && prefix.ends_with('/')) {
        let allowed = "/ for all paths, or a path that begins with a slash, does not end with one and has no query";
        return Err(value(key("path_prefix"), format!("{prefix:?}"), allowed));
    }
    if raw.method.is_empty() || !raw.method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(value(
            key("method"),
            format!("{:?}", raw.method),
            "a method such as POST",
        ));
    }
    let has = |mode| raw.modes.contains(&mode);
    let (mark, mirror, score) = (has(RawMode::Mark), has(RawMode::Mirror), has(RawMode::Score));
    if raw.modes.is_empty() || (score && (mark || mirror)) {
        let value_of = if score { "score with other modes" } else { "empty" };
        return Err(value(key("modes"), value_of, "mark, mirror, both, or score alone"));
    }
    Ok(Route {
        path_prefix: raw.path_prefix,
        method: raw.method,
        mark,
        mirror,
        score,
    })
}

fn mirror(raw: RawMirror, variable: impl Fn(&str) -> Option<String>) -> Result<mirror::Settings, ConfigError> {
    if raw.cluster.is_empty() {
        return Err(value("mirror.cluster", "empty", "the name of a cluster"));
    }
    let name = |(at, name)| header_name(&format!("mirror.headers[{at}]"), name);
    let max_body_bytes = within("mirror.max_body_bytes", raw.max_body_bytes, 0, MAX_BODY_BYTES)?;
    let max_in_flight = within("mirror.max_in_flight", raw.max_in_flight, 1, 10_000)?;
    let copied = max_body_bytes.saturating_mul(max_in_flight as usize);
    within(
        "mirror.max_body_bytes times mirror.max_in_flight",
        copied,
        0,
        MAX_COPIED_BYTES,
    )?;
    Ok(mirror::Settings {
        authority: raw.authority.unwrap_or_else(|| raw.cluster.clone()),
        cluster: raw.cluster,
        headers: raw
            .headers
            .into_iter()
            .enumerate()
            .map(name)
            .collect::<Result<_, _>>()?,
        max_body_bytes,
        max_in_flight,
        timeout: Duration::from_millis(within("mirror.timeout_ms", raw.timeout_ms, 1, 60_000)?),
        personal: personal(raw.personal, variable)?,
    })
}

fn personal(raw: RawPersonal, variable: impl Fn(&str) -> Option<String>) -> Result<Personal, ConfigError> {
    let pointers = |key: &str, texts: Vec<String>| {
        let pointer = |(at, text): (usize, String)| {
            let allowed = "a JSON pointer such as /case/user_id; * stands for every element";
            Pointer::parse(&text)
                .ok_or_else(|| value(format!("mirror.personal.{key}[{at}]"), format!("{text:?}"), allowed))
        };
        texts
            .into_iter()
            .enumerate()
            .map(pointer)
            .collect::<Result<Vec<_>, _>>()
    };
    let redact = pointers("redact", raw.redact)?;
    let pseudonymise = pointers("pseudonymise", raw.pseudonymise)?;
    let salt = match raw.salt_env {
        None if pseudonymise.is_empty() => Vec::new(),
        None => {
            let allowed = "the environment variable that holds the text of the gateway's privacy.salt_file";
            return Err(value("mirror.personal.salt_env", "absent", allowed));
        }
        Some(name) => {
            let key = "mirror.personal.salt_env";
            let Some(salt) = variable(&name) else {
                let allowed = "a variable that vm_config.environment_variables passes to the filter";
                return Err(value(key, format!("{name:?}, which is not set"), allowed));
            };
            let length = salt.trim().len();
            if length < 32 {
                return Err(value(
                    key,
                    format!("{name:?}, with {length} characters"),
                    "at least 32 characters",
                ));
            }
            salt.trim().as_bytes().to_vec()
        }
    };
    Ok(Personal {
        redact,
        pseudonymise,
        salt,
    })
}

fn score(raw: RawScore) -> Result<score::Settings, ConfigError> {
    let hash = |(at, text): (usize, &String)| {
        let allowed = "the SHA-256 that `ltr-host token` prints";
        let mut hash: TokenHash = [0; 32];
        // The value is not shown: somebody may have entered the token itself.
        hex::decode_to_slice(text, &mut hash).map(|()| hash).map_err(|_| {
            value(
                format!("score.tokens_sha256[{at}]"),
                "not 64 hexadecimal digits",
                allowed,
            )
        })
    };
    Ok(score::Settings {
        max_body_bytes: within("score.max_body_bytes", raw.max_body_bytes, 1, MAX_BODY_BYTES)?,
        max_rows: within("score.max_rows", raw.max_rows, 1, 1_000_000)?,
        max_json_depth: within("score.max_json_depth", raw.max_json_depth, 4, 126)?,
        tokens: raw
            .tokens_sha256
            .iter()
            .enumerate()
            .map(hash)
            .collect::<Result<_, _>>()?,
    })
}

fn within<T: PartialOrd + Display>(key: &str, number: T, least: T, most: T) -> Result<T, ConfigError> {
    if (&least..=&most).contains(&&number) {
        Ok(number)
    } else {
        Err(value(key, number, format!("{least} to {most}")))
    }
}

/// Headers that the filter sets on a copy, or that belong to one connection.
const OWN: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

fn header_name(key: &str, name: String) -> Result<String, ConfigError> {
    let token = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    if !name.is_empty() && name.bytes().all(token) && !OWN.contains(&name.as_str()) && !name.starts_with("x-ltr-") {
        Ok(name)
    } else {
        let allowed = format!(
            "a header name in lower case, except {} and names that begin with x-ltr-",
            OWN.join(", ")
        );
        Err(value(key, format!("{name:?}"), allowed))
    }
}

#[cfg(test)]
mod tests;
