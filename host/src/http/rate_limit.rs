//! The rate limit per client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use hyper::StatusCode;
use settings::Host;

use super::auth::Caller;
use super::error::ApiError;

/// Number of requests after which clients with full buckets are forgotten.
const SWEEP: u32 = 10_000;

/// The unit of the rate limit: all requests of a client share one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Client {
    /// The owner of a token, from any address.
    Token(String),
    Peer(IpAddr),
}

impl Client {
    /// The client by its configured token, else by its address. An IPv6 client is its /64 network,
    /// because one customer has 2^64 addresses.
    fn of(caller: &Caller, peer: Option<IpAddr>) -> Client {
        if let Caller::ApiToken(token) = caller {
            return Client::Token(token.name.clone());
        }
        Client::Peer(match peer.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V6(ip)) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
            Some(ip) => ip,
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        })
    }
}

type Buckets<C> = RateLimiter<Client, DashMapStateStore<Client>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// One token bucket per client (`host.rate_per_second`, `host.rate_burst`).
pub struct Rate<C: Clock = MonotonicClock> {
    /// `None`: no limit.
    limiter: Option<Buckets<C>>,
    clock: C,
    per_second: u32,
    burst: u32,
    admitted: AtomicU32,
}

impl Rate {
    /// The limit that the settings ask for; none if `host.rate_per_second` is 0.
    pub fn new(host: &Host) -> Rate {
        Rate::with_clock(host, MonotonicClock)
    }
}

impl<C: Clock + Clone> Rate<C> {
    fn with_clock(host: &Host, clock: C) -> Rate<C> {
        let quota = NonZeroU32::new(host.rate_per_second).map(|rate| {
            let burst = NonZeroU32::new(host.rate_burst).unwrap_or(NonZeroU32::MIN);
            Quota::per_second(rate).allow_burst(burst)
        });
        Rate {
            limiter: quota.map(|quota| RateLimiter::new(quota, DashMapStateStore::default(), clock.clone())),
            clock,
            per_second: host.rate_per_second,
            burst: host.rate_burst,
            admitted: AtomicU32::new(0),
        }
    }

    /// Counts a request against the limit of its client.
    ///
    /// # Errors
    /// 429 beyond the client's rate, with the limit and its key.
    pub fn admit(&self, caller: &Caller, peer: Option<IpAddr>) -> Result<(), ApiError> {
        self.count(|| Client::of(caller, peer))
    }

    fn count(&self, client: impl FnOnce() -> Client) -> Result<(), ApiError> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        let client = client();
        if self.admitted.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
        limiter.check_key(&client).map_err(|refused| {
            let wait = refused.wait_time_from(self.clock.now());
            let sender = match client {
                Client::Token(name) => format!("the token of {name}"),
                Client::Peer(_) => "this address".to_owned(),
            };
            ApiError {
                retry_after: Some(whole_seconds(wait)),
                ..ApiError::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "rate_limited",
                    format!(
                        "{sender} sent more than {} requests per second (host.rate_per_second) after a burst of {} (host.rate_burst)",
                        self.per_second, self.burst
                    ),
                )
            }
        })
    }
}

/// The value of Retry-After: rounded up, and at least one.
fn whole_seconds(wait: Duration) -> u32 {
    wait.as_millis().div_ceil(1000).clamp(1, u128::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn rate(per_second: u32, burst: u32) -> (Rate<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let host = Host {
            rate_per_second: per_second,
            rate_burst: burst,
            ..Host::default()
        };
        (Rate::with_clock(&host, clock.clone()), clock)
    }

    fn peer(ip: &str) -> Client {
        Client::of(&Caller::Anonymous, Some(ip.parse().unwrap()))
    }

    #[test]
    fn each_client_has_its_own_burst_and_rate() {
        let (rate, clock) = rate(2, 3);
        let admitted = |client: &Client| (0..10).filter(|_| rate.count(|| client.clone()).is_ok()).count();
        let (one, other) = (peer("10.0.0.1"), peer("10.0.0.2"));
        assert_eq!(admitted(&one), 3);
        let error = rate.count(|| one.clone()).unwrap_err();
        assert_eq!((error.status.as_u16(), error.retry_after), (429, Some(1)));
        assert!(error.message.contains("host.rate_per_second"), "{}", error.message);
        assert_eq!(admitted(&other), 3);
        clock.advance(Duration::from_secs(1));
        assert_eq!(admitted(&one), 2);
        clock.advance(Duration::from_secs(60));
        assert_eq!(admitted(&one), 3, "unused requests do not add up beyond the burst");
    }

    #[test]
    fn a_wait_of_seconds_is_rounded_up_and_zero_is_no_limit() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_millis(2_001)), 3);
        let (rate, _clock) = rate(0, 1);
        assert!((0..1_000).all(|_| rate.count(|| peer("10.0.0.1")).is_ok()));
    }

    #[test]
    fn an_ipv6_network_is_one_client_and_a_mapped_address_is_its_ipv4_one() {
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
    }

    #[test]
    fn idle_clients_are_forgotten() {
        let (rate, clock) = rate(1, 1);
        for client in 0..SWEEP - 1 {
            clock.advance(Duration::from_millis(1));
            rate.count(|| Client::Token(client.to_string())).unwrap();
        }
        clock.advance(Duration::from_secs(10));
        rate.count(|| peer("10.0.0.1")).unwrap();
        assert!(rate.limiter.as_ref().unwrap().len() <= 1 + 1);
    }
}
