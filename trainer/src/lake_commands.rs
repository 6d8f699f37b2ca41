//! `ltr-trainer sink` and `ltr-trainer lake`: fill the lake, and show what it holds.

use std::time::Duration;

use chrono::{NaiveDate, Utc};
use clap::{Parser, Subcommand};
use lake::{Compacted, Lake, Partition, Sank, Table, TopicSink};
use settings::Settings;
use store::Store;

use crate::lineage::Record;
use crate::outcome::Outcome;
use crate::{console, etl, progress};

const SINK_EXAMPLES: &str = "Examples:
  ltr-trainer sink                     what is new, once
  ltr-trainer sink --follow            go on, and look every 10 seconds
  ltr-trainer sink --from-database     what was logged before there was an event bus
  ltr-trainer sink --from-start        after files of the lake were removed
  ltr-trainer sink --json | jq .files";

/// Takes what is new into the lake, each record once: from the event bus, or without one from the database.
///
/// Writes flat Parquet tables by event date (UTC) under {lake}/ltr/raw/YYYY/MM/DD/: impressions,
/// impression_lawyers, actions and comparisons. Records that cannot be read go to {lake}/ltr/rejected/ with
/// the reason, and stop nothing. A run that ended half-way is continued by the next one; two at once share the work.
#[derive(Debug, Parser)]
#[command(after_help = SINK_EXAMPLES)]
pub struct SinkArgs {
    /// Go on until the program is stopped
    #[arg(long)]
    pub follow: bool,
    /// Seconds between two looks with --follow
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400), requires = "follow")]
    pub every: u64,
    /// Take what the database has, also where there is an event bus: what was logged before there was one
    #[arg(long)]
    pub from_database: bool,
    /// Look at everything again, also where the numbers agree or the bus was read: after files of the lake were lost or
    /// removed, and after ranking.features went back to what they were when events were rejected
    #[arg(long)]
    pub from_start: bool,
    /// Print JSON instead of a table, one object a look
    #[arg(long)]
    pub json: bool,
}

const LAKE_EXAMPLES: &str = "Examples:
  ltr-trainer lake inspect
  ltr-trainer lake inspect --json | jq '.[] | select(.rejected > 0)'";

const FILES_EXAMPLES: &str = "Examples:
  ltr-trainer lake files --table actions
  ltr-trainer lake files --table impressions --from 2026-11-01 --to 2026-11-07
  duckdb -c \"SELECT count(*) FROM read_parquet([$(ltr-trainer lake files --table actions | sed \"s/.*/'&'/\" | paste -sd,)])\"";

const COMPACT_EXAMPLES: &str = "Examples:
  ltr-trainer lake compact
  ltr-trainer lake compact --open-from 2026-11-01 --json";

/// Shows what the lake holds, and keeps it in order.
#[derive(Debug, Subcommand)]
pub enum LakeCommand {
    /// The files that together have each record of a table once, for programs that read Parquet
    #[command(after_help = FILES_EXAMPLES)]
    Files {
        /// impressions, impression_lawyers, actions, comparisons or rejected
        #[arg(long, value_parser = read_table)]
        table: Table,
        /// Only this day or later (UTC)
        #[arg(long, value_name = "YYYY-MM-DD")]
        from: Option<NaiveDate>,
        /// Only this day or before (UTC)
        #[arg(long, value_name = "YYYY-MM-DD")]
        to: Option<NaiveDate>,
    },
    /// Few files of many: those of past days are put into one, and the replaced ones removed a day later
    #[command(after_help = COMPACT_EXAMPLES)]
    Compact {
        /// The first day that still grows; default: three days ago
        #[arg(long, value_name = "YYYY-MM-DD")]
        open_from: Option<NaiveDate>,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
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
    let lake = etl::open_lake(settings)?;
    let salt = etl::checked_salt(&store, settings).await?;
    let salt = salt.as_deref();
    let bus = if args.from_database { None } else { etl::bus(settings)? };
    let mut of_topic = TopicSink::new(&lake, &settings.schema(), salt)?;
    let mut from_start = args.from_start;
    if from_start {
        of_topic.from_start();
    }
    loop {
        let sank = match &bus {
            Some(bus) => etl::sink_topic(&mut of_topic, bus).await,
            None => etl::sink_database(&store, &lake, settings, salt, from_start).await,
        };
        match sank {
            Ok(sank) => {
                from_start = false;
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
                "{now} {} impressions, {} actions, {} comparisons, {} rejected, {} files",
                sank.impressions, sank.actions, sank.comparisons, sank.rejected, sank.files
            );
        }
        return Ok(());
    }
    let mut table = console::table(&["sink", ""]);
    for (name, number) in [
        ("new impressions", sank.impressions),
        ("new actions", sank.actions),
        ("new comparisons", sank.comparisons),
        ("new records rejected", sank.rejected),
        ("days with new events", sank.days),
        ("new files", sank.files),
    ] {
        table.add_row(vec![name.to_owned(), number.to_string()]);
    }
    println!("{table}");
    Ok(())
}

fn read_table(text: &str) -> Result<Table, String> {
    let names = Table::ALL.map(Table::name);
    let found = Table::ALL.into_iter().find(|table| table.name() == text);
    found.ok_or_else(|| format!("allowed: {}", names.join(", ")))
}

/// Runs `lake`.
///
/// # Errors
/// A lake that cannot be read, or lacks a file.
pub async fn lake(command: &LakeCommand, settings: &Settings) -> anyhow::Result<Outcome> {
    let lake = etl::open_lake(settings)?;
    match command {
        LakeCommand::Inspect { json } => inspect(&lake, *json).await?,
        LakeCommand::Files { table, from, to } => {
            for file in lake::files(&lake, *table).await? {
                let is_in = |day| from.is_none_or(|from| from <= day) && to.is_none_or(|to| day <= to);
                let is_wanted = file.day.map_or(from.is_none() && to.is_none(), is_in);
                if is_wanted {
                    println!("{}", lake.url_of(file.path().as_ref()));
                }
            }
        }
        LakeCommand::Compact { open_from, json } => {
            #[expect(
                clippy::disallowed_methods,
                reason = "files that were replaced a day ago are removed"
            )]
            let now = Utc::now();
            let open_from = open_from.unwrap_or_else(|| now.date_naive() - chrono::Duration::days(etl::OPEN_DAYS));
            let spinner = progress::spinner("compact");
            let done = lake::compact(&lake, open_from, now).await;
            spinner.finish_and_clear();
            say_compacted(&done?, *json)?;
        }
    }
    Ok(Outcome::Done)
}

fn say_compacted(done: &Compacted, json: bool) -> anyhow::Result<()> {
    if json {
        return console::json(done);
    }
    let mut table = console::table(&["compact", ""]);
    for (name, number) in [
        ("new files", done.merged),
        ("files that they replace", done.replaced),
        ("replaced files removed", done.removed),
    ] {
        table.add_row(vec![name.to_owned(), number.to_string()]);
    }
    println!("{table}");
    Ok(())
}

async fn inspect(lake: &Lake, json: bool) -> anyhow::Result<()> {
    let days = lake::inspect(lake).await?;
    if json {
        return console::json(&days);
    }
    let mut table = console::table(&[
        "day",
        "impressions",
        "actions",
        "comparisons",
        "rejected",
        "late",
        "files",
        "kB",
    ]);
    let mut sum = Partition::default();
    for day in &days {
        table.add_row(row(
            day.day.map_or_else(|| "undated".to_owned(), |day| day.to_string()),
            day,
        ));
        sum.impressions += day.impressions;
        sum.actions += day.actions;
        sum.comparisons += day.comparisons;
        sum.rejected += day.rejected;
        sum.late += day.late;
        sum.files += day.files;
        sum.bytes += day.bytes;
    }
    table.add_row(row(format!("{} days", days.len()), &sum));
    println!("{table}");
    Ok(())
}

fn row(name: String, day: &Partition) -> Vec<String> {
    let numbers = [
        day.impressions,
        day.actions,
        day.comparisons,
        day.rejected,
        day.late,
        day.files,
        day.bytes.div_ceil(1_000),
    ];
    std::iter::once(name)
        .chain(numbers.iter().map(u64::to_string))
        .collect()
}
