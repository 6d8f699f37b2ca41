//! `ltr-trainer evaluate`: the held-out part, ranked by the compiled component and by its rivals.
//!
//! Every arm is judged on the order users would see: its scores, then the fairness re-rank, over
//! the lawyers that were shown. The order by score alone is reported beside it.

mod arm;
mod latency;
mod pointwise;
mod print;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use ranking::{Candidate, Interval, mean_interval};
use runtime::{Engine, Limits, Output, Scorer};
use serde::{Deserialize, Serialize};
use settings::Settings;

use crate::feature_map::FeatureMap;
use crate::files::{self, sha256};
use crate::matrix::{self, Case};
use crate::outcome::Outcome;
use crate::split::{Part, Split, split};
use crate::train::read_matrix;
use crate::trained::Trained;
use crate::{console, progress};

pub use arm::Arm;
pub use latency::Latency;
pub use print::print_evaluation;

use arm::{Judge, Served};

/// File name beside the model.
pub const EVALUATION: &str = "evaluation.json";
/// Offline there is no deadline to keep; only a component that spins must end.
const SCORE_TIMEOUT: Duration = Duration::from_secs(10);
/// What the component calls itself while it is only being judged.
const CANDIDATE: &str = "candidate";

const EXAMPLES: &str = "Examples:
  ltr-trainer evaluate --model var/runs/today --matrix var/lake/ltr/processed/2026-11-23/matrix.parquet
  ltr-trainer evaluate --model var/runs/today --matrix matrix.parquet --json";

/// Judges a trained model on the part of its matrix that it has not seen.
///
/// The model is compiled to its component and run in the gateway's own sandbox. Beside it: the
/// legacy ranking and a pointwise gradient-boosting model. Writes evaluation.json beside the model.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The directory `train` wrote
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// The matrix it was trained on
    #[arg(long, value_name = "PARQUET")]
    pub matrix: PathBuf,
    /// Print the evaluation as JSON instead of tables
    #[arg(long)]
    pub json: bool,
}

/// What a model is worth, and of which files that is true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Of `ltr_model.txt`.
    pub model_sha256: String,
    /// Of `feature_map.json`.
    pub feature_map_sha256: String,
    /// Of the matrix.
    pub matrix_sha256: String,
    /// The cases that were ranked.
    pub test: Part,
    /// Test cases left out because load or capacity was not logged with them.
    pub cases_without_load: usize,
    /// Cases with a label above 0: what nDCG@5 is a mean over.
    pub cases_with_positive: usize,
    /// Cases with a grade of at least `mrr_min_grade`: what MRR@5 is a mean over.
    pub cases_with_relevant: usize,
    /// The confidence of all intervals.
    pub confidence: f64,
    /// The compiled model.
    pub ltr: Arm,
    /// Weighted sum: the score as logged, else from the features as served.
    pub legacy: Arm,
    /// `gbdt` on the labels, a lawyer at a time.
    pub pointwise: Arm,
    /// LTR minus legacy, paired by case.
    pub over_legacy: Gain,
    /// LTR minus pointwise, paired by case.
    pub over_pointwise: Gain,
    /// The component in the gateway's sandbox.
    pub latency: Latency,
}

/// A paired difference in the served order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// Of nDCG@5.
    pub ndcg5: Interval,
    /// Of MRR@5.
    pub mrr5: Interval,
}

/// Runs the command.
///
/// # Errors
/// See [`evaluate`].
pub fn run(args: &Args, settings: &Settings) -> anyhow::Result<Outcome> {
    let evaluation = evaluate(&args.model, &args.matrix, settings)?;
    if args.json {
        console::json(&evaluation)?;
    } else {
        print_evaluation(&evaluation);
    }
    Ok(Outcome::Done)
}

/// Judges the model in `dir` on the test part of the matrix at `matrix`; writes `evaluation.json`.
///
/// # Errors
/// Files that do not belong together, a component the sandbox refuses, a test part without load.
pub fn evaluate(dir: &Path, matrix: &Path, settings: &Settings) -> anyhow::Result<Evaluation> {
    let trained = Trained::open(dir, &settings.schema())?;
    let (cases, parts) = cases_of(&trained, matrix, settings)?;
    let (train, test) = (&cases[parts.train], &cases[parts.test]);
    let complete: Vec<(&Case, Vec<Candidate>)> = test
        .iter()
        .filter_map(|case| Some((case, case.candidates()?)))
        .collect();
    if complete.is_empty() {
        bail!(
            "{}: cases_30d and monthly_capacity are null in the whole test part; needed: at least one case with both, because the served order depends on them",
            matrix.display()
        );
    }
    let engine = Engine::new(limits(settings))?;
    let scorer = engine
        .load(&trained.compile(CANDIDATE)?)
        .context("loading the compiled model")?;
    let judge = Judge::new(&complete, settings);
    let ltr = judge.serve_ltr(&component_scores(&scorer, &complete)?);
    let legacy = judge.serve_legacy(&legacy_scores(&complete, settings));
    let pointwise = judge.serve_ltr(&pointwise_scores(train, &complete, &trained.feature_map));
    let latency = latency::measure(&scorer, &complete, settings)?;
    let gain = |over: &Served| Gain {
        ndcg5: paired(&ltr.ndcg5, &over.ndcg5, settings),
        mrr5: paired(&ltr.mrr5, &over.mrr5, settings),
    };
    let evaluation = Evaluation {
        model_sha256: sha256(&trained.model),
        feature_map_sha256: sha256(&trained.feature_map_json),
        matrix_sha256: trained.matrix.sha256.clone(),
        test: Part::of(test),
        cases_without_load: test.len() - complete.len(),
        cases_with_positive: ltr.ndcg5.len(),
        cases_with_relevant: ltr.mrr5.len(),
        confidence: settings.evaluate.confidence,
        over_legacy: gain(&legacy),
        over_pointwise: gain(&pointwise),
        ltr: judge.arm(&ltr),
        legacy: judge.arm(&legacy),
        pointwise: judge.arm(&pointwise),
        latency,
    };
    files::write_json(&dir.join(EVALUATION), &evaluation)?;
    Ok(evaluation)
}

/// The limits a gateway with these settings would load the component under.
pub fn limits(settings: &Settings) -> Limits {
    const MIB: usize = 1 << 20;
    Limits {
        max_component_bytes: settings.models.max_component_mb as usize * MIB,
        max_memory_bytes: settings.models.max_memory_mb as usize * MIB,
        ..Limits::default()
    }
}

/// The matrix's cases and the parts the training cut them into.
///
/// # Errors
/// Another matrix than the one the model was trained on.
pub fn cases_of(trained: &Trained, path: &Path, settings: &Settings) -> anyhow::Result<(Vec<Case>, Split)> {
    let (matrix, found) = read_matrix(path, settings)?;
    let facts = &trained.matrix;
    ensure!(
        found == facts.sha256,
        "{}: SHA-256 {found}; allowed: {}, the matrix this model was trained on",
        path.display(),
        facts.sha256
    );
    // The fractions it was trained with, not those configured now: what it has seen is not a test.
    let parts = split(&matrix.cases, facts.valid_fraction, facts.test_fraction)?;
    Ok((matrix.cases, parts))
}

fn component_scores(scorer: &Scorer, cases: &[(&Case, Vec<Candidate>)]) -> anyhow::Result<Vec<Vec<f64>>> {
    let bar = progress::bar("score", cases.len());
    let mut scores = Vec::with_capacity(cases.len());
    for (case, _) in cases {
        let rows = matrix::values(std::slice::from_ref(*case));
        let of_case = scorer
            .score(&rows, Output::Converted, SCORE_TIMEOUT)
            .with_context(|| format!("scoring case {}", case.qid))?;
        if let Some(score) = of_case.iter().find(|score| !score.is_finite()) {
            bail!("case {}: score {score}; allowed: a finite number", case.qid);
        }
        scores.push(of_case);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(scores)
}

fn legacy_scores(cases: &[(&Case, Vec<Candidate>)], settings: &Settings) -> Vec<Vec<f64>> {
    let presets = settings.presets();
    let weights = presets.default_weights();
    let score = |case: &Case| {
        let rows = case.rows.iter();
        rows.map(|row| row.legacy_score.unwrap_or_else(|| weights.score(&row.features)))
            .collect()
    };
    cases.iter().map(|(case, _)| score(case)).collect()
}

fn pointwise_scores(train: &[Case], cases: &[(&Case, Vec<Candidate>)], map: &FeatureMap) -> Vec<Vec<f64>> {
    let labels = train.iter().flat_map(|case| &case.rows);
    let labels: Vec<f64> = labels.map(|row| row.grade.label()).collect();
    let mut values = matrix::values(train);
    map.scale(&mut values);
    let spinner = progress::spinner("pointwise");
    let model = pointwise::Model::fit(&values, &labels, map.names().len());
    spinner.finish_and_clear();
    let score = |case: &Case| {
        let mut rows = matrix::values(std::slice::from_ref(case));
        map.scale(&mut rows);
        model.predict(&rows)
    };
    cases.iter().map(|(case, _)| score(case)).collect()
}

fn paired(ours: &[f64], theirs: &[f64], settings: &Settings) -> Interval {
    let gains: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
    let config = &settings.evaluate;
    mean_interval(&gains, config.resamples, config.confidence, config.seed)
}

#[cfg(test)]
pub(crate) mod tests;
