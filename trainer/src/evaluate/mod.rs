//! `ltr-trainer evaluate`: ranks the held-out part with the compiled component and with its rivals.
//!
//! Every arm is judged by the order that users would see: the lawyers shown, ordered by score and
//! then by the fairness re-rank. The order by score alone is reported as well.

mod arm;
mod champion;
mod latency;
mod pointwise;
mod print;
mod rivals;
mod trec;
mod weighted;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, Utc};
use clap::Parser;
use ranking::release::ModelId;
use ranking::{Candidate, Interval, Schema, mean_interval};
use runtime::{Engine, Output, Scorer, artefact};
use serde::{Deserialize, Serialize};
use settings::Settings;

use crate::examination::DebiasedNdcg;
use crate::files::{self, sha256};
use crate::lineage::{Dataset, Record};
use crate::matrix::{Case, StoredMatrix};
use crate::night::{days_path, given_or, run_dir};
use crate::outcome::{Outcome, Permanent};
use crate::split::{Part, Split, split};
use crate::train::Parts;
use crate::training_run::TrainingRun;
use crate::{console, progress};

pub use arm::Arm;
pub use champion::{Champion, Choice};
pub use latency::Latency;
pub(crate) use print::how_weighted;
pub use print::print_evaluation;
pub use rivals::{Rival, RivalResult, rival_is_better};
pub use weighted::{Propensities, Weighted};

use arm::{Judge, Served};

/// Name of the file beside the model.
pub const EVALUATION: &str = "evaluation.json";
/// Generous, because an evaluation has no deadline; it only ends a component that hangs.
const SCORE_TIMEOUT: Duration = Duration::from_secs(10);
/// The version of the component during the evaluation.
const CANDIDATE: &str = "candidate";

const EXAMPLES: &str = "Examples:
  ltr-trainer evaluate --as-of 2026-11-23T02:15:00Z
  ltr-trainer evaluate --model var/runs/today --matrix var/lake/ltr/processed/2026-11-23/days.json
  ltr-trainer evaluate --model var/runs/today --matrix matrix.parquet --json
  ltr-trainer evaluate --model var/runs/today --matrix matrix.parquet --champion none
  ltr-trainer evaluate --model var/runs/today --matrix matrix.parquet --trec trec
  ir_measures trec/positive.qrels trec/ltr.run 'nDCG(gains={0:0,1:3,2:6,3:10})@5'
  ir_measures trec/relevant.qrels trec/ltr.run 'RR(rel=2)@5'";

/// Judges a trained model on the held-out part of its matrix.
///
/// Compiles the model and runs the component in the gateway's sandbox. Compares it with the legacy
/// ranking and with rivals trained on the same parts: LambdaMART without position, LightGBM's
/// regression and the `gbdt` crate's regression. Reports a rival that ranks nothing as failed, and
/// points out rivals that are better than the model.
///
/// Compares it with the champion, too: the published model that serves. Its artefact is verified as a gateway
/// does it; if that fails, there is no comparison, and the reason is kept.
///
/// The first metrics count clicks as shown, which favours rankings similar to the order shown. The
/// debiased metric weights each click by the inverse of how often its position is looked at, as a
/// click model estimates it. The weighted metrics do so by the known evaluate.eta. Writes
/// evaluation.json beside the model.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Time of the night's run (RFC 3339): sets --model and --matrix unless they are given
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<DateTime<Utc>>,
    /// Directory written by `train`
    #[arg(long, value_name = "DIR", required_unless_present = "as_of")]
    pub model: Option<PathBuf>,
    /// List of days, or matrix, that the model was trained on
    #[arg(long, value_name = "FILE", required_unless_present = "as_of")]
    pub matrix: Option<PathBuf>,
    /// Also write the served rankings and the grades as TREC files into this directory
    ///
    /// A run for each ranking; positive.qrels for nDCG@5 and relevant.qrels for MRR@5, each with the
    /// cases that its metric is the mean over. Scores in runs are ranks from the end, so that every
    /// tool sees the served order.
    #[arg(long, value_name = "DIR")]
    pub trec: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap takes a doc comment for help")]
    pub champion: Choice,
    /// Print the evaluation as JSON instead of tables
    #[arg(long)]
    pub json: bool,
}

/// The evaluation of a model, with the hashes of the files it is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// SHA-256 of `ltr_model.txt`.
    pub model_sha256: String,
    /// SHA-256 of `feature_map.json`.
    pub feature_map_sha256: String,
    /// SHA-256 of the matrix.
    pub matrix_sha256: String,
    /// The test part.
    pub test: Part,
    /// Test cases left out because load or capacity was not logged with them.
    pub cases_without_load: usize,
    /// Cases with a label above 0; nDCG@5 is the mean over these.
    pub cases_with_positive: usize,
    /// Cases with a grade of at least `mrr_min_grade`; MRR@5 is the mean over these.
    pub cases_with_relevant: usize,
    /// The confidence of all intervals.
    pub confidence: f64,
    /// The compiled model's objective.
    pub objective: String,
    /// By what `weighted` of each ranking is weighted.
    #[serde(default)]
    pub propensities: Propensities,
    /// The compiled model.
    pub ltr: Arm,
    /// The legacy weighted sum: the logged score, or else computed from the features as served.
    pub legacy: Arm,
    /// LTR minus legacy, paired by case.
    pub over_legacy: Gain,
    /// The model that serves; `None`: none does, or it was not to be compared with.
    #[serde(default)]
    pub champion: Option<Champion>,
    /// Other models, for comparison; they are not published.
    pub rivals: Vec<Rival>,
    /// Latency of the component in the gateway's sandbox.
    pub latency: Latency,
}

/// Paired differences in the metrics of the served order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// Difference in nDCG@5.
    pub ndcg5: Interval,
    /// Difference in MRR@5.
    pub mrr5: Interval,
    /// Difference in debiased nDCG@5.
    pub debiased: Interval,
    /// Differences by weights; `None`: see [`Propensities::Unknown`].
    #[serde(default)]
    pub weighted: Option<Weighted>,
}

/// Runs the command.
///
/// # Errors
/// See [`Choice::find`] and [`evaluate`].
pub async fn run(args: &Args, settings: &Settings, record: &mut Record) -> anyhow::Result<Outcome> {
    let lake = &settings.lake.dir;
    let of_night = args.as_of.map(|as_of| days_path(lake, as_of.date_naive()));
    let dir = given_or(
        args.model.as_deref(),
        "--model",
        args.as_of.map(|as_of| run_dir(lake, as_of)),
    )?;
    let matrix = given_or(args.matrix.as_deref(), "--matrix", of_night)?;
    record.read(Dataset::file(&dir.join(artefact::MODEL)));
    record.read(Dataset::file(&matrix));
    let champion = args.champion.find(settings).await?;
    let evaluation = evaluate_and_export(&dir, &matrix, champion.as_ref(), args.trec.as_deref(), settings)?;
    evaluation.record(&dir, &settings.models.dir, record);
    if args.json {
        console::json(&evaluation)?;
    } else {
        print_evaluation(&evaluation);
    }
    Ok(Outcome::Done)
}

impl Evaluation {
    /// Records what an evaluation of the model in `dir` read and wrote, but for the matrix. `models`: the directory of
    /// the published models.
    pub fn record(&self, dir: &Path, models: &Path, record: &mut Record) {
        record.read(Dataset::file(&dir.join(artefact::MODEL)).sha256(&self.model_sha256));
        record.read(Dataset::file(&dir.join(artefact::FEATURE_MAP)).sha256(&self.feature_map_sha256));
        if let Some(Champion {
            model,
            result: RivalResult::Judged { .. },
        }) = &self.champion
        {
            let scorer = models.join("ltr").join(&model.version).join(artefact::SCORER);
            record.read(Dataset::file(&scorer));
        }
        record.wrote(Dataset::file(&dir.join(EVALUATION)));
    }
}

/// Judges the model in `dir` on the test part of the matrix at `matrix`, beside the champion if one is given; writes
/// `evaluation.json`.
///
/// # Errors
/// Files that do not belong together, a component that the sandbox rejects, a test part without
/// load data. A champion that cannot be judged is no error: the evaluation has the reason.
pub fn evaluate(
    dir: &Path,
    matrix: &Path,
    champion: Option<&ModelId>,
    settings: &Settings,
) -> anyhow::Result<Evaluation> {
    evaluate_and_export(dir, matrix, champion, None, settings)
}

/// As [`evaluate`], and writes the rankings that it compares as TREC files into the directory `trec`.
///
/// # Errors
/// The same.
pub fn evaluate_and_export(
    dir: &Path,
    matrix: &Path,
    champion: Option<&ModelId>,
    trec: Option<&Path>,
    settings: &Settings,
) -> anyhow::Result<Evaluation> {
    let run = TrainingRun::open(dir, &settings.schema())?;
    let (stored, split) = matrix_of(&run, matrix, settings)?;
    let test = stored.cases(split.test.clone())?;
    let complete = with_load(&test, matrix)?;
    let engine = Engine::new(settings.models.limits())?;
    let scorer = engine
        .load(&run.compile(CANDIDATE)?)
        .context("loading the compiled model")?;
    let debiased = DebiasedNdcg::new(complete.iter().map(|(case, _)| case.shown()), &run.matrix.examination);
    let judge = Judge::new(&complete, debiased, settings);
    let scores = component_scores(&scorer, &settings.schema(), &complete)?;
    if let Some(reason) = rivals::ranks_nothing(&scores) {
        tracing::warn!("the model {reason}; load and groups alone decide its order");
    }
    let ltr = judge.serve_ltr(&scores);
    let legacy = judge.serve_legacy(&legacy_scores(&complete, settings));
    // Before the rivals are trained, because they would compete for the processor.
    let latency = latency::measure(&scorer, &complete, settings)?;
    let gain = |over: &Served| Gain {
        ndcg5: paired(&ltr.ndcg5, &over.ndcg5, settings),
        mrr5: paired(&ltr.mrr5, &over.mrr5, settings),
        debiased: paired(&ltr.debiased, &over.debiased, settings),
        weighted: (ltr.weighted.as_ref().zip(over.weighted.as_ref()))
            .map(|(ours, theirs)| ours.over(theirs).metrics(&settings.evaluate)),
    };
    let (champion, champions) = champion::judged(champion, &engine, &judge, &complete, settings, gain);
    let grown = rivals::grow(&run, &parts_of(&run, &stored, &split), &complete)?;
    let (rivals, orders): (Vec<Rival>, Vec<Option<Served>>) =
        grown.into_iter().map(|scored| scored.judged(&judge, gain)).unzip();
    if let Some(folder) = trec {
        let mut arms = vec![("ltr", &ltr), ("legacy", &legacy)];
        arms.extend(with_order(champions.as_ref(), &rivals, &orders));
        trec::write(folder, &complete, &arms, settings.evaluate.mrr_min_grade)?;
    }
    let evaluation = Evaluation {
        model_sha256: sha256(&run.model),
        feature_map_sha256: sha256(&run.feature_map_json),
        matrix_sha256: run.matrix.sha256.clone(),
        test: Part::of(&stored.index().cases[split.test]),
        cases_without_load: test.len() - complete.len(),
        cases_with_positive: ltr.ndcg5.len(),
        cases_with_relevant: ltr.mrr5.len(),
        confidence: settings.evaluate.confidence,
        objective: run.training.parameters.get("objective").cloned().unwrap_or_default(),
        propensities: judge.propensities(&ltr),
        over_legacy: gain(&legacy),
        champion,
        rivals,
        ltr: judge.arm(&ltr),
        legacy: judge.arm(&legacy),
        latency,
    };
    files::write_json(&dir.join(EVALUATION), &evaluation)?;
    Ok(evaluation)
}

/// The parts that the model was trained on.
fn parts_of<'a>(run: &'a TrainingRun, matrix: &'a StoredMatrix, split: &'a Split) -> Parts<'a> {
    Parts {
        matrix,
        split,
        map: &run.feature_map,
        examination: &run.matrix.examination,
        network: None,
    }
}

/// The champion and the rivals that rank, by name, with what they serve.
fn with_order<'a>(
    champion: Option<&'a Served>,
    rivals: &'a [Rival],
    orders: &'a [Option<Served>],
) -> impl Iterator<Item = (&'a str, &'a Served)> {
    let names = rivals.iter().map(|rival| rival.name.as_str());
    let rivals = names
        .zip(orders)
        .filter_map(|(name, served)| Some((name, served.as_ref()?)));
    champion.map(|served| ("champion", served)).into_iter().chain(rivals)
}

/// The test cases whose served order is known.
fn with_load<'a>(test: &'a [Case], matrix: &Path) -> anyhow::Result<Vec<(&'a Case, Vec<Candidate>)>> {
    let complete: Vec<(&Case, Vec<Candidate>)> = test
        .iter()
        .filter_map(|case| Some((case, case.candidates()?)))
        .collect();
    if complete.is_empty() {
        bail!(
            "{}: cases_30d and monthly_capacity are null in a row of every test case; needed: at least one case with both in all rows, because the served order depends on them",
            matrix.display()
        );
    }
    Ok(complete)
}

/// Opens the matrix that the model was trained on, and splits it as the training did.
///
/// # Errors
/// A matrix other than the one that the model was trained on.
pub fn matrix_of(run: &TrainingRun, path: &Path, settings: &Settings) -> anyhow::Result<(StoredMatrix, Split)> {
    // The training's window and fractions, not the configured ones: no training case may be a test case.
    let facts = &run.matrix;
    let matrix = StoredMatrix::open(path, facts.window_days, &settings.schema())?;
    let found = matrix.sha256();
    ensure!(
        found == facts.sha256,
        Permanent::Refused(format!(
            "{}: SHA-256 {found}; allowed: {}, the matrix this model was trained on",
            path.display(),
            facts.sha256
        ))
    );
    let split = split(&matrix.index().cases, facts.valid_fraction, facts.test_fraction)?;
    Ok((matrix, split))
}

/// A component's scores of the cases, one for each row.
fn component_scores(
    scorer: &Scorer,
    schema: &Schema,
    cases: &[(&Case, Vec<Candidate>)],
) -> anyhow::Result<Vec<Vec<f64>>> {
    let columns = columns(scorer, schema)?;
    let bar = progress::bar("score", cases.len());
    let mut scores = Vec::with_capacity(cases.len());
    for (case, _) in cases {
        let values = case.rows.iter();
        let rows: Vec<f64> = values
            .flat_map(|row| columns.iter().map(|&at| row.features[at]))
            .collect();
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

/// For each feature of the component, its index in the schema: a component may know fewer features, in another order.
fn columns(scorer: &Scorer, schema: &Schema) -> anyhow::Result<Vec<usize>> {
    let description = scorer.description();
    let outputs = description.outputs;
    ensure!(
        outputs == 1,
        "the component gives {outputs} scores for each row; allowed: 1"
    );
    let index = |name: &String| {
        schema.index_of(name).with_context(|| {
            let known = schema.names().join(", ");
            format!("feature {name:?} is not in ranking.features; allowed: {known}")
        })
    };
    description.feature_names.iter().map(index).collect()
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
