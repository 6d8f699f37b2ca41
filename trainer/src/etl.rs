//! `ltr-trainer etl`: builds the matrix from logged events and labels the shadow log.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use chrono::{DateTime, NaiveDate, Utc};
use clap::Parser;
use ranking::{Body, Event, Schema};
use regular_file::Links;
use serde::Serialize;
use settings::Settings;
use store::{Readable, Store, Unreadable};

use crate::attribution::{Attributed, Counts, attribute};
use crate::matrix::{self, Matrix};
use crate::outcome::Outcome;
use crate::{console, files};

/// Limit for the salt file, which holds one line of text.
const MAX_SALT_BYTES: u64 = 1 << 16;

const EXAMPLES: &str = "Examples:
  ltr-trainer etl                                      every closed case so far
  ltr-trainer etl --day 2026-11-01                     the cases of one day
  ltr-trainer etl --from 2026-10-01T00:00:00Z --to 2026-11-01T00:00:00Z --output october.parquet
  ltr-trainer etl --as-of 2026-11-09T02:15:00Z --json";

/// Builds the matrix from the event log.
///
/// Each case becomes one query, from its first impression, with features as served. A lawyer's
/// label is the strongest action inside its attribution window. A case enters once its longest
/// window has closed.
///
/// The matrix goes to {lake}/ltr/processed/{date}/matrix.parquet, where {date} is --day or the date
/// of --as-of. Closed cases in the shadow log get their labels, too.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only cases first shown at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "day")]
    pub from: Option<DateTime<Utc>>,
    /// Only cases first shown before this time (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "day")]
    pub to: Option<DateTime<Utc>>,
    /// Only cases first shown on this day (UTC)
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub day: Option<NaiveDate>,
    /// Time that counts as now (RFC 3339); windows ending later are open; default: the current time
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<DateTime<Utc>>,
    /// Write the matrix here instead of into the lake
    #[arg(long, value_name = "PARQUET")]
    pub output: Option<PathBuf>,
    /// Print the report as JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// The result of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Path of the matrix.
    pub path: PathBuf,
    /// SHA-256 of the matrix file.
    pub sha256: String,
    /// Cases in the matrix.
    pub queries: usize,
    /// Rows in the matrix.
    pub rows: usize,
    /// Rows by grade, 0 to 3.
    pub grades: [usize; 4],
    /// How many events were used or left out.
    pub counts: Counts,
    /// Events that were left out because they cannot be read.
    pub unreadable: Unreadables,
    /// Rows of the shadow log whose label changed.
    pub shadow_rows_labelled: u64,
}

/// Events that cannot be read. They stay in the database.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Unreadables {
    /// How many.
    pub count: usize,
    /// An NDJSON file that lists each event with the reason; `None`: there are none.
    pub listed_in: Option<PathBuf>,
    /// The first few.
    pub first: Vec<Unreadable>,
}

impl Unreadables {
    /// How many are printed; the file lists all.
    const SHOWN: usize = 5;

    /// Lists them in a file beside the matrix. Replaces or removes the list of an earlier run.
    fn new(unreadable: Vec<Unreadable>, matrix: &Path) -> anyhow::Result<Unreadables> {
        let path = matrix.with_extension("unreadable.ndjson");
        if unreadable.is_empty() {
            return match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("removing {}", path.display()))
                }
                _ => Ok(Unreadables::default()),
            };
        }
        let mut lines = String::new();
        for one in &unreadable {
            lines += &serde_json::to_string(one)?;
            lines.push('\n');
        }
        files::write(&path, lines.as_bytes())?;
        Ok(Unreadables {
            count: unreadable.len(),
            listed_in: Some(path),
            first: unreadable.into_iter().take(Unreadables::SHOWN).collect(),
        })
    }
}

/// Runs the command.
///
/// # Errors
/// See [`build`].
pub async fn run(args: &Args, settings: &Settings) -> anyhow::Result<Outcome> {
    #[expect(clippy::disallowed_methods, reason = "a run without --as-of is as of now")]
    let as_of = args.as_of.unwrap_or_else(Utc::now);
    let path = args.output.clone().unwrap_or_else(|| {
        let date = args.day.unwrap_or_else(|| as_of.date_naive());
        matrix_path(&settings.lake.dir, date)
    });
    let report = build(&range(args)?, as_of, &path, settings).await?;
    if args.json {
        console::json(&report)?;
    } else {
        print_report(&report);
    }
    Ok(Outcome::Done)
}

/// The path of a date's matrix in the lake.
pub fn matrix_path(lake: &Path, date: NaiveDate) -> PathBuf {
    let processed = lake.join("ltr").join("processed");
    processed.join(date.to_string()).join("matrix.parquet")
}

/// The range of all times.
pub fn always() -> Range<DateTime<Utc>> {
    DateTime::<Utc>::MIN_UTC..DateTime::<Utc>::MAX_UTC
}

/// Reads the events up to `as_of`, writes the matrix of the cases in `range` to `path`, and labels
/// the shadow log.
///
/// # Errors
/// An unusable store, or no closed case in the range. No matrix is written then.
pub async fn build(
    range: &Range<DateTime<Utc>>,
    as_of: DateTime<Utc>,
    path: &Path,
    settings: &Settings,
) -> anyhow::Result<Report> {
    let database = &settings.database;
    let store = Store::open_with(database.address(), database.limits()).await?;
    // Always from the first event, because a case belongs to the day of its first impression.
    let events = store
        .events_between(always().start, as_of)
        .await
        .context("reading events")?;
    let schema = settings.schema();
    let Readable {
        records: events,
        unreadable,
    } = set_aside_other_schemas(events, &schema);
    let salt = salt(&settings.privacy.salt_file)?;
    if let Some(salt) = &salt {
        store.check_salt(ranking::salt_id(salt)).await?;
    }
    let attributed = attribute(&events, &settings.labels, range, as_of, salt.as_deref());
    drop(events);
    let Attributed { cases, labels, counts } = attributed;
    let shadow_rows_labelled = store
        .label_shadow(&labels, as_of - settings.labels.longest())
        .await
        .context("labelling the shadow log")?;
    store.close().await;
    if cases.is_empty() {
        bail!(
            "no closed case in the range as of {}: {} cases in the log, {} with an open window, {} out of range, {} with one lawyer, {} events unreadable",
            as_of.to_rfc3339(),
            counts.cases,
            counts.cases_open,
            counts.cases_out_of_range,
            counts.cases_single,
            unreadable.len()
        );
    }
    let unreadable = Unreadables::new(unreadable, path)?;
    let matrix = Matrix { schema, cases };
    let bytes = matrix::encode(&matrix)?;
    files::write(path, &bytes)?;
    Ok(Report {
        path: path.to_owned(),
        sha256: files::sha256(&bytes),
        queries: matrix.cases.len(),
        rows: matrix.rows(),
        grades: grades(&matrix),
        counts,
        unreadable,
        shadow_rows_labelled,
    })
}

/// Moves impressions whose features differ from the schema to the unreadable events: they were
/// logged under another `ranking.features`.
fn set_aside_other_schemas(events: Readable<Event>, schema: &Schema) -> Readable<Event> {
    let mut sorted = Readable {
        unreadable: events.unreadable,
        ..Readable::default()
    };
    for event in events.records {
        match schema_mismatch(&event, schema) {
            None => sorted.records.push(event),
            Some(reason) => sorted.unreadable.push(Unreadable {
                table: "match_events",
                key: event.event_id.to_string(),
                reason,
            }),
        }
    }
    sorted
}

fn schema_mismatch(event: &Event, schema: &Schema) -> Option<String> {
    let Body::Impression(impression) = &event.body else {
        return None;
    };
    let (width, wanted) = (impression.features[0].len(), schema.len());
    if width != wanted {
        return Some(format!("features: {width} columns; ranking.features has {wanted}"));
    }
    let unknown = impression
        .weights_used
        .keys()
        .find(|name| schema.index_of(name).is_none())?;
    let unknown = grammar::shorten(unknown);
    Some(format!("weights_used: {unknown:?} is none of ranking.features"))
}

/// The pseudonyms' salt; `None` if this machine does not have it. A log may hold a user's id as
/// well as their pseudonym, and only the salt connects the two.
fn salt(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match regular_file::read_to_string(path, Links::Follow, MAX_SALT_BYTES) {
        Ok(text) => Ok(Some(text.trim().as_bytes().to_vec())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("privacy.salt_file: {}", path.display())),
    }
}

fn range(args: &Args) -> anyhow::Result<Range<DateTime<Utc>>> {
    if let Some(day) = args.day {
        let start = day.and_time(chrono::NaiveTime::MIN).and_utc();
        return Ok(start..start + chrono::Duration::days(1));
    }
    let range = args.from.unwrap_or(always().start)..args.to.unwrap_or(always().end);
    if range.is_empty() {
        bail!("--from {}: allowed: before --to, {}", range.start, range.end);
    }
    Ok(range)
}

fn grades(matrix: &Matrix) -> [usize; 4] {
    let mut grades = [0; 4];
    for row in matrix.cases.iter().flat_map(|case| &case.rows) {
        grades[usize::from(row.grade.value())] += 1;
    }
    grades
}

/// Prints the report as a table.
pub fn print_report(report: &Report) {
    let mut table = console::table(&["etl", ""]);
    let counts = &report.counts;
    let mut add = |name: &str, value: String| {
        table.add_row(vec![name.to_owned(), value]);
    };
    add("events read", counts.events.to_string());
    add("queries (cases)", report.queries.to_string());
    add("rows (lawyers shown)", report.rows.to_string());
    for (name, rows) in ["0 shown", "1 click", "2 contact", "3 contract"]
        .iter()
        .zip(report.grades)
    {
        add(&format!("grade {name}"), rows.to_string());
    }
    add("cases left out: window open", counts.cases_open.to_string());
    add("cases left out: out of range", counts.cases_out_of_range.to_string());
    add("cases left out: one lawyer", counts.cases_single.to_string());
    add("actions counted", counts.actions_counted.to_string());
    add(
        "actions of cases left out",
        counts.actions_of_left_out_cases.to_string(),
    );
    add("actions after their window", counts.actions_after_window.to_string());
    add(
        "actions before the impression",
        counts.actions_before_impression.to_string(),
    );
    add(
        "actions on lawyers not shown first",
        counts.actions_not_shown.to_string(),
    );
    add(
        "actions without impression",
        counts.actions_without_impression.to_string(),
    );
    add(
        "actions without a matching impression (unbound)",
        counts.actions_unbound.to_string(),
    );
    add(
        "clients' impressions left out",
        counts.impressions_of_clients_left_out.to_string(),
    );
    add("events that cannot be read", report.unreadable.count.to_string());
    add("shadow rows labelled", report.shadow_rows_labelled.to_string());
    add("written to", report.path.display().to_string());
    println!("{table}");
    if let Some(list) = &report.unreadable.listed_in {
        let count = report.unreadable.count;
        eprintln!(
            "{count} events cannot be read and were left out; {} lists them all. The first:",
            list.display()
        );
        for Unreadable { table, key, reason } in &report.unreadable.first {
            eprintln!("  {table} {key}: {reason}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salt_is_read_from_a_regular_file_and_may_be_missing() {
        assert_eq!(salt(Path::new("/nowhere/privacy.salt")).unwrap(), None);
        let error = format!("{:#}", salt(Path::new("/dev/null")).unwrap_err());
        assert!(
            error.starts_with("privacy.salt_file: /dev/null") && error.contains("a regular file"),
            "{error}"
        );
    }
}
