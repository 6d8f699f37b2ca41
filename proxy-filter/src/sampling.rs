//! Which requests are chosen.

use api::headers::{FRACTION, OPT_OUT};
use ranking::Sampler;
use uuid::Uuid;

use crate::proxy::{Counter, Proxy};

/// How requests are chosen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sampling {
    pub(crate) sampler: Sampler,
    pub(crate) key: Key,
    /// What takes no more than `sampler`: whom it chooses where a route only marks, the proxy may mark by itself.
    pub(crate) marked_below: Option<Sampler>,
    /// What takes no less than `sampler`: whom it does not choose, the proxy need not ask about.
    pub(crate) bypass_above: Option<Sampler>,
}

/// What a choice depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The UUID in `x-request-id`, so that a gateway that samples by itself chooses the same requests.
    RequestId {
        /// The proxy takes no ids from others: all are in the form in which it makes them.
        own: bool,
    },
    /// The value of another header, such as the user's id: all of a user's requests, or none.
    Header(String),
}

impl Sampling {
    /// Whether this request is chosen, at the fraction that a trusted peer says, which is then taken off it.
    pub(crate) fn chooses(&self, proxy: &impl Proxy, fraction: Option<&[u8]>) -> bool {
        let run_time = fraction.and_then(|fraction| self.run_time(proxy, fraction));
        if proxy.header(OPT_OUT).is_some() {
            proxy.count(Counter::OptedOut);
            return false;
        }
        let sampler = run_time.as_ref().unwrap_or(&self.sampler);
        let chosen = match &self.key {
            Key::RequestId { .. } => request_id(proxy).map(|id| sampler.selects(id)),
            Key::Header(name) => {
                let key = proxy.header(name).filter(|key| !key.is_empty());
                key.map(|key| sampler.selects_key(&key))
            }
        };
        match chosen {
            None => proxy.count(Counter::NoKey),
            Some(false) => proxy.count(Counter::NotChosen),
            Some(true) => {}
        }
        chosen == Some(true)
    }

    fn run_time(&self, proxy: &impl Proxy, fraction: &[u8]) -> Option<Sampler> {
        proxy.remove_header(FRACTION);
        let text = std::str::from_utf8(fraction).unwrap_or_default();
        let fraction = text.trim().parse().ok();
        let sampler = fraction.and_then(|fraction| self.sampler.at(fraction).ok());
        if sampler.is_none() {
            proxy.count(Counter::FractionInvalid);
        }
        sampler
    }
}

/// The id that the gateway knows a request by; it makes another one where this is no UUID.
pub(crate) fn request_id(proxy: &impl Proxy) -> Option<Uuid> {
    Uuid::try_parse_ascii(&proxy.header("x-request-id")?).ok()
}
