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
            Flag::KillSwitch => "on, true or 1, or else off, false or 0",
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
            Flag::KillSwitch => kill_switch(Some(text)).map(drop),
            Flag::ShadowFraction => shadow_fraction(Some(text)).map(drop),
        }
    }
}

/// A value that a flag cannot have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct Refused {
    pub flag: Flag,
    value: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { flag, value } = self;
        write!(f, "{} = {value:?} is refused; allowed: {}", flag.name(), flag.allowed())
    }
}

/// Whether the fleet is stopped; `None` where nobody said.
pub fn kill_switch(text: Option<&str>) -> Result<Option<bool>, Refused> {
    match text.map(str::trim) {
        None => Ok(None),
        Some("on" | "true" | "1") => Ok(Some(true)),
        Some("off" | "false" | "0") => Ok(Some(false)),
        Some(other) => Err(Flag::KillSwitch.refuse(other)),
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
