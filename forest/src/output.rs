//! What scoring gives.

/// Which number a caller wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// The sum of the trees, as LightGBM's `predict(raw_score=True)`: neither divided by the iterations
    /// of a random forest nor converted by the objective.
    Raw,
    /// What LightGBM's `predict` returns: the sum (the mean of a random forest) after the objective's conversion.
    Converted,
}
