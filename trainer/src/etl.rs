//! `ltr-trainer etl`: logged events become the matrix, and the shadow log gets its labels.

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

/// A salt is a line of text.
const MAX_SALT_BYTES: u64 = 1 << 16;

const EXAMPLES: &str = "Examples:
  ltr-trainer etl                                      every closed case so far
  ltr-trainer etl --day 2026-11-01                     the cases of one day
  ltr-trainer etl --from 2026-10-01T00:00:00Z --to 2026-11-01T00:00:00Z --output october.parquet
  ltr-trainer etl --as-of 2026-11-09T02:15:00Z --json";

/// Builds the matrix from the event log.
///
/// One query a case, from its first impression, with features as served; each lawyer's label is the
/// strongest action inside its attribution window. A case enters once its longest window has closed.
/// The result goes to {lake}/ltr/processed/{date}/matrix.parquet, {date} being --day or the date of
/// --as-of. The shadow log's closed cases get their labels.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Cases first shown at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "day")]
    pub from: Option<DateTime<Utc>>,
    /// Cases first shown before this time (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "day")]
    pub to: Option<DateTime<Utc>>,
    /// Cases first shown on this day (UTC)
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub day: Option<NaiveDate>,
    /// What counts as now (RFC 3339); windows that end later are open
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<DateTime<Utc>>,
    /// Write the matrix here instead of into the lake
    #[arg(long, value_name = "PARQUET")]
    pub output: Option<PathBuf>,
    /// Print the tally as JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// What one run did.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The matrix.
    pub path: PathBuf,
    /// Of the file.
    pub sha256: String,
    /// Cases in the matrix.
    pub queries: usize,
    /// Rows in the matrix.
    pub rows: usize,
    /// Rows by grade, 0 to 3.
    pub grades: [usize; 4],
    /// What became of the events.
    pub counts: Counts,
    /// Events that could not be read, and were left out.
    pub unreadable: Unreadables,
    /// Rows of the shadow log whose label changed.
    pub shadow_rows_labelled: u64,
}

/// Records that were set aside. They stay in the database.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Unreadables {
    /// How many.
    pub count: usize,
    /// Where each of them is named with its reason, a line of JSON each; `None` without any.
    pub listed_in: Option<PathBuf>,
    /// The first of them.
    pub first: Vec<Unreadable>,
}

impl Unreadables {
    /// How many are shown; the file has them all.
    const SHOWN: usize = 5;

    /// Lists them beside the matrix. A list of an earlier run is gone then.
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

/// Where the matrix of a date lies in the lake.
pub fn matrix_path(lake: &Path, date: NaiveDate) -> PathBuf {
    let processed = lake.join("ltr").join("processed");
    processed.join(date.to_string()).join("matrix.parquet")
}

/// Every time there is.
pub fn always() -> Range<DateTime<Utc>> {
    DateTime::<Utc>::MIN_UTC..DateTime::<Utc>::MAX_UTC
}

/// Reads the events up to `as_of`, writes the matrix of the cases in `range` to `path`, labels the
/// shadow log.
///
/// # Errors
/// A store that cannot be read or written, or no closed case in the range; no matrix is written then.
pub async fn build(
    range: &Range<DateTime<Utc>>,
    as_of: DateTime<Utc>,
    path: &Path,
    settings: &Settings,
) -> anyhow::Result<Report> {
    let address = store::Address {
        url: settings.database.url.expose(),
        ca_file: settings.database.ca_file(),
    };
    let limits = store::Limits {
        max_connections: settings.database.max_connections,
        timeout: settings.database.timeout(),
    };
    let store = Store::open_with(address, limits).await?;
    // From the beginning, because a case belongs to its first impression, whatever the range.
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
            "no case of the range is closed as of {}: {} cases in the log, {} with an open window, {} out of range, {} with one lawyer, {} events unreadable",
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

/// Sets impressions aside whose features are not those of the schema: of a day when there were others.
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

/// The salt of the pseudonyms, where this machine has it: it tells that an id and a pseudonym are one user, while a log has
/// both.
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

/// The tally, for people.
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
        "actions on what was not shown (unbound)",
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
            "{count} events cannot be read and were left out; {} names each:",
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
