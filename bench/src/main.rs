//! `make bench-scorer`: the scorer component beside what one would use instead, on the same rows, in one run.
//! (`make bench-gateway`, `make bench-edge` and `make bench-etl` are the subcommands in `gateway/`, `edge/` and `etl/`.)
//!
//! Each round scores rows nobody has scored before, so that no branch predictor learns them; the subjects take turns
//! within a round, so that a noisy neighbour disturbs them alike; medians are reported. Time is everything from the
//! caller's rows to the caller's scores: for the component that includes both copies across the sandbox's border.

mod costs;
mod data;
mod edge;
mod etl;
mod gateway;
mod matchup;
mod models;
mod peers;
mod report;

use std::fs;
use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use data::{Shape, generator};
use gbdt::gradient_boost::GBDT;
use ltr_trainer::progress;
use matchup::Matchup;
use models::{Case, Name};
use peers::Python;
use report::{Comparison, Report};
use runtime::{Engine, Limits};

/// Rounds where --rounds does not say, and with --quick.
const ROUNDS: (usize, usize) = (11, 5);

/// Measure the scorer component beside LightGBM and other ways to run its models
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  ltr-bench\n  ltr-bench --quick --peers all\n  ltr-bench --models 500x64x136 --shapes uniform --batch 1,100 --rounds 51 --json\n  ltr-bench --models lambdarank --lambdarank LightGBM/examples/lambdarank"
)]
struct Args {
    /// Models to compare; default: all of them
    #[arg(long, value_delimiter = ',')]
    models: Vec<Name>,
    /// Shapes of the data; default: both
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<Shape>,
    /// Rows in a call
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000")]
    batch: Vec<usize>,
    /// Rounds for each batch, of which the median is reported; default: 11, with --quick 5
    #[arg(long)]
    rounds: Option<usize>,
    /// Whom to compare with
    #[arg(long, default_value = "native")]
    peers: Rivals,
    /// The smallest model on one shape of data, unless told otherwise
    #[arg(long)]
    quick: bool,
    /// What the data and the models follow from
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Folder of LightGBM's lambdarank example (rank.train, rank.train.query)
    #[arg(long, value_name = "DIR")]
    lambdarank: Option<PathBuf>,
    /// Seconds that a peer may take to compile a model
    #[arg(long, default_value_t = 90.0, value_name = "SECONDS")]
    compile_cap: f64,
    /// The Python that has the peers (`make setup-bench`)
    #[arg(long, default_value = ".tools/bin/python", value_name = "PATH")]
    python: PathBuf,
    /// Where the JSON report goes
    #[arg(long, default_value = "target/bench/scorer.json")]
    output: PathBuf,
    /// Print the JSON report instead of the tables
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Gateway(gateway::GatewayArgs),
    Edge(edge::EdgeArgs),
    Etl(etl::EtlArgs),
    /// Answer every request; the benchmark starts this itself
    #[command(hide = true)]
    Answer(edge::AnswerArgs),
    /// Measure one loading; the benchmark starts this itself
    #[command(hide = true)]
    Load(costs::LoadArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Rivals {
    /// Nobody: the component alone, its scores checked
    None,
    /// LightGBM's C API and the `gbdt` crate
    Native,
    /// Those and what is reached from Python: lleaves, tl2cgen, ONNX Runtime, Treelite GTIL
    All,
}

/// A trained model, in the files that the subjects read.
struct Trained {
    case: Case,
    text: String,
    gbdt: Option<GBDT>,
    text_path: PathBuf,
    component_path: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.command {
        Some(Command::Load(args)) => return args.run(),
        Some(Command::Gateway(args)) => return args.run(),
        Some(Command::Edge(args)) => return args.run(),
        Some(Command::Etl(args)) => return args.run(),
        Some(Command::Answer(args)) => return args.run(),
        None => {}
    }
    let rounds = args.rounds.unwrap_or(if args.quick { ROUNDS.1 } else { ROUNDS.0 });
    ensure!(rounds > 0, "--rounds is 0; allowed: 1 or more");
    ensure!(
        args.batch.iter().all(|&n| n > 0),
        "--batch holds a 0; allowed: 1 or more"
    );
    let work = tempfile::tempdir()?;
    let mut report = Report {
        machine: report::machine(),
        versions: ["lightgbm3", "gbdt", "wasmtime"]
            .map(|name| (name.to_owned(), locked(name)))
            .into(),
        ..Report::default()
    };

    let cases = cases(&args, &mut report.notes)?;
    let trained = train(cases, &args, work.path())?;
    let python = match args.peers {
        Rivals::All => Some(Python::new(&args.python, work.path(), &args.output)?),
        Rivals::None | Rivals::Native => None,
    };
    if let Some(python) = &python {
        compile_peers(python, &trained, args.compile_cap)?;
    }
    measure_costs(&trained, &mut report, work.path())?;
    let steps = trained.len() * args.batch.len() * (rounds + 1);
    let bar = step("measuring", steps);
    for model in trained {
        let comparison = compare(model, python.as_ref(), &args, rounds, work.path(), &mut report, || {
            bar.inc(1)
        })?;
        report.comparisons.push(comparison);
    }
    bar.finish_and_clear();

    report.write(&args.output)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report.to_json())?);
    } else {
        report.print(&args.output);
    }
    Ok(())
}

/// What to compare, by the arguments.
fn cases(args: &Args, notes: &mut Vec<String>) -> Result<Vec<Case>> {
    let names = match args.models.as_slice() {
        [] if args.quick => &[Name::Small],
        [] => Name::value_variants(),
        names => names,
    };
    let shapes = match args.shapes.as_slice() {
        [] if args.quick => &[Shape::Uniform],
        [] => Shape::value_variants(),
        shapes => shapes,
    };
    let mut cases = Vec::new();
    for &name in names {
        match (name, &args.lambdarank) {
            (Name::Lambdarank, Some(folder)) => cases.push(Case::lambdarank(folder)?),
            (Name::Lambdarank, None) => {
                notes.push("lambdarank: left out: --lambdarank names the folder of LightGBM's example".to_owned());
            }
            _ => cases.extend(shapes.iter().map(|&shape| Case::synthetic(name, shape))),
        }
    }
    Ok(cases)
}

fn train(cases: Vec<Case>, args: &Args, work: &Path) -> Result<Vec<Trained>> {
    let bar = step("training", cases.len());
    let mut trained = Vec::new();
    for case in cases {
        bar.set_message(case.name.clone());
        bar.tick();
        let text = case
            .train(args.seed)
            .with_context(|| format!("training {}", case.name))?;
        let path = |kind: &str| work.join(format!("{}.{kind}", trained.len()));
        let (text_path, component_path) = (path("txt"), path("wasm"));
        // LightGBM's Python package ends its files like this, and lleaves reads no others.
        fs::write(&text_path, format!("{text}\npandas_categorical:null\n"))?;
        fs::write(&component_path, costs::component(&case.name, &text)?.0)?;
        trained.push(Trained {
            gbdt: (args.peers >= Rivals::Native).then(|| case.train_gbdt(args.seed)),
            case,
            text,
            text_path,
            component_path,
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(trained)
}

/// Ahead of all measuring, because it takes minutes and every processor.
fn compile_peers(python: &Python, trained: &[Trained], seconds: f64) -> Result<()> {
    let models: Vec<PathBuf> = trained.iter().map(|model| model.text_path.clone()).collect();
    // Two of the peers compile each model.
    let bar = step("peers", 2 * models.len());
    bar.set_message("compiling the models (kept for the next run)");
    bar.tick();
    python.compile(&models, seconds, || bar.inc(1))?;
    bar.finish_and_clear();
    Ok(())
}

fn measure_costs(trained: &[Trained], report: &mut Report, work: &Path) -> Result<()> {
    let bar = step("costs", trained.len());
    let tiny = "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=0\n\
                objective=regression\nfeature_names=x\nfeature_infos=[0:1]\n\nTree=0\nnum_leaves=1\n\
                num_cat=0\nleaf_value=1\n\nend of trees\n";
    let other = work.join("tiny.wasm");
    fs::write(&other, costs::component("tiny", tiny)?.0)?;
    for model in trained {
        report.costs.push(costs::measure(
            &model.case.name,
            &model.text,
            &model.component_path,
            &other,
        )?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

fn compare(
    model: Trained,
    python: Option<&Python>,
    args: &Args,
    rounds: usize,
    work: &Path,
    report: &mut Report,
    progress: impl FnMut(),
) -> Result<Comparison> {
    let Trained {
        case,
        text,
        gbdt,
        text_path,
        component_path,
    } = model;
    let engine = Engine::new(Limits::default())?;
    let peers = python.map(|python| python.serve(&text_path, work)).transpose()?;
    let mut notes = vec![format!("{} trees, {} leaves", case.trees, models::leaves(&text))];
    for facts in peers.iter().flat_map(|peers| peers.facts()) {
        report.versions.insert(facts.name.clone(), facts.version.clone());
        if let Some(why) = &facts.not_measured {
            notes.push(format!("{}: not measured: {why}", facts.name));
        }
    }
    let mut matchup = Matchup {
        component: engine.load(&fs::read(&component_path)?)?,
        lightgbm: models::booster(&text)?,
        gbdt,
        peers,
        time_lightgbm: args.peers >= Rivals::Native,
        trees: case.trees,
    };
    let mut rng = generator(args.seed, &case.name, 1);
    let lines = matchup
        .measure(&case.source, &mut rng, &args.batch, rounds, progress)
        .with_context(|| case.name.clone())?;
    Ok(Comparison {
        case: case.name,
        batches: args.batch.clone(),
        lines,
        notes,
    })
}

/// A bar on a terminal, a line elsewhere.
fn step(what: &'static str, length: usize) -> indicatif::ProgressBar {
    if !stderr().is_terminal() {
        eprintln!("{what} ...");
    }
    progress::bar(what, length)
}

/// The version of a crate in the lock file that this program was built with.
fn locked(name: &str) -> String {
    let lock = include_str!("../../Cargo.lock");
    let entry = lock
        .split_once(&format!("name = \"{name}\"\nversion = \""))
        .map_or("", |(_, rest)| rest);
    entry.split('"').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn quick_means_one_case_and_the_example_is_left_out_with_a_note_without_its_folder() {
        let cases = |arguments: &[&str]| {
            let mut notes = Vec::new();
            let cases = cases(&Args::parse_from(arguments), &mut notes).unwrap();
            (cases.len(), notes.len())
        };
        assert_eq!(cases(&["ltr-bench", "--quick"]), (1, 0));
        assert_eq!(cases(&["ltr-bench"]), (8, 1));
        assert_eq!(
            cases(&["ltr-bench", "--models", "categorical,lambdarank", "--shapes", "uniform"]),
            (1, 1)
        );
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(locked("gbdt").starts_with("0."));
        assert_eq!(locked("no such crate"), "");
    }
}
