//! Names of the project's own headers, in lower case: of requests, and [`MODEL`] of responses.

/// `1`: the gateway compares this request in shadow.
pub const SHADOW: &str = "x-shadow-ltr";
/// `1`: this request is a copy. It may leave no trace except the comparison.
pub const EDGE_COPY: &str = "x-ltr-edge-copy";
/// The id of a copy's original request. Proxies on the way may rewrite `x-request-id`, but not this
/// header.
pub const REQUEST_ID: &str = "x-ltr-request-id";
/// Set if a copy's user is already a pseudonym; holds the [`ranking::salt_id`] of its salt.
pub const USER_UNDER: &str = "x-ltr-user-pseudonym";
/// With any value: this request is never sampled.
pub const OPT_OUT: &str = "x-ltr-opt-out";
/// The sampled share for this request only. The Envoy filter accepts it from trusted peers.
pub const FRACTION: &str = "x-ltr-shadow-fraction";
/// In a response with scores: the version of the model that gave them.
pub const MODEL: &str = "x-ltr-model";
