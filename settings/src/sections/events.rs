//! Events: the times that are accepted, the windows in which an action counts, and for which impression.

use std::path::PathBuf;
use std::time::Duration;

use bus::{Access, Address, BusError, Mechanism};
use ranking::{Attribution, Windows};

use crate::Secret;
use crate::section::Rule::{Flag, OneOf, Whole, Words};
use crate::section::{HOURS, TIMEOUT, choice, section};

section! {
    /// Events: the times that /events accepts, and the bus that gets what is logged.
    ["events"] Events {
        /// Kafka topic that gets every event, impression and comparison, keyed by case_id; none: the database is
        /// the log. /events then answers once the brokers have the event, or the database while they are
        /// away; what they lack is sent in order when they are back.
        bus: String = "none".into(), Words("none or kafka://HOST[:PORT][,HOST[:PORT]...]/TOPIC");
        /// How long a request to the brokers may take, in milliseconds.
        bus_timeout_ms: u64 = 5_000, TIMEOUT;
        /// Whether the brokers are talked to with TLS.
        bus_tls: bool = false, Flag;
        /// Certificate authorities (PEM) of the brokers, instead of the system's.
        bus_ca_file: PathBuf = PathBuf::new(), Words("empty, or a path; only with bus_tls");
        /// User at the brokers (SASL); empty: none.
        bus_user: String = String::new(), Words("empty, or a user's name");
        /// Their password, a secret.
        bus_password: Secret = Secret::default(), Words("empty, or a password; with bus_user");
        /// How the password is shown: scram-sha-512, scram-sha-256, or plain, with TLS only.
        bus_mechanism: BusMechanism = BusMechanism::ScramSha512, OneOf(BusMechanism::NAMES);
        /// How far an event's time may lie after the gateway's; 422 beyond; 0: no limit, for replays.
        max_ahead_seconds: u32 = 600, Whole(0, 31_536_000);
        /// How far an event's time may lie before the gateway's; 422 beyond; 0: no limit, for replays.
        max_age_hours: u32 = 90 * 24, Whole(0, 1_000_000);
    }
}

choice! {
    /// How the password at the brokers is shown.
    BusMechanism {
        /// SCRAM-SHA-512.
        ScramSha512 = "scram-sha-512";
        /// SCRAM-SHA-256.
        ScramSha256 = "scram-sha-256";
        /// The password itself.
        Plain = "plain";
    }
}

impl Events {
    /// Where the bus is; `None`: the database is the log.
    ///
    /// # Errors
    /// Another form; [`crate::Settings::load`] returns none.
    pub fn bus_address(&self) -> Result<Option<Address>, BusError> {
        if self.bus == "none" {
            return Ok(None);
        }
        self.bus.parse().map(Some)
    }

    /// How the brokers are talked to.
    pub fn bus_access(&self) -> Access {
        let mechanism = match self.bus_mechanism {
            BusMechanism::ScramSha512 => Mechanism::ScramSha512,
            BusMechanism::ScramSha256 => Mechanism::ScramSha256,
            BusMechanism::Plain => Mechanism::Plain,
        };
        let user = (!self.bus_user.is_empty())
            .then(|| (self.bus_user.clone(), self.bus_password.expose().to_owned(), mechanism));
        Access {
            tls: self.bus_tls.then(|| self.bus_ca_file.clone()),
            user,
        }
    }

    /// How long a request to the brokers may take.
    pub fn bus_timeout(&self) -> Duration {
        Duration::from_millis(self.bus_timeout_ms)
    }

    /// The key that does not fit the others.
    pub(crate) fn bus_fault(&self) -> Option<(&'static str, String)> {
        if self.bus_address().is_err() {
            return Some(("events.bus", self.bus.clone()));
        }
        if !self.bus_ca_file.as_os_str().is_empty() && !self.bus_tls {
            return Some(("events.bus_ca_file", self.bus_ca_file.display().to_string()));
        }
        if self.bus_user.is_empty() != self.bus_password.is_empty() {
            return Some(("events.bus_password", String::new()));
        }
        let is_open = self.bus_mechanism == BusMechanism::Plain && !self.bus_user.is_empty() && !self.bus_tls;
        is_open.then(|| ("events.bus_mechanism", "plain".to_owned()))
    }

    /// How far an event's time may lie after the gateway's; `None`: no limit.
    pub fn max_ahead(&self) -> Option<Duration> {
        (self.max_ahead_seconds > 0).then(|| Duration::from_secs(self.max_ahead_seconds.into()))
    }

    /// How far an event's time may lie before the gateway's; `None`: no limit.
    pub fn max_age(&self) -> Option<Duration> {
        (self.max_age_hours > 0).then(|| Duration::from_secs(u64::from(self.max_age_hours) * 3600))
    }
}

section! {
    /// From actions to labels: how long after an impression an action still counts, and for which impression.
    ["labels"] Labels {
        /// Profile opened.
        click_hours: u32 = Windows::default().click_hours, HOURS;
        /// Chat or call started.
        contact_hours: u32 = Windows::default().contact_hours, HOURS;
        /// Contract signed.
        contract_hours: u32 = Windows::default().contract_hours, HOURS;
        /// first_impression: an action counts for the case's first impression, and a case is closed after the
        /// longest window. last_touch: for the latest impression before it, up to the longest window after the
        /// first, that showed that lawyer at that place; a case is closed after twice the longest window.
        attribution: Attribution = Attribution::FirstImpression, OneOf(Attribution::NAMES);
    }
}

impl Labels {
    /// The attribution windows.
    pub fn windows(&self) -> Windows {
        Windows {
            click_hours: self.click_hours,
            contact_hours: self.contact_hours,
            contract_hours: self.contract_hours,
        }
    }

    /// How long after a case's first impression its labels can change.
    pub fn closed_after(&self) -> chrono::Duration {
        self.attribution.closed_after(&self.windows())
    }
}
