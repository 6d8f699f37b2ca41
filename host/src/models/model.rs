//! A model that may serve, and how its component is called.

use ranking::release::ModelId;
use ranking::release::replacement::GateAgainst;
use runtime::Scorer;
use runtime::artefact::KeyId;

use super::breaker::Position;
use super::lane::Lane;

/// A verified model, ready to score.
pub struct Model {
    /// The name of the folder it came from.
    pub version: String,
    /// The compiled component and its pool of instances.
    pub scorer: Scorer,
    /// The id of the key that signed it; `None`: unsigned.
    pub signed_by: Option<KeyId>,
    /// What the offline gate said of it beside the model that was live then; `None`: nothing.
    pub gate: Option<GateAgainst>,
    /// By which name it was published around the gate; `None`: it passed the gate.
    pub gate_bypassed_as: Option<String>,
    /// For each column of the component, its index in the schema.
    pub columns: Vec<usize>,
    /// Calls for `/rank`. Calls of one model never wait for another's.
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
            gate: None,
            gate_bypassed_as: None,
            columns,
            rank: Lane::for_rank(processors),
            score: Lane::for_score(processors),
        }
    }

    /// The position of the breaker of its `/rank` calls.
    pub fn breaker(&self) -> Position {
        self.rank.breaker.facts().state
    }

    /// Which model it is, with its content.
    pub fn id(&self) -> ModelId {
        ModelId {
            version: self.version.clone(),
            sha256: Some(self.scorer.sha256().to_owned()),
        }
    }

    /// Picks the component's columns from `rows`, which are in schema order. The result is
    /// row-major.
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

/// Maximum number of instances that the calls of one component need at once. `/rank` and
/// `/ltr/score` use one per turn, and `/ltr/score` also one per thread that calls inline (of the
/// connections or of the runtime).
pub fn max_instances() -> usize {
    4 * processors()
}
