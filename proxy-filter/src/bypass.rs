//! Which requests can skip the filter, as a condition that Envoy evaluates by itself.
//!
//! Calling a WebAssembly filter costs Envoy about a tenth of its throughput, and nine requests in
//! ten are not sampled. Envoy can compute the sampler's hash ([`Sampler`](ranking::Sampler)). So a
//! matcher among its routes finds the requests that the filter would not change, and disables the
//! filter for them. All other requests go to the filter, which decides.

use api::headers::{EDGE_COPY, FRACTION, SHADOW};
use ranking::Sampler;
use serde_json::{Value, json};

use crate::config::{Config, ConfigError};
use crate::sampling::Key;

/// An id in the form that Envoy generates. The filter hashes this form; Envoy would hash another
/// form of the same id differently. The groups may have any length: text that is not a UUID is
/// never sampled, so it may skip the filter. Counting characters would take a regular expression
/// with more states, which costs Envoy more memory accesses.
const PLAIN_ID: &str = "[0-9a-f]*-[0-9a-f]*-4[0-9a-f-]*";
/// A key header that is present once: Envoy joins repeated headers with a comma.
const PLAIN_KEY: &str = "[^,]+";
/// Headers that only trusted peers may set: every request with one of them goes through the filter.
///
/// Envoy's bootstrap lists them under `inline_headers`, so that Envoy finds them without a lookup.
/// Otherwise Envoy first builds a map of all headers of a request, which costs almost as much as
/// the rest of the condition.
pub const INTERNAL_HEADERS: [&str; 3] = [SHADOW, EDGE_COPY, FRACTION];
/// Any bytes, UTF-8 or not.
const ANYTHING: &str = r"\C*";

impl Config {
    /// The requests for which a filter with this configuration only counts, as the predicate of an
    /// Envoy matcher (`xds.type.matcher.v3.Matcher.MatcherList.Predicate`) over request headers.
    /// Requests that are sampled at `sampling.bypass_above` do not match.
    ///
    /// # Errors
    /// The configuration has `sampling` without `sampling.bypass_above`.
    pub fn bypass(&self) -> Result<Value, ConfigError> {
        let mut conditions = Vec::new();
        for route in self.routes.iter().filter(|route| route.score) {
            conditions.push(not(&value(":path", &json!({ "prefix": route.path_prefix }))));
        }
        if let Some(sampling) = &self.sampling {
            let share = sampling.bypass_above.as_ref().ok_or_else(|| ConfigError::Value {
                key: "sampling.bypass_above".into(),
                value: "absent".into(),
                allowed: "the share above which requests skip the filter, at least sampling.fraction".into(),
            })?;
            conditions.extend(not_sampled(share, &sampling.key));
        }
        conditions.extend(INTERNAL_HEADERS.map(absent));
        Ok(json!({ "and_matcher": { "predicate": conditions } }))
    }
}

/// Requests that are not sampled at this share, and whose key Envoy hashes as the filter does.
fn not_sampled(share: &Sampler, key: &Key) -> [Value; 2] {
    let (header, form) = match key {
        Key::RequestId => ("x-request-id", PLAIN_ID),
        Key::Header(name) => (name.as_str(), PLAIN_KEY),
    };
    // Matches if the hash modulo `modulo` is at least the threshold.
    let hash = json!({ "name": "sampler", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing",
        "threshold": share.threshold(),
        "modulo": Sampler::MODULUS,
        // A JSON number cannot hold 64 bits exactly.
        "seed": share.seed().to_string(),
    } });
    let hash = json!({ "single_predicate": { "input": input(header), "custom_match": hash } });
    [hash, value(header, &regex(form))]
}

fn input(header: &str) -> Value {
    json!({ "name": header, "typed_config": {
        "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
        "header_name": header,
    } })
}

/// Requests with this header and a matching value.
fn value(header: &str, string_matcher: &Value) -> Value {
    json!({ "single_predicate": { "input": input(header), "value_match": string_matcher } })
}

/// Matches the whole value.
fn regex(regex: &str) -> Value {
    json!({ "safe_regex": { "google_re2": {}, "regex": regex } })
}

/// Requests without this header.
fn absent(header: &str) -> Value {
    not(&value(header, &regex(ANYTHING)))
}

fn not(predicate: &Value) -> Value {
    json!({ "not_matcher": predicate })
}

#[cfg(test)]
mod tests;
