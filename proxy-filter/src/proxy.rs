//! The interface between the filter and a proxy.

use std::time::Duration;

/// The proxy operations that the filter uses, for the current request. Header names are in lower
/// case. Header values are bytes, because clients may send any.
pub trait Proxy {
    /// The value of a request header. Only available while the filter handles the headers.
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    /// Sets a header and replaces all of the same name.
    fn set_header(&self, name: &str, value: &str);
    /// Removes all headers of this name.
    fn remove_header(&self, name: &str);
    /// A property of the connection, by the path of Envoy's attribute.
    fn attribute(&self, path: &[&str]) -> Option<Vec<u8>>;
    /// The first `bytes` of the current part of the body, or of the whole body if the request is
    /// held.
    fn body(&self, bytes: usize) -> Option<Vec<u8>>;
    /// Answers the request instead of the upstream.
    fn answer(&self, status: u32, headers: &[(&str, &str)], body: &[u8]);
    /// Schedules one call of [`Filter::tick`](crate::Filter::tick), outside of any request.
    fn tick_soon(&self);
    /// Sends a request of the filter's own. [`Filter::answered`](crate::Filter::answered) gets the
    /// outcome. `false`: the request cannot be sent.
    fn send(&self, call: &Call) -> bool;
    /// Adds 1 to a counter, which all workers share.
    fn count(&self, counter: Counter);
    /// Adds to a gauge, which all workers share.
    fn gauge(&self, gauge: Gauge, by: i64);
}

/// The length of the body that the client announces.
pub(crate) fn announced(proxy: &impl Proxy) -> Option<usize> {
    let length = proxy.header("content-length")?;
    std::str::from_utf8(&length).ok()?.parse().ok()
}

/// A request of the filter's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call<'a> {
    /// The name of the cluster in Envoy's configuration.
    pub cluster: &'a str,
    /// Includes method, path and authority.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body, in full.
    pub body: &'a [u8],
    /// How long the proxy waits for the response.
    pub timeout: Duration,
}

/// What the proxy does with the part of a request that has just arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Forwards it.
    Continue,
    /// Holds it until the filter answers or continues. Only requests to score are held.
    Hold,
}

macro_rules! named {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The name in the proxy's statistics.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

named! {
    /// The counters of the filter.
    Counter {
        /// Requests that the filter marked.
        Marked = "ltr_edge_marked_total",
        /// Requests that are not sampled, on a route that samples. With the bypass there are few.
        NotChosen = "ltr_edge_not_chosen_total",
        /// Requests with the opt-out header, on a route that samples.
        OptedOut = "ltr_edge_opted_out_total",
        /// Requests without a usable key, on a route that samples.
        NoKey = "ltr_edge_no_key_total",
        /// Internal headers removed from requests of untrusted peers.
        Stripped = "ltr_edge_stripped_total",
        /// Invalid fractions set by trusted peers.
        FractionInvalid = "ltr_edge_fraction_invalid_total",
        /// Requests answered with scores.
        Scored = "ltr_edge_scored_total",
        /// Requests to score that were answered with an error.
        ScoreRefused = "ltr_edge_score_refused_total",
        /// Requests to score that went upstream: there is no model, or the filter does not take
        /// this type or size.
        ScorePassed = "ltr_edge_score_passed_total",
        /// Copies sent.
        MirrorSent = "ltr_edge_mirror_sent_total",
        /// Copies with an answer of 2xx.
        MirrorAnswered = "ltr_edge_mirror_answered_total",
        /// Copies with an answer of 4xx.
        MirrorRefused = "ltr_edge_mirror_refused_total",
        /// Copies with another answer, or with none before the timeout.
        MirrorFailed = "ltr_edge_mirror_failed_total",
        /// Copies that Envoy could not send: the cluster is unknown or has no usable host.
        MirrorUnsent = "ltr_edge_mirror_unsent_total",
        /// Complete copies with an unknown outcome, because the configuration was replaced.
        MirrorLost = "ltr_edge_mirror_lost_total",
        /// Not copied: `mirror.max_in_flight` was reached.
        MirrorBusy = "ltr_edge_mirror_dropped_busy_total",
        /// Not copied: the body is larger than `mirror.max_body_bytes`.
        MirrorTooLarge = "ltr_edge_mirror_dropped_too_large_total",
        /// Not copied: the request was aborted.
        MirrorIncomplete = "ltr_edge_mirror_dropped_incomplete_total",
        /// Not copied: the body is compressed or not JSON, so its personal fields cannot be found.
        MirrorUnreadable = "ltr_edge_mirror_dropped_unreadable_total",
        /// Not copied: `x-request-id` is not a UUID, so the gateway could not recognise two copies
        /// of one request.
        MirrorNoId = "ltr_edge_mirror_dropped_no_id_total",
        /// Not copied: the request upgrades to another protocol.
        MirrorUpgrade = "ltr_edge_mirror_dropped_upgrade_total",
        /// Headers in `mirror.headers` that were not copied because they are not UTF-8.
        MirrorHeaderDropped = "ltr_edge_mirror_header_dropped_total",
    }
}

named! {
    /// The gauges of the filter.
    Gauge {
        /// Copies from their first byte to their answer.
        InFlight = "ltr_edge_mirror_in_flight",
    }
}
