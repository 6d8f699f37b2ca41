//! A model that may serve, and how its component is called.

use runtime::Scorer;
use runtime::artefact::KeyId;

use super::lane::Lane;

/// A verified model, ready to score.
pub struct Model {
    /// The folder it came from.
    pub version: String,
    /// The compiled component and its pool of instances.
    pub scorer: Scorer,
    /// The key that vouches for it.
    pub signed_by: Option<KeyId>,
    /// For each column of the component, where in the schema it is.
    pub columns: Vec<usize>,
    /// Calls for `/rank`. One model's never wait for another's.
    pub(super) rank: Lane,
    /// Calls for `/ltr/score`.
    pub(super) score: Lane,
}

impl Model {
    /// A model whose component reads `columns` of the schema.
    pub fn new(version: String, scorer: Scorer, columns: Vec<usize>) -> Model {
        let processors = processors();
        Model {
            version,
            scorer,
            signed_by: None,
            columns,
            rank: Lane::of_rank(processors),
            score: Lane::of_score(processors),
        }
    }

    /// The component's values of rows in the schema's order.
    pub(super) fn values<'r>(&self, rows: impl Iterator<Item = &'r [f64]>) -> Vec<f64> {
        let mut values = Vec::with_capacity(rows.size_hint().0 * self.columns.len());
        for row in rows {
            values.extend(self.columns.iter().map(|&column| row[column]));
        }
        values
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, |n| n.get())
}

/// Instances of a component that its calls can need at once: those of `/rank` in their turns, and those of `/ltr/score` in
/// theirs, or in place on a thread of the connections or of the runtime.
pub fn max_instances() -> usize {
    4 * processors()
}
