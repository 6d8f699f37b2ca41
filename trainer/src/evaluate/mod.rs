//! `ltr-trainer evaluate`: the held-out part, ranked by the compiled component and by its rivals.
//!
//! Every arm is judged on the order users would see: its scores, then the fairness re-rank, over
//! the lawyers that were shown. The order by score alone is reported beside it.

mod arm;
mod latency;
mod pointwise;
mod print;
mod rivals;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use ranking::{Candidate, Interval, mean_interval};
use runtime::{Engine, Limits, Output, Scorer};
use serde::{Deserialize, Serialize};
use settings::Settings;

use crate::examination::DebiasedNdcg;
use crate::files::{self, sha256};
use crate::matrix::{self, Case};
use crate::outcome::Outcome;
use crate::split::{Part, Split, split};
use crate::train::read_matrix;
use crate::training_run::TrainingRun;
use crate::{console, progress};

pub use arm::Arm;
pub use latency::Latency;
pub use print::print_evaluation;
pub use rivals::{Rival, RivalResult, rival_is_better};

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
/// legacy ranking, and rivals grown on the same parts: LambdaMART without position, LightGBM's regression and the
/// `gbdt` crate's. A rival that ranks nothing is named as failed; one that is better than the model is named too.
///
/// The first metrics count clicks as shown, which favours whoever ranks like the order shown. Debiased ones weight each
/// click by how seldom its position is looked at. Writes evaluation.json beside the model.
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
    /// What the compiled model was trained to do.
    pub objective: String,
    /// The compiled model.
    pub ltr: Arm,
    /// Weighted sum: the score as logged, else from the features as served.
    pub legacy: Arm,
    /// LTR minus legacy, paired by case.
    pub over_legacy: Gain,
    /// Models that are not published.
    pub rivals: Vec<Rival>,
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
    /// Of debiased nDCG@5.
    pub debiased: Interval,
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
    let run = TrainingRun::open(dir, &settings.schema())?;
    let (cases, parts) = cases_of(&run, matrix, settings)?;
    let (train, valid, test) = (&cases[parts.train], &cases[parts.valid], &cases[parts.test]);
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
        .load(&run.compile(CANDIDATE)?)
        .context("loading the compiled model")?;
    let debiased = DebiasedNdcg::new(complete.iter().map(|(case, _)| *case), &run.matrix.examination);
    let judge = Judge::new(&complete, debiased, settings);
    let scores = component_scores(&scorer, &complete)?;
    if let Some(what) = rivals::ranks_nothing(&scores) {
        tracing::warn!("the model {what}: it is judged by the order that load and groups give");
    }
    let ltr = judge.serve_ltr(&scores);
    let legacy = judge.serve_legacy(&legacy_scores(&complete, settings));
    // Before the rivals, which would compete for the processor.
    let latency = latency::measure(&scorer, &complete, settings)?;
    let gain = |over: &Served| Gain {
        ndcg5: paired(&ltr.ndcg5, &over.ndcg5, settings),
        mrr5: paired(&ltr.mrr5, &over.mrr5, settings),
        debiased: paired(&ltr.debiased, &over.debiased, settings),
    };
    let grown = rivals::grow(&run, train, valid, &complete)?;
    let evaluation = Evaluation {
        model_sha256: sha256(&run.model),
        feature_map_sha256: sha256(&run.feature_map_json),
        matrix_sha256: run.matrix.sha256.clone(),
        test: Part::of(test),
        cases_without_load: test.len() - complete.len(),
        cases_with_positive: ltr.ndcg5.len(),
        cases_with_relevant: ltr.mrr5.len(),
        confidence: settings.evaluate.confidence,
        objective: run.training.parameters.get("objective").cloned().unwrap_or_default(),
        over_legacy: gain(&legacy),
        rivals: grown.into_iter().map(|scored| scored.judged(&judge, gain)).collect(),
        ltr: judge.arm(&ltr),
        legacy: judge.arm(&legacy),
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
pub fn cases_of(run: &TrainingRun, path: &Path, settings: &Settings) -> anyhow::Result<(Vec<Case>, Split)> {
    let (matrix, found) = read_matrix(path, settings)?;
    let facts = &run.matrix;
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

fn paired(ours: &[f64], theirs: &[f64], settings: &Settings) -> Interval {
    let gains: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
    let config = &settings.evaluate;
    mean_interval(&gains, config.resamples, config.confidence, config.seed)
}

#[cfg(test)]
pub(crate) mod tests;
