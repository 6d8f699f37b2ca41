//! `ltr-trainer`: see `ltr-trainer --help`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use ltr_trainer::lightgbm::{self, ParameterError};
use ltr_trainer::machines::MachinesError;
use ltr_trainer::outcome::Outcome;
use ltr_trainer::{bypass, compile, etl, evaluate, gate, keygen, lake_commands, nightly, publish, simulate, train};
use settings::{Settings, SettingsError};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "Examples:
  ltr-trainer keygen                                    once
  ltr-trainer train-daily                               every night
  ltr-trainer train --train rank.train --valid rank.test --params P.json --out D
  ltr-trainer compile D/ltr_model.txt -o scorer.wasm

Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 3 rejected by the gate.
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
    Sink(lake_commands::SinkArgs),
    #[command(subcommand)]
    Lake(lake_commands::LakeCommand),
    Etl(etl::Args),
    Train(train::Args),
    Evaluate(evaluate::Args),
    Gate(gate::Args),
    Publish(publish::Args),
    TrainDaily(nightly::Args),
    Compile(compile::command::Args),
    EdgeMark(compile::command::MarkArgs),
    EdgeBypass(bypass::Args),
    Keygen(keygen::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(cli).await {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Refused) => ExitCode::from(3),
        Err(error) => {
            eprintln!("error: {}", describe(&error));
            let configuration = |cause: &(dyn std::error::Error + 'static)| {
                cause.is::<SettingsError>() || cause.is::<ParameterError>() || cause.is::<MachinesError>()
            };
            ExitCode::from(if error.chain().any(configuration) { 2 } else { 1 })
        }
    }
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
    let settings = Settings::load(cli.config.as_deref(), std::env::vars())?;
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
        Command::Sink(args) => lake_commands::sink(&args, &settings).await,
        Command::Lake(command) => lake_commands::lake(&command, &settings).await,
        Command::Etl(args) => etl::run(&args, &settings).await,
        Command::Train(args) => train::run(&args, &settings),
        Command::Evaluate(args) => evaluate::run(&args, &settings),
        Command::Gate(args) => gate::run(&args, &settings),
        Command::Publish(args) => publish::run(&args, &settings).await,
        Command::TrainDaily(args) => nightly::run(&args, &settings).await,
        Command::Compile(args) => compile::command::run(&args),
        Command::EdgeMark(args) => compile::command::edge_mark(&args),
        Command::EdgeBypass(args) => bypass::run(&args),
        Command::Keygen(args) => keygen::run(&args, &settings),
    }
}
