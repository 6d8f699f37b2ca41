//! Where the bus is, and how this program shows who it is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use regular_file::Links;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::BusError;

/// Kafka's own port.
const PORT: &str = "9092";
/// Kafka's limit.
const LONGEST_TOPIC: usize = 249;
const MAX_AUTHORITIES: u64 = 4 << 20;

/// `kafka://HOST[:PORT][,HOST[:PORT]...]/TOPIC`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `HOST:PORT`, at least one.
    pub brokers: Vec<String>,
    /// The topic.
    pub topic: String,
}

impl FromStr for Address {
    type Err = BusError;

    fn from_str(text: &str) -> Result<Address, BusError> {
        let wrong = |problem| BusError::Address {
            value: text.chars().take(200).collect(),
            problem,
        };
        let rest = text
            .strip_prefix("kafka://")
            .ok_or_else(|| wrong("it does not begin with kafka://"))?;
        let (brokers, topic) = rest.split_once('/').ok_or_else(|| wrong("it names no topic"))?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !(1..=LONGEST_TOPIC).contains(&topic.len()) || !topic.bytes().all(is_plain) || matches!(topic, "." | "..") {
            return Err(wrong("a topic is 1 to 249 characters of A-Z a-z 0-9 . _ -"));
        }
        let brokers: Option<Vec<String>> = brokers.split(',').map(broker).collect();
        Ok(Address {
            brokers: brokers.ok_or_else(|| wrong("a broker is HOST or HOST:PORT"))?,
            topic: topic.to_owned(),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kafka://{}/{}", self.brokers.join(","), self.topic)
    }
}

fn broker(text: &str) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text, PORT),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'[' | b']');
    let is_usable = !host.is_empty() && host.bytes().all(is_host) && port.parse::<u16>().is_ok_and(|port| port > 0);
    is_usable.then(|| format!("{host}:{port}"))
}

/// How a user shows who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The password itself: only with TLS.
    Plain,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

/// How the brokers are talked to.
#[derive(Clone, Default)]
pub struct Access {
    /// With TLS; the authorities (PEM) that the brokers' certificates must come from, empty: those of the system.
    pub tls: Option<PathBuf>,
    /// User, password and how the password is shown.
    pub user: Option<(String, String, Mechanism)>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It knows a password.
        f.debug_struct("Access").field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// A client's TLS with these authorities.
pub(crate) fn tls(ca_file: &Path) -> Result<Arc<ClientConfig>, BusError> {
    let failed = |problem: String| BusError::Authorities {
        path: ca_file.to_owned(),
        problem,
    };
    let mut roots = RootCertStore::empty();
    if ca_file.as_os_str().is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    } else {
        let text = regular_file::read_to_string(ca_file, Links::Follow, MAX_AUTHORITIES);
        let text = text.map_err(|error| failed(error.to_string()))?;
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let certificate = certificate.map_err(|error| failed(error.to_string()))?;
            roots.add(certificate).map_err(|error| failed(error.to_string()))?;
        }
    }
    if roots.is_empty() {
        return Err(failed("it has no certificate".to_owned()));
    }
    Ok(Arc::new(
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_brokers_and_a_topic() {
        let address: Address = "kafka://one,two:19092,[::1]:9093/match_events".parse().unwrap();
        assert_eq!(address.brokers, ["one:9092", "two:19092", "[::1]:9093"]);
        assert_eq!(address.topic, "match_events");
        assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
    }

    #[test]
    fn another_form_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "kafka://"),
            ("http://one/events", "kafka://"),
            ("kafka://one", "no topic"),
            ("kafka://one/", "a topic is"),
            ("kafka://one/a/b", "a topic is"),
            ("kafka://one/..", "a topic is"),
            ("kafka:///events", "a broker is"),
            ("kafka://one,,two/events", "a broker is"),
            ("kafka://user:secret@one/events", "a broker is"),
            ("kafka://one:0/events", "a broker is"),
            ("kafka://one:70000/events", "a broker is"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
