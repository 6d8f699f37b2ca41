//! `ltr-trainer`: see `ltr-trainer --help`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use ltr_trainer::lightgbm;
use ltr_trainer::lineage::{self, Record};
use ltr_trainer::outcome::{self, Outcome};
use ltr_trainer::{
    bypass, checks, compile, etl, evaluate, gate, keygen, lake_commands, nightly, publish, simulate, train,
};
use settings::Settings;
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "Examples:
  ltr-trainer keygen                                    once
  ltr-trainer train-daily                               every night
  ltr-trainer train --train rank.train --valid rank.test --params P.json --out D
  ltr-trainer compile D/ltr_model.txt -o scorer.wasm

Exit codes: 0 done; 1 failed, may succeed if repeated; 2 wrong usage or configuration; 3 refused by the
data checks or the gate. Repeating after 2 or 3 changes nothing; after 1 it is always safe.

Each step of the night writes a run record: see [lineage] in --print-config. OPENLINEAGE_PARENT_ID
(NAMESPACE/JOB/RUN-ID) names the run that it is part of.
LTR_<SECTION>__<KEY> in the environment sets a configuration key, RUST_LOG the log level (default: warn).";

/// Turns logged events into a published ranking model.
#[derive(Parser)]
#[command(name = "ltr-trainer", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    /// Configuration file (TOML)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the effective configuration, with a comment on every key, and exit
    #[arg(long)]
    print_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Simulate(simulate::Args),
    #[command(flatten)]
    Step(Step),
    #[command(subcommand)]
    Lake(lake_commands::LakeCommand),
    Compile(compile::command::Args),
    EdgeMark(compile::command::MarkArgs),
    EdgeBypass(bypass::Args),
    Keygen(keygen::Args),
}

/// The steps of the nightly run. Each of them leaves a run record.
#[derive(Subcommand)]
enum Step {
    Sink(lake_commands::SinkArgs),
    Etl(etl::Args),
    Check(checks::Args),
    Train(train::Args),
    Evaluate(evaluate::Args),
    Gate(gate::Args),
    Publish(publish::Args),
    TrainDaily(nightly::Args),
}

impl Step {
    /// Its name in the run record.
    fn job(&self) -> &'static str {
        match self {
            Step::Sink(_) => "sink",
            Step::Etl(_) => "etl",
            Step::Check(_) => "check",
            Step::Train(_) => "train",
            Step::Evaluate(_) => "evaluate",
            Step::Gate(_) => "gate",
            Step::Publish(_) => "publish",
            Step::TrainDaily(_) => "train-daily",
        }
    }

    async fn run(&self, settings: &Settings, record: &mut Record) -> anyhow::Result<Outcome> {
        match self {
            Step::Sink(args) => lake_commands::sink(args, settings, record).await,
            Step::Etl(args) => etl::run(args, settings, record).await,
            Step::Check(args) => checks::run(args, settings, record),
            Step::Train(args) => train::run(args, settings, record),
            Step::Evaluate(args) => evaluate::run(args, settings, record).await,
            Step::Gate(args) => gate::run(args, settings, record),
            Step::Publish(args) => publish::run(args, settings, record).await,
            Step::TrainDaily(args) => nightly::run(args, settings, record).await,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let result = run(cli).await;
    if let Err(error) = &result {
        eprintln!("error: {}", describe(error));
    }
    ExitCode::from(outcome::exit_code(&result))
}

/// The error and its causes on one line.
///
/// LightGBM writes its own failures to standard error, so their text is not repeated here. Failures
/// of the C++ standard library (recognised by `::`) are not written there, so they are kept.
fn describe(error: &anyhow::Error) -> String {
    let text = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref() {
        Some(lightgbm::Error::Refused { call, message }) if !message.contains("::") => {
            format!("LightGBM failed in {call}; its reason is printed above")
        }
        _ => cause.to_string(),
    };
    error.chain().map(text).collect::<Vec<_>>().join(": ")
}

async fn run(cli: Cli) -> anyhow::Result<Outcome> {
    #[expect(clippy::disallowed_methods, reason = "the environment is read here and handed on")]
    let (settings, parent) = (
        Settings::load(cli.config.as_deref(), std::env::vars())?,
        std::env::var("OPENLINEAGE_PARENT_ID").ok(),
    );
    if cli.print_config {
        print!("{}", settings.print());
        return Ok(Outcome::Done);
    }
    let Some(command) = cli.command else {
        Cli::command()
            .error(
                ErrorKind::MissingSubcommand,
                "no command given; `ltr-trainer --help` lists them",
            )
            .exit();
    };
    match command {
        Command::Simulate(args) => simulate::run(args, &settings).await.map(|()| Outcome::Done),
        Command::Step(step) => {
            let run = async |record: &mut Record| step.run(&settings, record).await;
            lineage::recorded(step.job(), &settings, parent.as_deref(), run).await
        }
        Command::Lake(command) => lake_commands::lake(&command, &settings).await,
        Command::Compile(args) => compile::command::run(&args),
        Command::EdgeMark(args) => compile::command::edge_mark(&args),
        Command::EdgeBypass(args) => bypass::run(&args),
        Command::Keygen(args) => keygen::run(&args, &settings),
    }
}
