//! `ltr-host flags`: shows and sets the fleet's switches in the configured Redis.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use serde_json::json;
use settings::Settings;

use crate::flags::redis::{PATIENCE, Redis};
use crate::flags::value::{self, Flag, KillSwitch};

/// The exit code of a usage error, the same as clap's.
const USAGE: u8 = 2;

/// Show or set the fleet's switches, which Redis holds
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  ltr-host flags get\n  ltr-host flags set kill_switch on\n  ltr-host flags set shadow_fraction 0.05\n  ltr-host flags unset shadow_fraction\n\nThe Redis is flags.redis_url. Exit codes: 0 done, 1 failed, 2 usage or configuration."
)]
pub struct Args {
    /// Configuration file (TOML); every key can be overridden by LTR_<SECTION>__<KEY>
    #[arg(long, global = true)]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the values in Redis
    Get {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Set a flag: kill_switch to on or off (also stop, true, yes, 1, false, no, 0),
    /// shadow_fraction to 0 to 1
    Set {
        /// Flag
        flag: Flag,
        /// New value
        value: String,
    },
    /// Remove the shadow fraction, so that each gateway's configuration decides
    Unset {
        /// Flag
        #[arg(value_parser = ["shadow_fraction"])]
        flag: String,
    },
}

/// Runs the command.
///
/// # Errors
/// No Redis in the configuration, or one that does not answer. An invalid value is an exit code,
/// not an error.
pub fn run(args: Args, settings: &Settings) -> anyhow::Result<ExitCode> {
    ensure!(
        !settings.flags.redis_url.is_empty(),
        "flags.redis_url is empty, so each gateway uses its own configuration; set the key to the fleet's Redis"
    );
    if let Action::Set { flag, value } = &args.action
        && let Err(refused) = flag.check(value)
    {
        eprintln!("ltr-host: {refused}");
        return Ok(ExitCode::from(USAGE));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let doing = tokio::time::timeout(2 * PATIENCE, act(args.action, settings));
        doing.await.context("flags.redis_url: no answer in time")?
    })
}

async fn act(action: Action, settings: &Settings) -> anyhow::Result<ExitCode> {
    let mut redis = Redis::open(&settings.flags)?;
    let (flag, value) = match action {
        Action::Get { json } => return show(&mut redis, json).await,
        Action::Set { flag, value } => (flag, Some(canonical(flag, value))),
        Action::Unset { .. } => (Flag::ShadowFraction, None),
    };
    redis.write(flag, value.as_deref()).await.context("flags.redis_url")?;
    println!(
        "{} is {}; gateways follow within {} ms (flags.poll_ms)",
        flag.name(),
        value.as_deref().unwrap_or("not set"),
        settings.flags.poll_ms
    );
    Ok(ExitCode::SUCCESS)
}

/// The spelling of the value that gateways of every version understand.
fn canonical(flag: Flag, value: String) -> String {
    match settings::switch(&value).filter(|_| flag == Flag::KillSwitch) {
        Some(true) => "on".to_owned(),
        Some(false) => "off".to_owned(),
        None => value,
    }
}

async fn show(redis: &mut Redis, json: bool) -> anyhow::Result<ExitCode> {
    let raw = redis.read().await.context("flags.redis_url")?;
    let kill_switch = KillSwitch::read(raw.kill_switch.as_deref());
    let shadow_fraction = value::shadow_fraction(raw.shadow_fraction.as_deref());
    if json {
        let on = kill_switch.as_ref().map(KillSwitch::stops);
        let flags = json!({ "kill_switch": on, "shadow_fraction": shadow_fraction? });
        println!("{flags:#}");
        return Ok(ExitCode::SUCCESS);
    }
    let on = kill_switch.map(|switch| match switch {
        KillSwitch::On => "on".to_owned(),
        KillSwitch::Off => "off".to_owned(),
        KillSwitch::Unclear(refused) => format!("on, because {refused}"),
    });
    let share = match shadow_fraction {
        Ok(share) => share.map(|share| share.to_string()),
        Err(refused) => Some(format!("unchanged, because {refused}")),
    };
    for (flag, value) in [(Flag::KillSwitch, on), (Flag::ShadowFraction, share)] {
        let value = value.as_deref().unwrap_or("not set");
        println!("{:<16} {value:<8} ({})", flag.name(), redis.key(flag));
    }
    Ok(ExitCode::SUCCESS)
}
