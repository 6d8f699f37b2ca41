//! Why LTR gave no ranking: the reasons, typed, and how logs, metrics and answers spell them.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// Why a model gave no scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unscored {
    /// The model was not asked: every turn or instance was taken.
    Busy,
    /// No scores in time.
    Timeout,
    /// The component stopped with a fault.
    Trap,
    /// Scores that cannot be used: too few, too many, or not finite.
    BadOutput,
    /// The component refused the rows.
    Refused,
}

impl Unscored {
    /// All of them.
    pub const ALL: [Unscored; 5] = [
        Unscored::Busy,
        Unscored::Timeout,
        Unscored::Trap,
        Unscored::BadOutput,
        Unscored::Refused,
    ];

    /// As logs, metrics and answers spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Unscored::Busy => "busy",
            Unscored::Timeout => "timeout",
            Unscored::Trap => "trap",
            Unscored::BadOutput => "bad_output",
            Unscored::Refused => "refused",
        }
    }
}

/// Why the legacy order answers where LTR should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// An operator has stopped LTR.
    KillSwitch,
    /// The database has not said yet which model serves.
    Database,
    /// No model was published.
    NoModel,
    /// No model is loaded, and at least one was refused.
    ModelRefused,
    /// The model was asked, or should have been, and gave no scores.
    Unscored(Unscored),
}

impl Fallback {
    /// As metrics and answers spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Fallback::KillSwitch => "kill_switch",
            Fallback::Database => "database",
            Fallback::NoModel => "no_model",
            Fallback::ModelRefused => "model_refused",
            Fallback::Unscored(reason) => reason.as_str(),
        }
    }
}

/// What became of a comparison in shadow.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum ShadowOutcome {
    /// The challenger scored the case.
    Scored,
    /// It did not.
    Unscored(Unscored),
    /// A reason that another version of the program wrote: kept as it came, and not scored.
    Other(String),
}

impl ShadowOutcome {
    /// As the log and metrics spell it.
    pub fn as_str(&self) -> &str {
        match self {
            ShadowOutcome::Scored => "ok",
            ShadowOutcome::Unscored(reason) => reason.as_str(),
            ShadowOutcome::Other(text) => text,
        }
    }

    /// Whether the challenger ranked the case.
    pub fn is_scored(&self) -> bool {
        *self == ShadowOutcome::Scored
    }
}

impl From<String> for ShadowOutcome {
    fn from(text: String) -> ShadowOutcome {
        if text == ShadowOutcome::Scored.as_str() {
            return ShadowOutcome::Scored;
        }
        match Unscored::ALL.into_iter().find(|reason| reason.as_str() == text) {
            Some(reason) => ShadowOutcome::Unscored(reason),
            None => ShadowOutcome::Other(text),
        }
    }
}

/// Written as it is spelled.
macro_rules! spelled {
    ($($reason:ty),*) => {$(
        impl fmt::Display for $reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $reason {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )*};
}

spelled!(Unscored, Fallback, ShadowOutcome);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_read_back_as_it_was_written() {
        let known = Unscored::ALL.map(ShadowOutcome::Unscored);
        let newer = ShadowOutcome::Other("out_of_tune".to_owned());
        for outcome in [ShadowOutcome::Scored, newer].into_iter().chain(known) {
            let text = serde_json::to_string(&outcome).unwrap();
            assert_eq!(serde_json::from_str::<ShadowOutcome>(&text).unwrap(), outcome);
            assert_eq!(ShadowOutcome::from(outcome.to_string()), outcome);
        }
    }
}
