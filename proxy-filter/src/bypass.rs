//! Which requests may go past the filter, in terms that Envoy can decide by itself.
//!
//! Calling a filter in WebAssembly costs Envoy about a tenth of the requests that it could pass on, and nine of ten requests
//! are not chosen. Envoy computes the sampler's hash as well ([`Sampler`](ranking::Sampler)), so that a matcher among its
//! routes can tell those for which the filter would do nothing, and switch it off for them. It has no other say: what it
//! is not sure of goes to the filter, which decides.

use api::headers::{EDGE_COPY, FRACTION, OPT_OUT, SHADOW};
use ranking::Sampler;
use serde_json::{Value, json};

use crate::config::{Config, ConfigError};
use crate::route::Route;
use crate::sampling::Key;

/// An id as Envoy makes it, in the one form that is hashed: another form of the same id has another hash in Envoy. Groups
/// of the wrong length or number pass, too, which is right, because no id that is none is chosen. To count takes a regular
/// expression more states, each of which Envoy has to fetch into the processor's cache.
const PLAIN_ID: &str = "[0-9a-f]*-[0-9a-f]*-4[0-9a-f-]*";
/// An id that is one for certain, and in that form: whoever has it is chosen or not by its hash.
const WHOLE_ID: &str = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}";
/// A key that is there, once: Envoy joins several with a comma.
const PLAIN_KEY: &str = "[^,]+";
/// Headers that only trusted peers may set: the filter has to see every request that has one. Envoy is told of them in its
/// bootstrap (`inline_headers`), so that it knows by a pointer whether a request has one; otherwise it first makes a
/// dictionary of all of a request's headers, which costs almost as much as the rest of the condition.
pub const INTERNAL_HEADERS: [&str; 3] = [SHADOW, EDGE_COPY, FRACTION];
/// The header of a request that is marked, and its value.
pub const MARK: (&str, &str) = (SHADOW, "1");
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
        let mut conditions = Vec::new();
        for route in self.routes.iter().filter(|route| route.score) {
            conditions.push(not(&value(":path", &json!({ "prefix": route.path_prefix }))));
        }
        if let Some(sampling) = &self.sampling {
            let share = sampling.bypass_above.as_ref().ok_or_else(|| {
                absent(
                    "bypass_above",
                    "the share above which requests go past the filter, sampling.fraction or more",
                )
            })?;
            conditions.push(beyond(share, &sampling.key));
            if !matches!(sampling.key, Key::RequestId { own: true }) {
                conditions.push(plain(&sampling.key, PLAIN_ID));
            }
        }
        conditions.extend(INTERNAL_HEADERS.map(absence));
        Ok(and(conditions))
    }

    /// The requests that a filter with this configuration would mark and otherwise leave alone, as [`Config::bypass`]
    /// says those for which it would do nothing: chosen by a share of up to `sampling.marked_below`, on a route whose only
    /// mode is `mark`. The route that is theirs sets the header.
    ///
    /// # Errors
    /// No `sampling.marked_below`, or no route that only marks.
    pub fn marked(&self) -> Result<Value, ConfigError> {
        let marked = self
            .sampling
            .as_ref()
            .and_then(|sampling| Some((&sampling.key, sampling.marked_below.as_ref()?)));
        let Some((key, share)) = marked else {
            return Err(absent(
                "marked_below",
                "the share below which the routes mark, sampling.fraction or less",
            ));
        };
        // A request without an id is beyond no share. So the form is asked about here even where Envoy is said to make all
        // ids: were it not so, all would be marked.
        let conditions = [not(&beyond(share, key)), self.only_mark()?, plain(key, WHOLE_ID)].into_iter();
        let absences = [OPT_OUT].into_iter().chain(INTERNAL_HEADERS).map(absence);
        Ok(and(conditions.chain(absences)))
    }

    /// The requests of routes whose only mode is `mark`: of several routes that have a request, the first counts.
    fn only_mark(&self) -> Result<Value, ConfigError> {
        let (mut marking, mut others) = (Vec::new(), Vec::new());
        for route in &self.routes {
            let here = on(route);
            match route.mark && !route.mirror {
                true => marking.push(and([here].into_iter().chain(others.iter().map(not)))),
                false => others.push(here),
            }
        }
        match marking.is_empty() {
            true => Err(ConfigError::Value {
                key: "routes".into(),
                value: "without one that only marks".into(),
                allowed: "at least one whose modes are mark alone, because the filter is asked about all others".into(),
            }),
            false => Ok(or(marking)),
        }
    }
}

fn absent(key: &str, allowed: &str) -> ConfigError {
    ConfigError::Value {
        key: format!("sampling.{key}"),
        value: "absent".into(),
        allowed: allowed.into(),
    }
}

/// The requests of a route, as [`Route::has`] has them.
fn on(route: &Route) -> Value {
    let prefix = route.path_prefix.as_str();
    let path = match prefix {
        "/" => value(":path", &json!({ "prefix": prefix })),
        _ => or([
            value(":path", &json!({ "exact": prefix })),
            value(":path", &json!({ "prefix": format!("{prefix}/") })),
            value(":path", &json!({ "prefix": format!("{prefix}?") })),
        ]),
    };
    and([value(":method", &json!({ "exact": route.method })), path])
}

fn key_header(key: &Key) -> &str {
    match key {
        Key::RequestId { .. } => "x-request-id",
        Key::Header(name) => name,
    }
}

/// Whose hash is beyond this share.
fn beyond(share: &Sampler, key: &Key) -> Value {
    // Matches a hash whose remainder is the threshold or more.
    let hash = json!({ "name": "sampler", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing",
        "threshold": share.threshold(),
        "modulo": Sampler::MODULUS,
        // 64 bits, which a JSON number cannot be trusted with.
        "seed": share.seed().to_string(),
    } });
    json!({ "single_predicate": { "input": input(key_header(key)), "custom_match": hash } })
}

/// Whose key is one that Envoy hashes as the filter does; `id` is the form of an id.
fn plain(key: &Key, id: &str) -> Value {
    let form = match key {
        Key::RequestId { .. } => id,
        Key::Header(_) => PLAIN_KEY,
    };
    value(key_header(key), &regex(form))
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

fn absence(header: &str) -> Value {
    not(&value(header, &regex(ANYTHING)))
}

fn not(predicate: &Value) -> Value {
    json!({ "not_matcher": predicate })
}

fn and(predicates: impl IntoIterator<Item = Value>) -> Value {
    several("and_matcher", predicates.into_iter().collect())
}

fn or(predicates: impl IntoIterator<Item = Value>) -> Value {
    several("or_matcher", predicates.into_iter().collect())
}

/// Envoy takes none of fewer than two.
fn several(of: &str, mut predicates: Vec<Value>) -> Value {
    match predicates.len() {
        1 => predicates.remove(0),
        _ => json!({ of: { "predicate": predicates } }),
    }
}

#[cfg(test)]
mod tests;
