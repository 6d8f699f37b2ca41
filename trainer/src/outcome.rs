//! How a command ends when nothing went wrong.

/// What a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was asked to: exit code 0.
    Done,
    /// A rule said no, which is an answer and not a failure: exit code 3.
    Refused,
}
