//! Which requests may go past the filter, in terms that Envoy can decide by itself.
//!
//! Calling a filter in WebAssembly costs Envoy about a tenth of the requests that it could pass on, and nine of ten requests
//! are not chosen. Envoy computes the sampler's hash as well ([`Sampler`](ranking::Sampler)), so that a matcher among its
//! routes can tell those for which the filter would do nothing, and switch it off for them. It has no other say: what it
//! is not sure of goes to the filter, which decides.

use api::headers::{EDGE_COPY, FRACTION, SHADOW};
use ranking::Sampler;
use serde_json::{Value, json};

use crate::config::{Config, ConfigError};
use crate::sampling::{Key, Sampling};

/// An id as Envoy makes it, in the one form that is hashed: another form of the same id has another hash in Envoy. Groups
/// of the wrong length or number pass, too, which is right, because no id that is none is chosen. To count takes a regular
/// expression more states, each of which Envoy has to fetch into the processor's cache.
const PLAIN_ID: &str = "[0-9a-f]*-[0-9a-f]*-4[0-9a-f-]*";
/// A key that is there, once: Envoy joins several with a comma.
const PLAIN_KEY: &str = "[^,]+";
/// Headers that only trusted peers may set: the filter has to see every request that has one. Envoy is told of them in its
/// bootstrap (`inline_headers`), so that it knows by a pointer whether a request has one; otherwise it first makes a
/// dictionary of all of a request's headers, which costs almost as much as the rest of the condition.
pub const INTERNAL_HEADERS: [&str; 3] = [SHADOW, EDGE_COPY, FRACTION];
/// Bytes, UTF-8 or not.
const ANYTHING: &str = r"\C*";

impl Config {
    /// The requests for which a filter with this configuration does nothing but count, as the predicate of an Envoy matcher
    /// (`xds.type.matcher.v3.Matcher.MatcherList.Predicate`) over request headers. Those that are chosen by a share of up
    /// to `sampling.bypass_above` are not among them. With `sampling.own_ids`, it rests on Envoy having made the id.
    ///
    /// # Errors
    /// No `sampling.bypass_above` where there is sampling.
    pub fn bypass(&self) -> Result<Value, ConfigError> {
        let mut all = Vec::new();
        for route in self.routes.iter().filter(|route| route.score) {
            all.push(not(&value(":path", &json!({ "prefix": route.path_prefix }))));
        }
        if let Some(sampling) = &self.sampling {
            all.extend(not_chosen(sampling)?);
        }
        all.extend(INTERNAL_HEADERS.map(|name| not(&value(name, &regex(ANYTHING)))));
        Ok(json!({ "and_matcher": { "predicate": all } }))
    }
}

/// Whose key is one that Envoy hashes as the filter does, and is beyond the share.
fn not_chosen(sampling: &Sampling) -> Result<Vec<Value>, ConfigError> {
    let Some(beyond) = &sampling.bypass_above else {
        return Err(ConfigError::Value {
            key: "sampling.bypass_above".into(),
            value: "absent".into(),
            allowed: "the share above which requests go past the filter, sampling.fraction or more".into(),
        });
    };
    let (header, plain) = match &sampling.key {
        Key::RequestId { own: true } => ("x-request-id", None),
        Key::RequestId { own: false } => ("x-request-id", Some(PLAIN_ID)),
        Key::Header(name) => (name.as_str(), Some(PLAIN_KEY)),
    };
    // Matches a hash whose remainder is the threshold or more.
    let hash = json!({ "name": "sampler", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing",
        "threshold": beyond.threshold(),
        "modulo": Sampler::MODULUS,
        // 64 bits, which a JSON number cannot be trusted with.
        "seed": beyond.seed().to_string(),
    } });
    let hash = json!({ "single_predicate": { "input": input(header), "custom_match": hash } });
    let plain = plain.map(|plain| value(header, &regex(plain)));
    Ok([hash].into_iter().chain(plain).collect())
}

fn input(header: &str) -> Value {
    json!({ "name": header, "typed_config": {
        "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
        "header_name": header,
    } })
}

/// A request with this header, and a value that matches.
fn value(header: &str, string_matcher: &Value) -> Value {
    json!({ "single_predicate": { "input": input(header), "value_match": string_matcher } })
}

/// A match of a whole text.
fn regex(regex: &str) -> Value {
    json!({ "safe_regex": { "google_re2": {}, "regex": regex } })
}

fn not(predicate: &Value) -> Value {
    json!({ "not_matcher": predicate })
}

#[cfg(test)]
mod tests;
