//! Which requests are sampled.

use api::headers::{FRACTION, OPT_OUT};
use ranking::Sampler;
use uuid::Uuid;

use crate::proxy::{Counter, Proxy};

/// How requests are sampled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sampling {
    pub(crate) sampler: Sampler,
    pub(crate) key: Key,
    /// Envoy's routes let requests that this sampler does not select skip the filter. Its fraction
    /// is at least that of `sampler`.
    pub(crate) bypass_above: Option<Sampler>,
}

/// What the sampler hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The UUID in `x-request-id`. A gateway that samples by itself selects the same requests.
    RequestId,
    /// The value of another header, such as the user's id: either all requests of a user are
    /// sampled or none.
    Header(String),
}

impl Sampling {
    /// Whether this request is sampled. A fraction set by a trusted peer replaces the configured
    /// one, and its header is removed.
    pub(crate) fn chooses(&self, proxy: &impl Proxy, fraction: Option<&[u8]>) -> bool {
        let run_time = fraction.and_then(|fraction| self.run_time(proxy, fraction));
        if proxy.header(OPT_OUT).is_some() {
            proxy.count(Counter::OptedOut);
            return false;
        }
        let sampler = run_time.as_ref().unwrap_or(&self.sampler);
        let chosen = match &self.key {
            Key::RequestId => request_id(proxy).map(|id| sampler.selects(id)),
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

/// The id under which the gateway records a request. `None` if it is not a UUID: the gateway then
/// generates another one.
pub(crate) fn request_id(proxy: &impl Proxy) -> Option<Uuid> {
    Uuid::try_parse_ascii(&proxy.header("x-request-id")?).ok()
}
