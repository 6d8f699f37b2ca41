//! `ltr-trainer sink` and `ltr-trainer lake`: fill the lake, and show what it holds.

use std::time::Duration;

use chrono::Utc;
use clap::{Parser, Subcommand};
use lake::{Lake, Partition, Sank};
use settings::Settings;
use store::Store;

use crate::lineage::Record;
use crate::outcome::Outcome;
use crate::{console, etl};

const SINK_EXAMPLES: &str = "Examples:
  ltr-trainer sink                     what is new, once
  ltr-trainer sink --follow            go on, and look every 10 seconds
  ltr-trainer sink --json | jq .files";

/// Takes new events from the database into the lake, each once.
///
/// Writes flat Parquet tables by event date (UTC) under {lake}/ltr/raw/YYYY/MM/DD/: impressions,
/// impression_lawyers and actions. Events that cannot be read go to {lake}/ltr/rejected/ with the reason,
/// and stop nothing. A run that ended half-way is continued by the next one; two at once share the work.
#[derive(Debug, Parser)]
#[command(after_help = SINK_EXAMPLES)]
pub struct SinkArgs {
    /// Go on until the program is stopped
    #[arg(long)]
    pub follow: bool,
    /// Seconds between two looks with --follow
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400), requires = "follow")]
    pub every: u64,
    /// Print JSON instead of a table, one object a look
    #[arg(long)]
    pub json: bool,
}

const LAKE_EXAMPLES: &str = "Examples:
  ltr-trainer lake inspect
  ltr-trainer lake inspect --json | jq '.[] | select(.rejected > 0)'";

/// Shows what the lake holds.
#[derive(Debug, Subcommand)]
pub enum LakeCommand {
    /// The days, their events, files and sizes
    #[command(after_help = LAKE_EXAMPLES)]
    Inspect {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
}

/// Runs `sink`.
///
/// # Errors
/// An unusable database or lake. With --follow that is logged, and tried again at the next look.
pub async fn sink(args: &SinkArgs, settings: &Settings, record: &mut Record) -> anyhow::Result<Outcome> {
    let database = &settings.database;
    let store = Store::open_with(database.address(), database.limits()).await?;
    let lake = Lake::open(&settings.lake.dir)?;
    loop {
        let sank = etl::sink(&store, &lake, settings).await;
        match sank {
            Ok(sank) => {
                etl::record_sink(&sank, settings, record);
                say(&sank, args)?;
            }
            Err(error) if args.follow => tracing::error!("the sink goes on at the next look: {error:#}"),
            Err(error) => return Err(error),
        }
        if !args.follow {
            return Ok(Outcome::Done);
        }
        // The record of a run without an end would grow for ever.
        *record = Record::default();
        tokio::time::sleep(Duration::from_secs(args.every)).await;
    }
}

fn say(sank: &Sank, args: &SinkArgs) -> anyhow::Result<()> {
    if args.json {
        return console::json(sank);
    }
    if args.follow {
        // Nothing new is no news.
        if *sank != Sank::default() {
            #[expect(clippy::disallowed_methods, reason = "for people who watch")]
            let now = Utc::now().format("%H:%M:%S");
            println!(
                "{now} {} impressions, {} actions, {} rejected, {} files",
                sank.impressions, sank.actions, sank.rejected, sank.files
            );
        }
        return Ok(());
    }
    let mut table = console::table(&["sink", ""]);
    for (name, number) in [
        ("new impressions", sank.impressions),
        ("new actions", sank.actions),
        ("new events rejected", sank.rejected),
        ("days with new events", sank.days),
        ("new files", sank.files),
    ] {
        table.add_row(vec![name.to_owned(), number.to_string()]);
    }
    println!("{table}");
    Ok(())
}

/// Runs `lake`.
///
/// # Errors
/// A lake that cannot be read, or lacks a file.
pub async fn lake(command: &LakeCommand, settings: &Settings) -> anyhow::Result<Outcome> {
    let LakeCommand::Inspect { json } = command;
    let days = lake::inspect(&Lake::open(&settings.lake.dir)?).await?;
    if *json {
        console::json(&days)?;
        return Ok(Outcome::Done);
    }
    let mut table = console::table(&["day", "impressions", "actions", "rejected", "files", "kB"]);
    let mut sum = Partition::default();
    for day in &days {
        table.add_row(row(
            day.day.map_or_else(|| "undated".to_owned(), |day| day.to_string()),
            day,
        ));
        sum.impressions += day.impressions;
        sum.actions += day.actions;
        sum.rejected += day.rejected;
        sum.files += day.files;
        sum.bytes += day.bytes;
    }
    table.add_row(row(format!("{} days", days.len()), &sum));
    println!("{table}");
    Ok(Outcome::Done)
}

fn row(name: String, day: &Partition) -> Vec<String> {
    let numbers = [
        day.impressions,
        day.actions,
        day.rejected,
        day.files,
        day.bytes.div_ceil(1_000),
    ];
    std::iter::once(name)
        .chain(numbers.iter().map(u64::to_string))
        .collect()
}
