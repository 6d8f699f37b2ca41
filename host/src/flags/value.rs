//! Parses the texts that the flags have in Redis.

use std::fmt;

use clap::ValueEnum;

/// A switch that Redis holds for the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Flag {
    /// Stops LTR in the whole fleet: only legacy answers
    KillSwitch,
    /// Share of the requests that are compared in shadow, 0 to 1
    ShadowFraction,
}

impl Flag {
    /// The name on the command line, in messages and in metrics, such as `kill_switch`.
    pub fn name(self) -> &'static str {
        match self {
            Flag::KillSwitch => "kill_switch",
            Flag::ShadowFraction => "shadow_fraction",
        }
    }

    fn allowed(self) -> &'static str {
        match self {
            Flag::KillSwitch => settings::SWITCH_WORDS,
            Flag::ShadowFraction => "a number, 0 to 1",
        }
    }

    fn refuse(self, value: &str) -> Refused {
        Refused {
            flag: self,
            value: value.to_owned(),
        }
    }

    /// Checks that `text` is a valid value of this flag.
    ///
    /// # Errors
    /// An invalid value.
    pub fn check(self, text: &str) -> Result<(), Refused> {
        match self {
            Flag::KillSwitch => match settings::switch(text) {
                Some(_) => Ok(()),
                None => Err(self.refuse(text)),
            },
            Flag::ShadowFraction => shadow_fraction(Some(text)).map(drop),
        }
    }
}

/// An invalid value of a flag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// The flag that the value was meant for.
    pub flag: Flag,
    /// The invalid text. Texts from Redis are cut to 64 bytes.
    pub value: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { flag, value } = self;
        write!(
            f,
            "{} = {value:?} is not understood; allowed: {}",
            flag.name(),
            flag.allowed()
        )
    }
}

/// The state of the kill switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KillSwitch {
    /// LTR may answer.
    Off,
    /// LTR is stopped.
    On,
    /// The value means neither on nor off. It counts as on, because somebody set it for a reason.
    Unclear(Refused),
}

impl KillSwitch {
    /// Parses a value; `None` if there is none.
    pub fn read(text: Option<&str>) -> Option<KillSwitch> {
        let text = text?;
        Some(match settings::switch(text) {
            Some(true) => KillSwitch::On,
            Some(false) => KillSwitch::Off,
            None => KillSwitch::Unclear(Flag::KillSwitch.refuse(text)),
        })
    }

    /// Whether this state stops LTR.
    pub fn stops(&self) -> bool {
        *self != KillSwitch::Off
    }
}

/// Parses the share of the requests that are compared in shadow; `None` if there is no value.
pub fn shadow_fraction(text: Option<&str>) -> Result<Option<f64>, Refused> {
    let Some(text) = text.map(str::trim) else {
        return Ok(None);
    };
    match text.parse::<f64>() {
        Ok(fraction) if (0.0..=1.0).contains(&fraction) => Ok(Some(fraction)),
        _ => Err(Flag::ShadowFraction.refuse(text)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_words_for_off_turn_the_switch_off_in_any_case() {
        for on in ["on", "ON", " On\n", "true", "TRUE", "yes", "Yes", "1", "stop", "STOP"] {
            assert_eq!(KillSwitch::read(Some(on)), Some(KillSwitch::On), "{on:?}");
        }
        for off in ["off", "OFF ", "false", "False", "no", "0"] {
            assert_eq!(KillSwitch::read(Some(off)), Some(KillSwitch::Off), "{off:?}");
        }
        for unclear in [
            "",
            " ",
            "perhaps",
            "2",
            "offf",
            "o f f",
            "\u{feff}off",
            "0.0",
            "null",
            "off\0",
        ] {
            let read = KillSwitch::read(Some(unclear)).unwrap();
            assert!(matches!(read, KillSwitch::Unclear(_)) && read.stops(), "{unclear:?}");
        }
        assert_eq!(KillSwitch::read(None), None);
    }

    proptest! {
        #[test]
        fn every_value_except_a_word_for_off_stops(text in ".{0,12}") {
            let off = ["off", "false", "no", "0"].contains(&text.trim().to_ascii_lowercase().as_str());
            prop_assert_eq!(KillSwitch::read(Some(&text)).unwrap().stops(), !off);
        }
    }
}
