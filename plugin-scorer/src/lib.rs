//! The component behind `wit/scorer.wit`: [`forest`] with one model baked in.
//!
//! It is built once, with a slot for a model (`forest/baked`). Logic lives in `forest`, where it is tested natively; this
//! is the adapter.

#![allow(missing_docs, reason = "wit-bindgen writes its bindings without documentation")]

wit_bindgen::generate!({ path: "../wit", world: "scorer" });

use exports::ltr::scorer::scoring::{Description, ExplainError, Guest, Output, ScoreError, Window};

/// The version of `wit/scorer.wit`.
const CONTRACT_VERSION: &str = "1.1.0";
/// Values taken, or given, in one call: 128 MiB, half of what a host grants by default.
const MAX_VALUES: usize = 16 << 20;

struct Scorer;

export!(Scorer);

impl Guest for Scorer {
    fn describe() -> Description {
        match baked::model() {
            Ok(model) => {
                let d = &model.description;
                Description {
                    model_version: d.model_version.clone(),
                    contract_version: CONTRACT_VERSION.into(),
                    feature_names: d.feature_names.clone(),
                    objective: d.objective.clone(),
                    trees: d.trees,
                    outputs: d.outputs,
                    training_window: d.training_window.clone().map(|(start, end)| Window { start, end }),
                }
            }
            // No features and no outputs: every host refuses it.
            Err(_) => Description {
                model_version: String::new(),
                contract_version: CONTRACT_VERSION.into(),
                feature_names: Vec::new(),
                objective: String::new(),
                trees: 0,
                outputs: 0,
                training_window: None,
            },
        }
    }

    fn score(rows: Vec<f64>, output: Output) -> Result<Vec<f64>, ScoreError> {
        let model = baked::model()
            .as_ref()
            .map_err(|reason| ScoreError::Model(reason.clone()))?;
        if rows.len() > MAX_VALUES {
            return Err(ScoreError::TooManyValues(MAX_VALUES as u32));
        }
        let width = model.forest.width();
        if !rows.len().is_multiple_of(width) {
            return Err(ScoreError::Ragged(width as u32));
        }
        let mut scores = vec![0.0; rows.len() / width * model.forest.outputs()];
        let output = match output {
            Output::Raw => forest::Output::Raw,
            Output::Converted => forest::Output::Converted,
        };
        model.forest.score(&rows, output, &mut scores);
        Ok(scores)
    }

    fn explain(rows: Vec<f64>) -> Result<Vec<f64>, ExplainError> {
        let model = baked::model()
            .as_ref()
            .map_err(|reason| ExplainError::Model(reason.clone()))?;
        let width = model.forest.width();
        // Outputs are below 2^16 and names below 2^32: wider than a usize here.
        let answer_a_row = model.forest.outputs() as u64 * (width as u64 + 1);
        let most_rows = (MAX_VALUES as u64 / answer_a_row) as usize;
        if rows.len() / width > most_rows {
            return Err(ExplainError::TooManyValues((most_rows * width) as u32));
        }
        if !rows.len().is_multiple_of(width) {
            return Err(ExplainError::Ragged(width as u32));
        }
        let mut contributions = vec![0.0; rows.len() / width * answer_a_row as usize];
        match model.forest.explain(&rows, &mut contributions) {
            Ok(()) => Ok(contributions),
            Err(reason) => Err(ExplainError::NotExplainable(reason.to_string())),
        }
    }
}
