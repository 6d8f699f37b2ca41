//! What hops say to each other about a request, beside HTTP's own headers. In lower case.

/// `1` asks the gateway for a comparison in shadow.
pub const SHADOW: &str = "x-shadow-ltr";
/// `1`: this is a copy, of which nothing may be left but the comparison.
pub const EDGE_COPY: &str = "x-ltr-edge-copy";
/// The id of a copy's original. Proxies on the way may rewrite `x-request-id`, but not this.
pub const REQUEST_ID: &str = "x-ltr-request-id";
/// Says that a copy's user is a pseudonym already, and by [`ranking::salt_id`] under which salt.
pub const USER_UNDER: &str = "x-ltr-user-pseudonym";
/// With any value: this request is in no sample.
pub const OPT_OUT: &str = "x-ltr-opt-out";
/// From a peer that the Envoy filter trusts: the sampled share, for this request alone.
pub const FRACTION: &str = "x-ltr-shadow-fraction";
