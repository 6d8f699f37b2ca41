//! `ltr-host`: the gateway, and the tools that use its runtime offline.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ltr_host::flags::cli as flags;
use ltr_host::{offline, rollout::client, serve, telemetry, token};
use settings::Settings;

/// A case of a hundred lawyers is a thousand small allocations, of which glibc's were a quarter of its time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What is not used goes back to the system within a second or so: a process that has been through a flood or an outage
/// is then nearly as small as before. Threads keep what is freed up to 256 KiB, a case of a hundred lawyers and the list
/// of its values, which otherwise each request asks of the arenas anew: five per cent of its time.
// Sound: the name and the type are those that jemalloc declares, a pointer to a string that ends with a zero byte.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: Option<&'static std::ffi::c_char> = Some(unsafe { &*ALLOCATION.as_ptr() });
const ALLOCATION: &std::ffi::CStr =
    c"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:2,tcache_max:262144";

/// A usage or configuration error, as clap's own.
const USAGE: u8 = 2;

/// Ranks lawyers for cases, with a learned model where it has earned it and the legacy weights otherwise.
#[derive(Parser)]
#[command(
    name = "ltr-host",
    version,
    after_help = "Examples:\n  ltr-host serve --config ltr.toml\n  ltr-host score scorer.wasm --input rows.csv\n  ltr-host rollout status"
)]
struct Cli {
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
    Score(offline::ScoreArgs),
    /// Say what each feature contributed to the scores of rows
    Explain(offline::ExplainArgs),
    /// Measure how long a component takes for a row
    Bench(offline::BenchArgs),
    /// Say what a component is
    Inspect(offline::InspectArgs),
    /// Ask or change a running gateway's rollout
    Rollout(client::Args),
    /// Show or turn the fleet's switches, which a Redis holds
    Flags(flags::Args),
    /// Make a bearer token
    Token(token::Args),
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
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
    let done = match command {
        Command::Serve { .. } => serve::run(settings).map(|()| ExitCode::SUCCESS),
        Command::Score(args) => offline::score(&args).map(|()| ExitCode::SUCCESS),
        Command::Explain(args) => offline::explain(&args).map(|()| ExitCode::SUCCESS),
        Command::Bench(args) => offline::bench(&args).map(|()| ExitCode::SUCCESS),
        Command::Inspect(args) => offline::inspect(&args).map(|()| ExitCode::SUCCESS),
        Command::Rollout(args) => client::run(args),
        Command::Flags(args) => flags::run(args, &settings),
        Command::Token(args) => token::run(args).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("ltr-host: {error:#}");
        ExitCode::FAILURE
    })
}

fn load(config: Option<&Path>) -> Result<Settings, settings::SettingsError> {
    Settings::load(config, std::env::vars())
}

fn usage(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("ltr-host: {error}");
    ExitCode::from(USAGE)
}
