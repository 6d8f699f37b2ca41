//! The section `flags`, and the words of a switch.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserializer;
use serde::de::{self, Visitor};

use crate::SecretUrl;
use crate::section::Rule::{Whole, Words};
use crate::section::{PATH, REDIS_KEY, section};

section! {
    /// The operator's switches. With a Redis they apply to the whole fleet (`ltr-host flags`). While it is
    /// down, its last values apply.
    ["flags"] Flags {
        /// If on, only legacy answers: no model serves or is compared, whatever Redis holds.
        #[serde(deserialize_with = "switch_value")]
        kill_switch: bool = false, Words(SWITCH_WORDS);
        /// The Redis that holds the fleet's kill switch and shadow fraction; empty: none. A password in it
        /// is secret.
        redis_url: SecretUrl = SecretUrl::default(), Words("empty, or redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER], with TLS rediss://");
        /// Interval between two reads of Redis, in milliseconds.
        poll_ms: u64 = 1_000, Whole(50, 60_000);
        /// Redis key of the kill switch: on (or true, yes, 1, stop) or off (or false, no, 0), in any case.
        /// Without a value it is off at first, and later keeps its last state. Any other value counts as
        /// on.
        kill_switch_key: String = "ltr:kill_switch".into(), REDIS_KEY;
        /// Redis key of the shadow fraction, a number from 0 to 1. Without a value shadow.fraction applies.
        /// After an invalid value the last number stays, or 0 if there was none.
        shadow_fraction_key: String = "ltr:shadow_fraction".into(), REDIS_KEY;
        /// Stores the last values of Redis for a start while it is down; one per gateway.
        file: PathBuf = "var/flags.json".into(), PATH;
    }
}

impl Flags {
    /// The interval between two reads of Redis.
    pub fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms)
    }

    /// Whether `redis_url` is empty or `redis[s]://[USER:PASSWORD@]HOST[:PORT][/NUMBER]`.
    /// Parameters and fragments are refused: some of them would turn off checks.
    pub(crate) fn has_usable_url(&self) -> bool {
        let url = self.redis_url.expose();
        let Some(("redis" | "rediss", rest)) = url.split_once("://") else {
            return url.is_empty();
        };
        let (server, database) = rest.split_once('/').unwrap_or((rest, "0"));
        let (credentials, server) = server.rsplit_once('@').unwrap_or((":", server));
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (server, "6379"),
        };
        let number = |text: &str| text.parse::<u16>().is_ok();
        credentials.contains(':')
            && !host.is_empty()
            && number(port)
            && (database.is_empty() || number(database))
            && !rest.contains(['?', '#'])
    }
}

/// The values that a switch takes, for error messages.
pub const SWITCH_WORDS: &str = "on, true, yes, 1 or stop, or else off, false, no or 0";

/// Parses a switch, ignoring case and surrounding blanks: `Some(true)` is on, `None` is neither on
/// nor off.
pub fn switch(text: &str) -> Option<bool> {
    let word = text.trim();
    let is = |words: &[&str]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    if is(&["on", "true", "yes", "1", "stop"]) {
        Some(true)
    } else if is(&["off", "false", "no", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// Deserialises a switch from a file or the environment, where `1` arrives as a number.
fn switch_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct Switch;

    impl Visitor<'_> for Switch {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(SWITCH_WORDS)
        }

        fn visit_bool<E: de::Error>(self, value: bool) -> Result<bool, E> {
            Ok(value)
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<bool, E> {
            self.visit_str(&value.to_string())
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<bool, E> {
            self.visit_str(&value.to_string())
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<bool, E> {
            switch(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_any(Switch)
}

#[cfg(test)]
mod tests {
    use crate::Settings;

    #[test]
    fn the_environment_takes_the_same_kill_switch_words() {
        let load = |word: &str| {
            let env = [("LTR_FLAGS__KILL_SWITCH".to_owned(), word.to_owned())];
            Settings::load(None, env).map(|settings| settings.flags.kill_switch)
        };
        for on in ["true", "TRUE", "ON", "on ", "yes", "1", "stop"] {
            assert!(load(on).unwrap(), "{on:?}");
        }
        for off in ["false", "OFF", "no", "0"] {
            assert!(!load(off).unwrap(), "{off:?}");
        }
        for unclear in ["", "halt", "2", "[true]", "1.0"] {
            let error = load(unclear).unwrap_err().to_string();
            assert!(
                error.contains("flags.kill_switch") && error.contains("on, true"),
                "{unclear:?}: {error}"
            );
        }
    }
}
