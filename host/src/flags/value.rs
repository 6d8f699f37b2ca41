//! What a flag may be, as text.

use std::fmt;

use clap::ValueEnum;

/// A switch that a Redis holds for the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Flag {
    KillSwitch,
    ShadowFraction,
}

impl Flag {
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

    /// # Errors
    /// A text that this flag cannot be.
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

/// A value that a flag cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    pub flag: Flag,
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

/// What is said of the kill switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KillSwitch {
    Off,
    On,
    /// It is set, to what is neither word. Somebody wanted something: it counts as on.
    Unclear(Refused),
}

impl KillSwitch {
    /// `None` where nobody said.
    pub fn read(text: Option<&str>) -> Option<KillSwitch> {
        let text = text?;
        Some(match settings::switch(text) {
            Some(true) => KillSwitch::On,
            Some(false) => KillSwitch::Off,
            None => KillSwitch::Unclear(Flag::KillSwitch.refuse(text)),
        })
    }

    pub fn stops(&self) -> bool {
        *self != KillSwitch::Off
    }
}

/// The share of the requests that are compared in shadow; `None` where nobody said.
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
    fn the_words_of_a_switch_are_known_in_any_case_and_no_others_turn_it_off() {
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
        fn whatever_is_set_stops_unless_it_is_a_word_for_off(text in ".{0,12}") {
            let off = ["off", "false", "no", "0"].contains(&text.trim().to_ascii_lowercase().as_str());
            prop_assert_eq!(KillSwitch::read(Some(&text)).unwrap().stops(), !off);
        }
    }
}
