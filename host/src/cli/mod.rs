//! The program's commands: run a gateway, query or change a running one, verify what a fleet did, and
//! use components offline.

#![allow(rustdoc::invalid_html_tags, reason = "doc comments of arguments are help texts")]

pub mod bench;
mod component_file;
pub mod explain;
pub mod flags;
pub mod inspect;
pub mod ledger;
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

/// The exit code of a usage or configuration error, the same as clap's.
const USAGE: u8 = 2;

/// Ranks lawyers for cases: with a learned model once it is promoted, otherwise with the legacy
/// weights.
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
    /// Run the gateway until a signal stops it
    #[command(
        after_help = "Examples:\n  ltr-host serve\n  ltr-host serve --print-config > ltr.toml\n  LTR_HOST__LISTEN=127.0.0.1:9090 ltr-host serve --config ltr.toml\n\nCtrl-c: no new connections; running requests are answered, all records are written, then exit 0.\nSIGTERM: first /readyz reports draining for host.drain_delay_ms, then as ctrl-c."
    )]
    Serve {
        /// Configuration file (TOML); every key can be overridden by LTR_<SECTION>__<KEY>
        #[arg(long)]
        config: Option<PathBuf>,
        /// Print the effective configuration, with the meaning of each key, and exit
        #[arg(long)]
        print_config: bool,
    },
    /// Score the rows of a file with a component
    Score(score::ScoreArgs),
    /// Show what each feature contributed to the scores of rows
    Explain(explain::ExplainArgs),
    /// Measure a component's scoring time per row
    Bench(bench::BenchArgs),
    /// Show a component's contract, features, size and hash
    Inspect(inspect::InspectArgs),
    /// Show, watch or change a running gateway's rollout
    Rollout(rollout::Args),
    /// Show or verify the release ledger in the database
    Ledger(ledger::Args),
    /// Show or set the fleet's switches, which Redis holds
    Flags(flags::Args),
    /// Make a bearer token
    Token(token::Args),
}

impl Cli {
    /// Runs the command. Errors go to standard error and set the exit code.
    pub fn run(self) -> ExitCode {
        let command = self.command;
        let settings = match &command {
            Command::Serve { config, .. } => load(config.as_deref()),
            Command::Flags(args) => load(args.config.as_deref()),
            Command::Ledger(args) => load(args.config.as_deref()),
            // The other commands take everything from their arguments, and log with the default
            // settings.
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
        #[expect(clippy::disallowed_methods, reason = "the environment is read here and handed on")]
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
            Command::Ledger(args) => return ledger::run(args, &settings),
            Command::Flags(args) => return flags::run(args, &settings),
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[expect(clippy::disallowed_methods, reason = "the environment is read here and handed on")]
fn load(config: Option<&Path>) -> Result<Settings, SettingsError> {
    Settings::load(config, std::env::vars())
}

fn usage(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("ltr-host: {error}");
    ExitCode::from(USAGE)
}
