//! Webhooks that receive each transition of the rollout.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Secret;
use crate::section::Rule::{Whole, Words};
use crate::section::{NAME_FAULT, choice, is_name, section};

/// Every transition writes a row per destination.
const MAX_TARGETS: usize = 16;
const MAX_URL_BYTES: usize = 2048;

section! {
    /// Webhooks. Each transition of the rollout is posted to every destination, in order, until the
    /// destination answers 2xx. The database holds their names only.
    ["webhooks"] Webhooks {
        /// The destinations. json posts the transition signed with the secret (HMAC-SHA-256), slack posts
        /// one sentence that Slack understands. The url and the secret are secret.
        targets: Vec<Webhook> = Vec::new(), Words("a list of at most 16 { name = \"NAME\", url = \"https://HOST[:PORT]/PATH\" (or http:// to a loopback host), format = \"json\" or \"slack\", secret = \"16 to 256 printable ASCII characters without spaces\" (optional for slack) }, each name once");
        /// Time limit of one delivery, in seconds.
        timeout_seconds: u64 = 10, Whole(1, 60);
    }
}

choice! {
    /// What is posted to a webhook: `format` of an entry of `webhooks.targets`.
    WebhookFormat {
        /// The transition as JSON.
        Json = "json";
        /// `{"text": ...}`, as Slack and servers like it take it.
        Slack = "slack";
    }
}

/// One destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The destination's name in the database, the log and the metrics.
    pub name: String,
    /// Where to post. Secret as a whole: whoever knows the URL of a Slack webhook can post there.
    pub url: Secret,
    /// What to post.
    pub format: WebhookFormat,
    /// The key of the signature; without one, messages are not signed.
    #[serde(default)]
    pub secret: Secret,
}

impl Webhooks {
    /// The time limit of one delivery.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// The first fault of the destinations. It repeats no configured value, because a secret may
    /// stand in the wrong place.
    pub(crate) fn fault(&self) -> Option<String> {
        let count = self.targets.len();
        if count > MAX_TARGETS {
            return Some(format!("there are {count} entries"));
        }
        self.targets.iter().enumerate().find_map(|(at, target)| {
            let is_repeated = self.targets[..at].iter().any(|other| other.name == target.name);
            let fault = if !is_name(&target.name) {
                NAME_FAULT
            } else if is_repeated {
                "an earlier entry has the same name"
            } else {
                url_fault(target.url.expose()).or_else(|| target.secret_fault())?
            };
            Some(format!("entry {}: {fault}", at + 1))
        })
    }
}

impl Webhook {
    fn secret_fault(&self) -> Option<&'static str> {
        let secret = self.secret.expose();
        let is_usable = (16..=256).contains(&secret.len()) && secret.bytes().all(|b| b.is_ascii_graphic());
        match (secret, self.format) {
            ("", WebhookFormat::Slack) => None,
            ("", WebhookFormat::Json) => Some("format json needs a secret"),
            (Secret::HIDDEN, _) => Some("secret is the placeholder that --print-config shows; set the secret itself"),
            _ if is_usable => None,
            _ => Some("secret is not 16 to 256 printable ASCII characters without spaces"),
        }
    }
}

/// Why a URL cannot be a destination. Plain HTTP beyond this machine would show the URL and the
/// reasons of operators to the network.
fn url_fault(url: &str) -> Option<&'static str> {
    if url == Secret::HIDDEN {
        return Some("url is the placeholder that --print-config shows; set the URL itself");
    }
    let Some(("https" | "http", rest)) = url.split_once("://") else {
        return Some("url begins with neither https:// nor http://");
    };
    // Parsers of URLs read a backslash as a slash.
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#');
    if url.len() > MAX_URL_BYTES || !rest.bytes().all(is_plain) {
        return Some("url has a blank, a backslash, a fragment, a character beyond ASCII, or over 2048 bytes");
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Some("url has a user or a password; use secret, or a token in the path");
    }
    match loopback(authority) {
        None => Some("url names no host, or no valid port"),
        Some(false) if url.starts_with("http://") => Some("url is http:// and its host is not loopback; use https://"),
        Some(_) => None,
    }
}

/// Whether `HOST[:PORT]` is this machine; `None` if it is malformed.
fn loopback(authority: &str) -> Option<bool> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, "443"),
    };
    let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if !is_port {
        return None;
    }
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(IpAddr::from(address).to_canonical().is_loopback());
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if host.is_empty() || !host.bytes().all(is_plain) {
        return None;
    }
    let is_local_address = host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback());
    Some(is_local_address || host.eq_ignore_ascii_case("localhost"))
}
