//! Peers whose internal headers are trusted.

use std::net::IpAddr;
use std::str::FromStr;

use crate::proxy::Proxy;

/// The peers that may set internal headers; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trusted {
    pub(crate) networks: Vec<Network>,
    /// URIs in client certificates that Envoy has verified.
    pub(crate) uri_sans: Vec<String>,
}

impl Trusted {
    /// Whether the peer of this request is trusted.
    pub(crate) fn has_peer(&self, proxy: &impl Proxy) -> bool {
        self.has_certificate(proxy) || self.has_address(proxy)
    }

    fn has_certificate(&self, proxy: &impl Proxy) -> bool {
        // In an unverified certificate, anybody could claim any name.
        !self.uri_sans.is_empty()
            && proxy.attribute(&["connection", "mtls"]).is_some_and(|yes| yes == [1])
            && proxy
                .attribute(&["connection", "uri_san_peer_certificate"])
                .is_some_and(|san| self.uri_sans.iter().any(|known| known.as_bytes() == san))
    }

    fn has_address(&self, proxy: &impl Proxy) -> bool {
        if self.networks.is_empty() {
            return false;
        }
        let source = proxy.attribute(&["source", "address"]).unwrap_or_default();
        let ip = std::str::from_utf8(&source).ok().and_then(ip);
        ip.is_some_and(|ip| self.networks.iter().any(|network| network.has(ip)))
    }
}

/// Parses Envoy's form of a peer address: `10.0.0.1:1234` or `[::1]:1234`.
fn ip(source: &str) -> Option<IpAddr> {
    let address = source.parse().map(|peer: std::net::SocketAddr| peer.ip());
    address.or_else(|_| source.parse()).ok().map(|ip| ip.to_canonical())
}

/// A network in CIDR notation, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    base: IpAddr,
    prefix: u32,
}

impl Network {
    fn has(&self, ip: IpAddr) -> bool {
        // A shift by the full width gives `None` for both addresses: prefix 0 matches all.
        match (self.base, ip) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => 32u32
                .checked_sub(self.prefix)
                .is_some_and(|host| base.to_bits().checked_shr(host) == ip.to_bits().checked_shr(host)),
            (IpAddr::V6(base), IpAddr::V6(ip)) => 128u32
                .checked_sub(self.prefix)
                .is_some_and(|host| base.to_bits().checked_shr(host) == ip.to_bits().checked_shr(host)),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Network, ()> {
        let (base, prefix) = text
            .split_once('/')
            .map_or((text, None), |(base, prefix)| (base, Some(prefix)));
        let base = base.parse::<IpAddr>().map_err(|_| ())?;
        let all = if base.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(all), str::parse).map_err(|_| ())?;
        if prefix <= all {
            Ok(Network { base, prefix })
        } else {
            Err(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().has(ip(address).unwrap())
    }

    #[test]
    fn a_network_has_what_agrees_in_its_prefix() {
        assert!(has("10.0.0.0/8", "10.255.0.1:5000") && !has("10.0.0.0/8", "11.0.0.1:5000"));
        assert!(has("127.0.0.1", "127.0.0.1:1") && !has("127.0.0.1", "127.0.0.2:1"));
        assert!(has("0.0.0.0/0", "203.0.113.7:1") && !has("0.0.0.0/0", "[2001:db8::1]:1"));
        assert!(has("2001:db8::/32", "[2001:db8:1::1]:443") && !has("2001:db8::/32", "[2001:db9::1]:443"));
        assert!(has("::/0", "[::1]:1"));
        assert!(has("10.0.0.0/8", "[::ffff:10.1.2.3]:1"), "an IPv4-mapped IPv6 address");
    }

    #[test]
    fn what_is_no_network_or_address_is_refused() {
        for wrong in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/",
            "host",
            "10.0.0.0/-1",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        assert!(ip("/var/run/envoy.sock").is_none());
    }
}
