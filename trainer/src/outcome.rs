//! The exit status of a command that did not fail.

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The command did its work: exit code 0.
    Done,
    /// The checks refused the data, or the gate the model, which is a result and not a failure: exit code 3.
    Refused,
}
