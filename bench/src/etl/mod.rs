//! `make bench-etl`: the ETL over lakes of several sizes, beside the same SQL in a warm Spark session and an honest pandas
//! version, in one run.
//!
//! Each lake has 90 days. Measured is the program as a night runs it, from its start to its end, with the peak of its memory
//! as the kernel has it; then one more night on top. Spark's session is started and warmed before its clock runs.

mod made;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chrono::{Days, NaiveDate};
use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use lake::Lake;
use ltr_trainer::progress;
use ranking::Schema;
use ranking::features::DEFAULT_FEATURES;
use serde::Serialize;
use serde_json::{Value, json};

/// Days of history.
const DAYS: u64 = 90;

/// Measure the ETL over lakes of several sizes, beside Spark and pandas
#[derive(Debug, clap::Args)]
pub(crate) struct EtlArgs {
    /// Events of each lake, in order
    #[arg(long, value_delimiter = ',', default_value = "1000000,3000000,10000000")]
    events: Vec<u64>,
    /// Spark and pandas are measured on lakes up to so many events; 0: not at all
    #[arg(long, default_value_t = 1_000_000)]
    peers_to: u64,
    /// The Python that has PySpark and pandas (`make test-spark`)
    #[arg(long, default_value = ".tools/spark/bin/python", value_name = "PATH")]
    python: PathBuf,
    /// Where the lakes are made, and stay; default: a folder that goes
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Where the JSON report goes
    #[arg(long, default_value = "target/bench/etl.json")]
    output: PathBuf,
    /// Print the JSON report instead of the table
    #[arg(long)]
    json: bool,
}

/// What a run took.
#[derive(Clone, Copy, Debug, Serialize)]
struct Cost {
    seconds: f64,
    peak_mib: f64,
    rows: u64,
}

/// What was measured on one lake.
#[derive(Debug, Serialize)]
struct Measured {
    events: u64,
    /// All days.
    whole: Cost,
    /// One more day, and the days that it reopens.
    night: Cost,
    spark: Option<Cost>,
    pandas: Option<Cost>,
}

impl EtlArgs {
    pub(crate) fn run(self) -> Result<()> {
        ensure!(!self.events.is_empty(), "--events is empty; allowed: numbers");
        let scratch = tempfile::tempdir()?;
        let work = self.work.clone().unwrap_or_else(|| scratch.path().to_owned());
        let mut all = Vec::new();
        for &events in &self.events {
            all.push(self.measure(events, &work.join(events.to_string()))?);
            if self.work.is_none() {
                std::fs::remove_dir_all(work.join(events.to_string()))?;
            }
        }
        let report = json!({ "days": DAYS, "lakes": all });
        if let Some(folder) = self.output.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&self.output, serde_json::to_vec_pretty(&report)?)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print(&all, &self.output);
        }
        Ok(())
    }

    fn measure(&self, events: u64, site: &Path) -> Result<Measured> {
        let features = Schema::new(DEFAULT_FEATURES.map(str::to_owned).to_vec())?;
        let first = NaiveDate::from_ymd_opt(2026, 1, 1).context("a day")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let lake = Lake::open(&site.join("lake").display().to_string())?;
        let bar = progress::bar("days made", DAYS as usize);
        for day in 0..DAYS {
            runtime.block_on(made::add_day(&lake, &features, first + Days::new(day), events / DAYS))?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        let end = first + Days::new(DAYS);
        let whole = etl(site, end)?;
        let (spark, pandas) = if events <= self.peers_to {
            let peer = |name: &str| self.peer(name, site, first, end);
            (Some(peer("spark_etl.py")?), Some(peer("pandas_etl.py")?))
        } else {
            (None, None)
        };
        for (name, peer) in [("Spark", spark), ("pandas", pandas)] {
            let same = peer.is_none_or(|peer| peer.rows == whole.rows);
            ensure!(
                same,
                "{name} made other rows than the {} of the ETL: {peer:?}",
                whole.rows
            );
        }
        runtime.block_on(made::add_day(&lake, &features, end, events / DAYS))?;
        let night = etl(site, end + Days::new(1))?;
        Ok(Measured {
            events,
            whole,
            night,
            spark,
            pandas,
        })
    }

    fn peer(&self, script: &str, site: &Path, first: NaiveDate, end: NaiveDate) -> Result<Cost> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("etl").join(script);
        ensure!(
            self.python.exists(),
            "--python: {} is not there: make test-spark installs it",
            self.python.display()
        );
        let mut command = Command::new(&self.python);
        command.arg(&script).arg("--lake").arg(site.join("lake"));
        command.args([
            "--from".to_owned(),
            first.to_string(),
            "--to".to_owned(),
            (end - Days::new(1)).to_string(),
        ]);
        command.args(["--as-of".to_owned(), format!("{end}T00:00:00Z")]);
        // Spark's own default, a gigabyte, is too little for a million events.
        command.env("PYSPARK_SUBMIT_ARGS", "--driver-memory 8g pyspark-shell");
        let said = command.stderr(Stdio::piped()).output()?;
        let errors = String::from_utf8_lossy(&said.stderr);
        let last = errors.lines().rev().take(10).collect::<Vec<_>>().join("\n");
        ensure!(
            said.status.success(),
            "{} ended with {}:\n{last}",
            script.display(),
            said.status
        );
        let said: Value = serde_json::from_slice(&said.stdout).context("a peer's answer")?;
        let number = |name: &str| {
            said[name]
                .as_f64()
                .with_context(|| format!("a peer's answer has no {name}"))
        };
        Ok(Cost {
            seconds: number("seconds")?,
            peak_mib: number("peak_mib")?,
            rows: number("rows")? as u64,
        })
    }
}

/// Runs `ltr-trainer etl` as of a day's beginning.
fn etl(site: &Path, as_of: NaiveDate) -> Result<Cost> {
    let program = std::env::current_exe()?.with_file_name("ltr-trainer");
    let start = Instant::now();
    let mut child = Command::new(&program)
        .args(["etl", "--json", "--as-of", &format!("{as_of}T00:00:00Z")])
        .env("LTR_LAKE__DIR", site.join("lake"))
        .env(
            "LTR_DATABASE__URL",
            format!("sqlite://{}", site.join("empty.db").display()),
        )
        .stdout(std::fs::File::create(site.join("etl.json"))?)
        .spawn()
        .with_context(|| format!("{}: make build makes it", program.display()))?;
    let mut peak_mib: f64 = 0.0;
    let status = loop {
        // The kernel's own peak, so that a reading that comes late is none that is missed.
        peak_mib = peak_mib.max(peak(child.id()).unwrap_or(0.0));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let seconds = start.elapsed().as_secs_f64();
    ensure!(status.success(), "{} etl ended with {status}", program.display());
    let report: Value = serde_json::from_slice(&std::fs::read(site.join("etl.json"))?)?;
    let Some(rows) = report["rows"].as_u64() else {
        bail!("the report of the ETL has no rows");
    };
    Ok(Cost {
        seconds,
        peak_mib,
        rows,
    })
}

fn peak(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

fn print(all: &[Measured], output: &Path) {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "events",
        "whole, s",
        "µs an event",
        "MiB",
        "night, s",
        "night / whole",
        "Spark / whole",
        "pandas / whole",
    ]);
    for lake in all {
        let ratio = |cost: Option<Cost>| {
            cost.map_or_else(
                || "-".to_owned(),
                |cost| format!("{:.2}", cost.seconds / lake.whole.seconds),
            )
        };
        table.add_row([
            lake.events.to_string(),
            format!("{:.1}", lake.whole.seconds),
            format!("{:.2}", lake.whole.seconds * 1e6 / lake.events as f64),
            format!("{:.0}", lake.whole.peak_mib),
            format!("{:.1}", lake.night.seconds),
            ratio(Some(lake.night)),
            ratio(lake.spark),
            ratio(lake.pandas),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}\nwritten to {}", output.display());
}
