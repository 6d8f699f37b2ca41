//! The program's commands: run the gateway, ask or change a running one, and work on components without one.

pub mod bench;
mod component;
pub mod explain;
pub mod flags;
pub mod inspect;
mod output;
pub mod rollout;
mod rows_in;
pub mod score;
pub mod token;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use settings::{Settings, SettingsError};

use crate::{server, telemetry};

/// A usage or configuration error, as clap's own.
const USAGE: u8 = 2;

/// Ranks lawyers for cases, with a learned model where it has earned it and the legacy weights otherwise.
#[derive(Parser)]
#[command(
    name = "ltr-host",
    version,
    after_help = "Examples:\n  ltr-host serve --config ltr.toml\n  ltr-host score scorer.wasm --input rows.csv\n  ltr-host rollout status"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway until it is told to stop
    #[command(
        after_help = "Examples:\n  ltr-host serve\n  ltr-host serve --print-config > ltr.toml\n  LTR_HOST__LISTEN=127.0.0.1:9090 ltr-host serve --config ltr.toml\n\nSIGTERM: /readyz says draining, and after host.drain_delay_ms as ctrl-c: no new connections, running requests are answered, everything is written, then exit 0."
    )]
    Serve {
        /// Configuration file (TOML); every key can be overridden by LTR_<SECTION>__<KEY>
        #[arg(long)]
        config: Option<PathBuf>,
        /// Print the configuration in force, with what each key means, and exit
        #[arg(long)]
        print_config: bool,
    },
    /// Score rows of a file with a component
    Score(score::ScoreArgs),
    /// Say what each feature contributed to the scores of rows
    Explain(explain::ExplainArgs),
    /// Measure how long a component takes for a row
    Bench(bench::BenchArgs),
    /// Say what a component is
    Inspect(inspect::InspectArgs),
    /// Ask or change a running gateway's rollout
    Rollout(rollout::Args),
    /// Show or turn the fleet's switches, which a Redis holds
    Flags(flags::Args),
    /// Make a bearer token
    Token(token::Args),
}

impl Cli {
    /// Runs the command. Errors are on standard error, and in the exit code.
    pub fn run(self) -> ExitCode {
        let command = self.command;
        let settings = match &command {
            Command::Serve { config, .. } => load(config.as_deref()),
            Command::Flags(args) => load(args.config.as_deref()),
            // The other tools are told by arguments; they log as the defaults say.
            _ => Ok(Settings::default()),
        };
        let settings = match settings {
            Ok(settings) => settings,
            Err(error) => return usage(&error),
        };
        if let Command::Serve { print_config: true, .. } = command {
            print!("{}", settings.print());
            return ExitCode::SUCCESS;
        }
        let _telemetry = match telemetry::start(&settings, std::env::var("RUST_LOG").ok().as_deref()) {
            Ok(telemetry) => telemetry,
            Err(error) => return usage(&format!("{error:#}")),
        };
        command.run(settings).unwrap_or_else(|error| {
            eprintln!("ltr-host: {error:#}");
            ExitCode::FAILURE
        })
    }
}

impl Command {
    fn run(self, settings: Settings) -> anyhow::Result<ExitCode> {
        match self {
            Command::Serve { .. } => server::run(settings)?,
            Command::Score(args) => score::score(&args)?,
            Command::Explain(args) => explain::explain(&args)?,
            Command::Bench(args) => bench::bench(&args)?,
            Command::Inspect(args) => inspect::inspect(&args)?,
            Command::Token(args) => token::run(args)?,
            Command::Rollout(args) => return rollout::run(args),
            Command::Flags(args) => return flags::run(args, &settings),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn load(config: Option<&Path>) -> Result<Settings, SettingsError> {
    Settings::load(config, std::env::vars())
}

fn usage(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("ltr-host: {error}");
    ExitCode::from(USAGE)
}
