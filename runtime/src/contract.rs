//! The host's side of `wit/scorer.wit`.

use serde::{Deserialize, Serialize};

/// The version of the contract this host speaks.
pub const CONTRACT_VERSION: &str = "1.1.0";
/// The interface a scorer exports, without its version.
pub(crate) const INTERFACE: &str = "ltr:scorer/scoring";
/// More features than any sane row; bounds what a description may cost.
pub(crate) const MAX_FEATURES: usize = 10_000;
pub(crate) const MAX_OUTPUTS: u32 = 1_000;

pub(crate) mod bindings {
    wasmtime::component::bindgen!({ path: "../wit", world: "scorer" });
}

use bindings::exports::ltr::scorer::scoring;

/// Which of LightGBM's two predictions is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The sum of the trees: `predict(raw_score=True)`.
    Raw,
    /// Through the objective's output conversion: what `predict` returns.
    Converted,
}

impl From<Output> for scoring::Output {
    fn from(output: Output) -> Self {
        match output {
            Output::Raw => scoring::Output::Raw,
            Output::Converted => scoring::Output::Converted,
        }
    }
}

/// The time span of the events a model was trained on, both RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Start of the span. The host checks neither its format nor its order.
    pub start: String,
    /// End of the span, as unchecked as `start`.
    pub end: String,
}

/// What a scorer says about the model it holds, after it was found to be sane: feature names are 1 to 10,000,
/// unique and not empty, outputs 1 to 1,000, and the contract version is [`CONTRACT_VERSION`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The artefact's version, or free text for a model compiled by hand; not checked.
    pub model_version: String,
    /// The version of the contract that the component was built for.
    pub contract_version: String,
    /// One name a column, in the order of a row.
    pub feature_names: Vec<String>,
    /// As LightGBM wrote it; empty when the model names none.
    pub objective: String,
    /// Trees of the model, over all outputs.
    pub trees: u32,
    /// Scores a row.
    pub outputs: u32,
    /// `None`: the model was compiled without one.
    pub training_window: Option<Window>,
}

impl From<scoring::Description> for Description {
    fn from(d: scoring::Description) -> Self {
        Description {
            model_version: d.model_version,
            contract_version: d.contract_version,
            feature_names: d.feature_names,
            objective: d.objective,
            trees: d.trees,
            outputs: d.outputs,
            training_window: d.training_window.map(|w| Window {
                start: w.start,
                end: w.end,
            }),
        }
    }
}

impl Description {
    /// The sentence that says what is wrong with a description, if anything is.
    pub(crate) fn fault(&self) -> Option<String> {
        let names = &self.feature_names;
        if names.is_empty() || names.len() > MAX_FEATURES {
            return Some(format!("{} feature names; allowed: 1 to {MAX_FEATURES}", names.len()));
        }
        if self.outputs == 0 || self.outputs > MAX_OUTPUTS {
            return Some(format!("{} outputs a row; allowed: 1 to {MAX_OUTPUTS}", self.outputs));
        }
        let mut seen = std::collections::HashSet::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() {
                return Some(format!("feature {index} has an empty name"));
            }
            if !seen.insert(name.as_str()) {
                return Some(format!("feature name {name:?} occurs twice"));
            }
        }
        None
    }
}
