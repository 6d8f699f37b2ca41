//! `ltr-trainer etl`: brings the lake to what was logged, makes the matrices of the days that changed, and
//! labels the log of comparisons.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bus::Kafka;
use chrono::{DateTime, Duration, NaiveDate, Utc};
use clap::Parser;
use lake::{DayReport, Etl, Lake, LakeError, Rules, Sank, TopicSink};
use ranking::evidence::{self, ClosedDay, Waiting};
use ranking::outcomes::count_day;
use regular_file::Links;
use serde::Serialize;
use settings::Settings;
use store::{EventDay, Store};

use crate::lineage::{Dataset, Record};
use crate::matrix::days::{Day, DayList};
use crate::night::days_path;
use crate::outcome::{Outcome, Permanent};
use crate::{console, files, progress};

/// Days that events of today may still come for, as a rule: older ones are put into as few files as there can be.
pub const OPEN_DAYS: i64 = 3;
/// Limit for the salt file, which holds one line of text.
const MAX_SALT_BYTES: u64 = 1 << 16;

const EXAMPLES: &str = "Examples:
  ltr-trainer etl                                      the days that changed since the last run
  ltr-trainer etl --day 2026-11-01                     the cases of one day
  ltr-trainer etl --from 2026-10-01 --to 2026-10-31 --output october.json
  ltr-trainer etl --as-of 2026-11-09T02:15:00Z --json

A run that is repeated, or that ended half-way, makes what is missing and no more.";

/// Takes new events into the lake, and makes the matrices of the days that changed.
///
/// Each case becomes one query with features as served: its first impression, or with labels.attribution =
/// "last_touch" the latest one that its strongest action was about. A lawyer's label is the strongest
/// action inside its attribution window. A case belongs to the day on which it was first shown; until its
/// labels can change no more it is marked as not mature, and not trained on.
///
/// A day's matrix is {lake}/ltr/processed/{day}/matrix.parquet. It is made again if events came late, a
/// window of it was still open, or the rules changed. The list of the days, which `train` reads, goes to
/// {lake}/ltr/processed/{date of --as-of}/days.json, with the days of train.window_days. With --from, --to or
/// --day only these days are made, and listed where --output says. Closed comparisons get their labels, too.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Only cases first shown on this day or later (UTC)
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "day")]
    pub from: Option<NaiveDate>,
    /// Only cases first shown on this day or before (UTC)
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "day")]
    pub to: Option<NaiveDate>,
    /// Only cases first shown on this day (UTC)
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub day: Option<NaiveDate>,
    /// Time that counts as now (RFC 3339); windows ending later are open; default: the current time
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<DateTime<Utc>>,
    /// Write the list of days here
    #[arg(long, value_name = "JSON")]
    pub output: Option<PathBuf>,
    /// Print the report as JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// The result of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Path of the list of days; `None`: none was asked for.
    pub path: Option<PathBuf>,
    /// SHA-256 of that file, which follows from the matrices.
    pub sha256: Option<String>,
    /// What was new in the database.
    pub sunk: Sank,
    /// Events in the lake that no reader understands, all days together.
    pub rejected: u64,
    /// Where they are, with the reasons; `None`: there are none.
    pub rejected_in: Option<String>,
    /// Days on the list.
    pub days: usize,
    /// Days whose matrix was made by this run.
    pub made: Vec<NaiveDate>,
    /// Rows of all days on the list.
    pub rows: u64,
    /// Rows by grade, 0 to 3.
    pub grades: [u64; 4],
    /// Cases, also those left out, and actions by what became of them, of all days on the list.
    pub facts: BTreeMap<String, u64>,
    /// Rows of the log of comparisons whose label changed.
    pub shadow_rows_labelled: u64,
    /// Closed days whose outcomes were counted by this run.
    pub outcome_days: u64,
    /// The matrices made by this run.
    #[serde(skip)]
    matrices: Vec<(Day, u64)>,
}

impl Report {
    /// Records what the run read and wrote.
    pub fn record(&self, settings: &Settings, record: &mut Record) {
        record_sink(&self.sunk, settings, record);
        for (matrix, rows) in &self.matrices {
            record.wrote(Dataset::file(&matrix.path).sha256(&matrix.sha256).rows(*rows));
        }
        if let (Some(path), Some(sha256)) = (&self.path, &self.sha256) {
            record.wrote(Dataset::file(path).sha256(sha256).rows(self.rows));
        }
    }
}

/// Runs the command.
///
/// # Errors
/// See [`build`].
pub async fn run(args: &Args, settings: &Settings, record: &mut Record) -> anyhow::Result<Outcome> {
    #[expect(clippy::disallowed_methods, reason = "a run without --as-of is as of now")]
    let as_of = args.as_of.unwrap_or_else(Utc::now);
    let (extent, of_night) = match some_days(args)? {
        Some(days) => (Extent::of(days), None),
        None => {
            let of_night = days_path(&settings.lake.dir, as_of.date_naive());
            (Extent::night(as_of, settings), Some(of_night))
        }
    };
    let path = args.output.clone().or(of_night);
    let report = build(&extent, as_of, path.as_deref(), settings).await?;
    report.record(settings, record);
    if args.json {
        console::json(&report)?;
    } else {
        print_report(&report);
    }
    Ok(Outcome::Done)
}

/// The days of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Whose matrices are made if they changed.
    made: RangeInclusive<NaiveDate>,
    /// Which are listed for a training.
    listed: RangeInclusive<NaiveDate>,
}

impl Extent {
    /// All days.
    pub fn all() -> Extent {
        Extent::of(NaiveDate::MIN..=NaiveDate::MAX)
    }

    /// These days alone.
    pub fn of(days: RangeInclusive<NaiveDate>) -> Extent {
        Extent {
            made: days.clone(),
            listed: days,
        }
    }

    /// A night: whatever changed is made, because comparisons of any day wait for their labels, and the days of
    /// `train.window_days` are listed.
    pub fn night(as_of: DateTime<Utc>, settings: &Settings) -> Extent {
        let all = Extent::all();
        let listed = match settings.train.window_days {
            0 => all.listed,
            days => as_of.date_naive() - Duration::days(i64::from(days))..=*all.listed.end(),
        };
        Extent { listed, ..all }
    }
}

/// Takes the database's new events into the lake, makes the matrices of the days that changed, labels the log of
/// comparisons, and lists the days in `path` if it is given.
///
/// # Errors
/// An unusable database or lake: no list is written then.
pub async fn build(
    extent: &Extent,
    as_of: DateTime<Utc>,
    path: Option<&Path>,
    settings: &Settings,
) -> anyhow::Result<Report> {
    let database = &settings.database;
    let store = Store::open_with(database.address(), database.limits()).await?;
    let lake = open_lake(settings)?;
    let sunk = sink(&store, &lake, settings).await?;
    let etl = Etl::new(&lake, &settings.schema(), rules(settings), as_of).await?;
    let mut made = Made::default();
    let days: Vec<NaiveDate> = etl.days().into_iter().filter(|day| extent.made.contains(day)).collect();
    let bar = progress::bar("days", days.len());
    let mut broken = None;
    for day in days {
        bar.set_message(day.to_string());
        match made.day(day, &etl, &store).await {
            Ok(()) => {}
            // The other days are made all the same.
            Err(error)
                if error
                    .chain()
                    .any(|cause| matches!(cause.downcast_ref(), Some(LakeError::File { .. }))) =>
            {
                tracing::error!(%day, "{error:#}");
                broken = broken.or(Some(error));
            }
            Err(error) => return Err(error),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    // Comparisons that came after their case was closed, and those of cases that nobody was shown.
    let closed = as_of - settings.labels.closed_after();
    // The labels of days that were not made are not known.
    let given_up = if extent.made == Extent::all().made {
        closed - Duration::days(i64::from(settings.lake.case_days))
    } else {
        DateTime::<Utc>::UNIX_EPOCH
    };
    let labelled = store.label_rest(closed, given_up).await;
    made.labelled += labelled.context("labelling the log of comparisons")?;
    if extent.made == Extent::all().made && broken.is_none() {
        made.say_what_waits(as_of, &store).await?;
    }
    store.close().await;
    if extent.made == Extent::all().made {
        #[expect(clippy::disallowed_methods, reason = "how old a file is, the clock of the disk says")]
        let now = Utc::now();
        lake::compact(&lake, as_of.date_naive() - Duration::days(OPEN_DAYS), now).await?;
    }
    if let Some(error) = broken {
        return Err(error);
    }
    made.days.retain(|day| extent.listed.contains(&day.date));
    made.report(path, &settings.lake.dir, as_of, &lake, sunk).await
}

/// The lake of these settings.
///
/// # Errors
/// A folder that cannot be used.
pub fn open_lake(settings: &Settings) -> anyhow::Result<Lake> {
    Ok(Lake::open(&settings.lake.address())?)
}

/// Takes what is new into the lake: from the bus where there is one, else from the database.
///
/// # Errors
/// An unusable bus, database or lake, or a salt that is not the gateway's.
pub async fn sink(store: &Store, lake: &Lake, settings: &Settings) -> anyhow::Result<Sank> {
    let salt = checked_salt(store, settings).await?;
    match bus(settings)? {
        Some(bus) => {
            let mut sink = TopicSink::new(lake, &settings.schema(), salt.as_deref())?;
            sink_topic(&mut sink, &bus).await
        }
        None => sink_database(store, lake, settings, salt.as_deref(), false).await,
    }
}

/// The event bus; `None`: the database is the log.
///
/// # Errors
/// Certificate authorities that cannot be read.
pub fn bus(settings: &Settings) -> anyhow::Result<Option<Kafka>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the time of records that are sent; this program sends none"
    )]
    let clock = Utc::now;
    let events = &settings.events;
    let address = events.bus_address()?;
    Ok(address.map(|address| Kafka::new(address, events.bus_access(), events.bus_timeout(), clock)))
}

/// Takes what the bus has now.
///
/// # Errors
/// An unusable bus or lake.
pub async fn sink_topic(sink: &mut TopicSink<'_>, bus: &Kafka) -> anyhow::Result<Sank> {
    let bar = progress::bar("sink", 0);
    let topic = bus.topic().await?;
    let sank = sink.run(&topic, |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    let sank = sank.await;
    bar.finish_and_clear();
    if sank.is_err() {
        bus.disconnect().await;
    }
    Ok(sank?)
}

/// Takes what the database has now. `every_day`: see [`lake::sink`].
///
/// # Errors
/// An unusable database or lake.
pub async fn sink_database(
    store: &Store,
    lake: &Lake,
    settings: &Settings,
    salt: Option<&[u8]>,
    every_day: bool,
) -> anyhow::Result<Sank> {
    let spinner = progress::spinner("sink");
    let say = |day: EventDay| spinner.set_message(day.day.map_or_else(String::new, |day| day.to_string()));
    let sunk = lake::sink(store, lake, &settings.schema(), salt, every_day, say).await;
    spinner.finish_and_clear();
    Ok(sunk?)
}

/// The pseudonyms' salt, which is the one that the gateway uses.
///
/// # Errors
/// Another salt.
pub async fn checked_salt(store: &Store, settings: &Settings) -> anyhow::Result<Option<Vec<u8>>> {
    let salt = salt(&settings.privacy.salt_file)?;
    if let Some(salt) = &salt {
        store.check_salt(ranking::salt_id(salt)).await?;
    }
    Ok(salt)
}

/// Records what a sink read and wrote.
pub fn record_sink(sank: &Sank, settings: &Settings, record: &mut Record) {
    let taken = sank.impressions + sank.actions + sank.comparisons;
    let lake = settings.lake.address();
    let log = match settings.events.bus.as_str() {
        "none" => Dataset::table(&settings.database.url, "match_events"),
        bus => Dataset::folder(Path::new(bus)),
    };
    record.read(log.rows(taken + sank.rejected));
    record.wrote(Dataset::folder(Path::new(&format!("{lake}/ltr/raw"))).rows(taken));
    if sank.rejected > 0 {
        record.wrote(Dataset::folder(Path::new(&format!("{lake}/ltr/rejected"))).rows(sank.rejected));
    }
}

fn rules(settings: &Settings) -> Rules {
    Rules {
        windows: settings.labels.windows(),
        attribution: settings.labels.attribution,
        case_days: settings.lake.case_days,
    }
}

/// What the days of a run came to.
#[derive(Default)]
struct Made {
    days: Vec<DayReport>,
    made: Vec<NaiveDate>,
    labelled: u64,
    outcome_days: u64,
}

impl Made {
    async fn day(&mut self, day: NaiveDate, etl: &Etl<'_>, store: &Store) -> anyhow::Result<()> {
        if etl.is_current(day).await?
            && let Some(report) = etl.report(day).await?
        {
            self.days.push(report);
            return Ok(());
        }
        let made = etl.make(day).await.with_context(|| format!("the matrix of {day}"))?;
        // Before the day is noted as done, so that a run that ends here labels it again.
        let labelled = store.label_cases(&made.closed, &made.labels).await;
        self.labelled += labelled.context("labelling the log of comparisons")?;
        if let Some(cases) = &made.displayed {
            // Counted once: what comes later changes no bet that was made on it.
            let closed = ClosedDay {
                outcomes: count_day(day, cases),
                evidence: Some(evidence::count_day(cases, &made.compared, made.coverage)),
            };
            let counts = serde_json::to_string(&closed).context("the outcomes of a day")?;
            self.outcome_days += u64::from(store.save_outcome_day(day, &counts).await?);
        }
        etl.note_done(&made).await?;
        self.made.push(day);
        self.days.push(made.report);
        Ok(())
    }

    /// Keeps how many cases have open windows, for those who look at evidence.
    async fn say_what_waits(&self, as_of: DateTime<Utc>, store: &Store) -> anyhow::Result<()> {
        let open = self.days.iter().filter_map(|day| day.facts.get("cases_immature"));
        let waiting = Waiting {
            as_of,
            cases: open.sum(),
        };
        let text = serde_json::to_string(&waiting).context("the cases that wait")?;
        Ok(store.save_evidence(Waiting::KEY, &text).await?)
    }

    async fn report(
        self,
        path: Option<&Path>,
        copies: &Path,
        as_of: DateTime<Utc>,
        lake: &Lake,
        sunk: Sank,
    ) -> anyhow::Result<Report> {
        let mut facts: BTreeMap<String, u64> = BTreeMap::new();
        let (mut rows, mut grades) = (0, [0; 4]);
        for day in &self.days {
            rows += day.rows;
            for (fact, number) in &day.facts {
                *facts.entry(fact.clone()).or_default() += number;
            }
            for (sum, grade) in grades.iter_mut().zip(day.grades) {
                *sum += grade;
            }
        }
        let rejected: u64 = lake::inspect(lake).await?.iter().map(|day| day.rejected).sum();
        let fact = |name: &str| facts.get(name).copied().unwrap_or(0);
        if fact("cases") == fact("cases_immature") {
            tracing::warn!(
                cases = fact("cases"),
                open = fact("cases_immature"),
                rejected,
                "no case is closed as of {}: there is nothing to train on yet",
                as_of.to_rfc3339()
            );
        }
        let mut list = DayList { days: Vec::new() };
        let mut matrices = Vec::new();
        for day in self.days.iter().filter(|day| day.rows > 0) {
            let listed = Day {
                date: day.date,
                path: lake.local_matrix(day, copies).await?,
                sha256: day.sha256.clone(),
            };
            if self.made.contains(&day.date) {
                matrices.push((listed.clone(), day.rows));
            }
            list.days.push(listed);
        }
        let sha256 = match path {
            Some(path) => {
                files::write_json(path, &list)?;
                Some(files::sha256(&files::read(path)?))
            }
            None => None,
        };
        Ok(Report {
            path: path.map(Path::to_owned),
            sha256,
            sunk,
            rejected,
            rejected_in: (rejected > 0).then(|| lake.url_of("ltr/rejected")),
            days: list.days.len(),
            matrices,
            made: self.made,
            rows,
            grades,
            facts,
            shadow_rows_labelled: self.labelled,
            outcome_days: self.outcome_days,
        })
    }
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

/// The days that are asked for; `None`: the night's.
fn some_days(args: &Args) -> anyhow::Result<Option<RangeInclusive<NaiveDate>>> {
    let range = match (args.day, args.from, args.to) {
        (Some(day), ..) => day..=day,
        (None, None, None) => return Ok(None),
        (None, from, to) => from.unwrap_or(NaiveDate::MIN)..=to.unwrap_or(NaiveDate::MAX),
    };
    if range.is_empty() {
        let fault = format!("--from {}: allowed: --to, {}, or before", range.start(), range.end());
        return Err(Permanent::Usage(fault).into());
    }
    Ok(Some(range))
}

/// Prints the report as a table.
pub fn print_report(report: &Report) {
    let mut table = console::table(&["etl", ""]);
    let mut add = |name: &str, value: String| {
        table.add_row(vec![name.to_owned(), value]);
    };
    let fact = |name: &str| report.facts.get(name).copied().unwrap_or(0).to_string();
    let sunk = &report.sunk;
    add("new events", (sunk.impressions + sunk.actions).to_string());
    add("new comparisons", sunk.comparisons.to_string());
    add("new events rejected", sunk.rejected.to_string());
    add("days", report.days.to_string());
    add("days made by this run", report.made.len().to_string());
    add("cases", fact("cases"));
    add("cases with an open window", fact("cases_immature"));
    add("cases left out: one lawyer", fact("cases_single"));
    add("rows (lawyers shown)", report.rows.to_string());
    for (name, rows) in ["0 shown", "1 click", "2 contact", "3 contract"]
        .iter()
        .zip(report.grades)
    {
        add(&format!("grade {name}"), rows.to_string());
    }
    add("actions counted", fact("actions_counted"));
    add("actions after their window", fact("actions_after_window"));
    add("actions before the impression", fact("actions_before_impression"));
    add("actions on lawyers not shown first", fact("actions_not_shown"));
    add(
        "actions on another impression than the query",
        fact("actions_other_impression"),
    );
    add(
        "actions without a matching impression (unbound)",
        fact("actions_unbound"),
    );
    add("comparisons labelled (rows)", report.shadow_rows_labelled.to_string());
    add("days whose outcomes were counted", report.outcome_days.to_string());
    if let Some(path) = &report.path {
        add("written to", path.display().to_string());
    }
    println!("{table}");
    if let Some(folder) = &report.rejected_in {
        eprintln!(
            "{} events in the lake cannot be read and were left out; {} has them, with the reasons",
            report.rejected, folder
        );
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
