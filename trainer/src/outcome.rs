//! How a command ends: its exit code says whether a repetition may help.

use bus::BusError;
use client::AuthoritiesError;
use lake::LakeError;
use runtime::artefact::keys::KeyError;
use settings::SettingsError;

use crate::lightgbm::ParameterError;
use crate::machines::MachinesError;
use crate::matrix::MatrixError;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The command did its work: exit code 0.
    Done,
    /// The checks refused the data, or the gate the model, which is a result and not a failure: exit code 3.
    Refused,
}

/// A failure that a repetition cannot mend.
#[derive(Debug, thiserror::Error)]
pub enum Permanent {
    /// Wrong usage or configuration: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Files that do not belong together, or are not what an earlier step made: exit code 3.
    #[error("{0}")]
    Refused(String),
}

/// The exit code of a command: 0 done, 1 failed and may succeed if repeated, 2 wrong usage or
/// configuration, 3 refused by the gate or for its data.
///
/// A failure of an unknown kind counts as one that may pass. The steps are idempotent, so a needless
/// repetition costs time and nothing else.
pub fn exit_code(result: &anyhow::Result<Outcome>) -> u8 {
    match result {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::Refused) => 3,
        Err(error) => error.chain().find_map(permanent).unwrap_or(1),
    }
}

fn permanent(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    match cause.downcast_ref() {
        Some(Permanent::Usage(_)) => return Some(2),
        Some(Permanent::Refused(_)) => return Some(3),
        None => {}
    }
    let is_configuration = cause.is::<SettingsError>()
        || cause.is::<ParameterError>()
        || cause.is::<MachinesError>()
        || cause.is::<KeyError>()
        || cause.is::<AuthoritiesError>();
    if is_configuration {
        return Some(2);
    }
    match (cause.downcast_ref::<LakeError>(), cause.downcast_ref::<BusError>()) {
        (Some(LakeError::Reserved { .. } | LakeError::Address { .. }), _) => return Some(2),
        (_, Some(BusError::Address { .. } | BusError::Authorities { .. } | BusError::NoTopic { .. })) => {
            return Some(2);
        }
        (Some(LakeError::File { .. }), _) => return Some(3),
        _ => {}
    }
    cause.is::<MatrixError>().then_some(3)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn the_exit_code_says_whether_to_repeat_however_deep_the_cause_is() {
        let failed = |error: anyhow::Error| exit_code(&Err(error.context("a step").context("a night")));
        assert_eq!(exit_code(&Ok(Outcome::Done)), 0);
        assert_eq!(exit_code(&Ok(Outcome::Refused)), 3);
        assert_eq!(failed(anyhow!("the database is away")), 1);
        assert_eq!(failed(Permanent::Usage("--as-of".to_owned()).into()), 2);
        assert_eq!(failed(Permanent::Refused("another model".to_owned()).into()), 3);
        assert_eq!(failed(MatrixError::Parquet("cut short".to_owned()).into()), 3);
        let damaged = LakeError::File {
            path: "ltr/raw".to_owned(),
            problem: "cut short".to_owned(),
            remedy: "remove it",
        };
        assert_eq!(failed(damaged.into()), 3);
        let wrong = lake::Lake::open("gs://bucket").err().unwrap();
        assert_eq!(failed(wrong.into()), 2);
        let missing = settings::Settings::load(Some("/nowhere/ltr.toml".as_ref()), []).unwrap_err();
        assert_eq!(failed(missing.into()), 2);
        let machines = crate::machines::Machines::new(vec!["here".to_owned()], None);
        assert_eq!(failed(machines.unwrap_err().into()), 2);
        let key = runtime::artefact::keys::read_signing_key("/nowhere/publish.key".as_ref());
        assert_eq!(failed(key.context("publish.signing_key").unwrap_err()), 2);
    }
}
