//! `ltr-trainer`: see `ltr-trainer --help`.

use std::process::ExitCode;

use clap::Parser;

/// Turns logged events into a published ranking model.
#[derive(Parser)]
#[command(name = "ltr-trainer", version)]
struct Cli {}

fn main() -> ExitCode {
    let Cli {} = Cli::parse();
    ExitCode::SUCCESS
}
