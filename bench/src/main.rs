//! `make bench`: the scorer component beside LightGBM's own C API, on the same rows, in one run.
//!
//! Each round scores rows nobody has scored before, so that no branch predictor learns them; the
//! subjects take turns within a round, so that a noisy neighbour disturbs them alike; medians are
//! reported. Time is everything from the caller's slice of rows to the caller's scores: for the
//! component that includes both copies across the sandbox's border.

mod report;

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use lightgbm3::{Booster, Dataset};
use ltr_trainer::compile::{self, compile};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use report::Report;
use runtime::{Engine, Limits, Output, Scorer};

/// Measure the scorer component beside LightGBM's C API.
#[derive(Parser)]
#[command(after_help = "Examples:\n  ltr-bench\n  ltr-bench --rounds 51 --batch 1,100 --json")]
struct Args {
    /// Rows in a call
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000")]
    batch: Vec<usize>,
    /// Rounds a case; the median is reported
    #[arg(long, default_value_t = 25)]
    rounds: usize,
    /// Where the JSON report goes
    #[arg(long, default_value = "target/bench/scorer.json")]
    output: PathBuf,
    /// Print the JSON report instead of the table
    #[arg(long)]
    json: bool,
}

/// The size of a model and the name it has in the report.
struct Shape {
    name: &'static str,
    trees: usize,
    leaves: usize,
    features: usize,
}

const SHAPES: [Shape; 2] = [
    Shape {
        name: "200x48x11",
        trees: 200,
        leaves: 48,
        features: 11,
    },
    Shape {
        name: "500x64x136",
        trees: 500,
        leaves: 64,
        features: 136,
    },
];

/// Long enough for any batch here: the benchmark measures time, it does not bound it.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.rounds > 0, "--rounds is 0; allowed: 1 or more");
    ensure!(
        args.batch.iter().all(|&n| n > 0),
        "--batch holds a 0; allowed: 1 or more"
    );
    let engine = Engine::new(Limits::default())?;
    let mut report = Report::new("scorer");
    for shape in &SHAPES {
        let mut subjects =
            Subjects::train(&engine, shape).with_context(|| format!("preparing the model {}", shape.name))?;
        for &batch in &args.batch {
            subjects.measure(shape, batch, args.rounds, &mut report)?;
        }
    }
    report.write(&args.output)?;
    if args.json {
        report.print_json()
    } else {
        report.print_table(&args.output)
    }
}

/// One model in the hands of each subject.
struct Subjects {
    component: Scorer,
    lightgbm: Booster,
    rng: ChaCha8Rng,
}

impl Subjects {
    fn train(engine: &Engine, shape: &Shape) -> Result<Subjects> {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let rows = 20_000;
        let x = uniform(&mut rng, rows * shape.features);
        let y: Vec<f32> = x.chunks(shape.features).map(|row| target(row, &mut rng)).collect();
        let data = Dataset::from_slice(&x, &y, shape.features as i32, true)?;
        let params = serde_json::json!({
            "objective": "regression", "num_iterations": shape.trees, "num_leaves": shape.leaves,
            "min_data_in_leaf": 5, "verbosity": -1, "num_threads": 2, "seed": 7,
        });
        eprintln!("training {} ...", shape.name);
        let mut lightgbm = Booster::train(data, &params)?;
        let single_thread = serde_json::json!({ "num_threads": 1 });
        lightgbm.single_row_fast_init::<f64>(Some(&single_thread))?;
        let text = lightgbm.save_string()?;
        let request = compile::Request {
            model: text.as_bytes(),
            feature_map: None,
            model_version: shape.name,
            training_window: None,
        };
        let component = engine.load(&compile(&request)?)?;
        Ok(Subjects {
            component,
            lightgbm,
            rng,
        })
    }

    fn measure(&mut self, shape: &Shape, batch: usize, rounds: usize, report: &mut Report) -> Result<()> {
        // About the same work a round whatever the batch, so that the clock's grain does not matter.
        let calls = (2_000 / batch).max(1);
        let (mut ours, mut theirs, mut fast) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let rows = uniform(&mut self.rng, calls * batch * shape.features);
            let per_call = batch * shape.features;
            let mut scores = Vec::with_capacity(calls * batch);
            ours.push(ns_a_row(calls * batch, || {
                for rows in rows.chunks(per_call) {
                    scores.extend(self.component.score(rows, Output::Converted, PATIENCE)?);
                }
                Ok(())
            })?);
            let mut expected = Vec::with_capacity(calls * batch);
            theirs.push(ns_a_row(calls * batch, || {
                for rows in rows.chunks(per_call) {
                    expected.extend(self.lightgbm.predict_with_params(
                        rows,
                        shape.features as i32,
                        true,
                        "num_threads=1",
                    )?);
                }
                Ok(())
            })?);
            if batch == 1 {
                fast.push(ns_a_row(calls, || {
                    for row in rows.chunks(per_call) {
                        black_box(self.lightgbm.predict_single_row_fast(row)?);
                    }
                    Ok(())
                })?);
            }
            ensure!(
                same_bits(&scores, &expected),
                "{}: scores differ from LightGBM's",
                shape.name
            );
        }
        let case = format!("{} batch {batch}", shape.name);
        let ours = report.add("component", &case, ours);
        let theirs = report.add("lightgbm", &case, theirs);
        report.compare(&case, ours, "lightgbm", theirs);
        if !fast.is_empty() {
            let fast = report.add("lightgbm single-row fast", &case, fast);
            report.compare(&case, ours, "lightgbm single-row fast", fast);
        }
        Ok(())
    }
}

fn ns_a_row(rows: usize, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_nanos() as f64 / rows as f64)
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}

fn uniform(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| rng.random::<f64>()).collect()
}

/// A target with thresholds and interactions on every feature, so that the trees use all of them.
fn target(row: &[f64], rng: &mut ChaCha8Rng) -> f32 {
    let pairs = row.windows(2).map(|w| if w[0] > 0.4 { w[1] * w[1] } else { w[0] });
    (pairs.sum::<f64>() + 0.2 * rng.random::<f64>()) as f32
}
