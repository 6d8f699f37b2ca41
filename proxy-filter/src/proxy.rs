//! All that the filter can ask of a proxy, and tell it.

use std::time::Duration;

/// A proxy that holds a request, as far as the filter needs one. Header names are in lower case; header values are
/// bytes, as clients may send any.
pub trait Proxy {
    /// The value of a request header, while the headers are passing.
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    /// Puts a header in place of all of that name.
    fn set_header(&self, name: &str, value: &str);
    fn remove_header(&self, name: &str);
    /// What the proxy knows of the connection, by the names of Envoy's attributes.
    fn attribute(&self, path: &[&str]) -> Option<Vec<u8>>;
    /// The first `bytes` of the part of the body that is passing, or of all that was held up.
    fn body(&self, bytes: usize) -> Option<Vec<u8>>;
    /// Answers in place of the upstream.
    fn answer(&self, status: u32, headers: &[(&str, &str)], body: &[u8]);
    /// Asks for one call of [`Filter::tick`](crate::Filter::tick), from outside of any request.
    fn tick_soon(&self);
    /// Sends a request of the filter's own, whose end is told to [`Filter::answered`](crate::Filter::answered). `false`:
    /// it cannot be sent.
    fn send(&self, call: &Call) -> bool;
    fn count(&self, counter: Counter);
    /// Moves a gauge, which all workers share.
    fn gauge(&self, gauge: Gauge, by: i64);
}

/// How long the client says that the body is.
pub(crate) fn announced(proxy: &impl Proxy) -> Option<usize> {
    let length = proxy.header("content-length")?;
    std::str::from_utf8(&length).ok()?.parse().ok()
}

/// A request of the filter's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call<'a> {
    /// By its name in Envoy's configuration.
    pub cluster: &'a str,
    /// Method, path and authority among them.
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
    pub timeout: Duration,
}

/// What becomes of the part of a request that has just come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on its way.
    Continue,
    /// It is held up, until the filter answers or lets go of it. Only requests to be scored ever are.
    Hold,
}

macro_rules! named {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// As it is called in the proxy's statistics.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

named! {
    /// What is counted.
    Counter {
        /// Requests with a mark that the filter set.
        Marked = "ltr_edge_marked_total",
        /// Requests that are not chosen, on a route that samples. Few, where the proxy leads them past the filter.
        NotChosen = "ltr_edge_not_chosen_total",
        /// Requests with the opt-out header, on a route that samples.
        OptedOut = "ltr_edge_opted_out_total",
        /// Requests without a usable key, on a route that samples.
        NoKey = "ltr_edge_no_key_total",
        /// Internal headers taken off requests of peers that are not trusted.
        Stripped = "ltr_edge_stripped_total",
        /// Run-time fractions of trusted peers that are none.
        FractionInvalid = "ltr_edge_fraction_invalid_total",
        /// Requests that were answered with scores.
        Scored = "ltr_edge_scored_total",
        /// Requests to be scored that were answered with what is wrong with them.
        ScoreRefused = "ltr_edge_score_refused_total",
        /// Requests to be scored that went upstream: without a model, or not of a kind or size for this filter.
        ScorePassed = "ltr_edge_score_passed_total",
        /// Copies that were sent.
        MirrorSent = "ltr_edge_mirror_sent_total",
        /// Copies with an answer of 2xx.
        MirrorAnswered = "ltr_edge_mirror_answered_total",
        /// Copies with an answer of 4xx.
        MirrorRefused = "ltr_edge_mirror_refused_total",
        /// Copies with another answer, or none in time.
        MirrorFailed = "ltr_edge_mirror_failed_total",
        /// Copies that Envoy could not send: there is no such cluster, or no host of it can be used.
        MirrorUnsent = "ltr_edge_mirror_unsent_total",
        /// Complete copies whose end is not known, because their configuration was replaced.
        MirrorLost = "ltr_edge_mirror_lost_total",
        /// Not copied: there are `mirror.max_in_flight` copies.
        MirrorBusy = "ltr_edge_mirror_dropped_busy_total",
        /// Not copied: the body is larger than `mirror.max_body_bytes`.
        MirrorTooLarge = "ltr_edge_mirror_dropped_too_large_total",
        /// Not copied: the request broke off.
        MirrorIncomplete = "ltr_edge_mirror_dropped_incomplete_total",
        /// Not copied: its personal fields cannot be found, because it is not JSON or is compressed.
        MirrorUnreadable = "ltr_edge_mirror_dropped_unreadable_total",
        /// Not copied: `x-request-id` is not a UUID, so that the gateway could not tell a copy from another.
        MirrorNoId = "ltr_edge_mirror_dropped_no_id_total",
        /// Not copied: it asks for another protocol.
        MirrorUpgrade = "ltr_edge_mirror_dropped_upgrade_total",
        /// Selected headers that are no UTF-8, and stayed behind.
        MirrorHeaderDropped = "ltr_edge_mirror_header_dropped_total",
    }
}

named! {
    /// What goes up and down.
    Gauge {
        /// Copies that are being made, wait to be sent, or wait for their answer.
        InFlight = "ltr_edge_mirror_in_flight",
    }
}
