//! The report a benchmark leaves: a table for people, JSON for programs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

#[derive(Serialize)]
struct Row {
    subject: String,
    case: String,
    metric: &'static str,
    value: f64,
    unit: &'static str,
}

/// `ratio` above 1: ours is better.
#[derive(Serialize)]
struct Ratio {
    case: String,
    metric: &'static str,
    ours: f64,
    peer: f64,
    ratio: f64,
    #[serde(rename = "peer_subject")]
    subject: &'static str,
}

#[derive(Serialize)]
pub struct Report {
    name: &'static str,
    machine: String,
    rows: Vec<Row>,
    ratios: Vec<Ratio>,
}

impl Report {
    pub fn new(name: &'static str) -> Report {
        Report {
            name,
            machine: machine(),
            rows: Vec::new(),
            ratios: Vec::new(),
        }
    }

    /// Adds the median of the rounds (ns a row) and returns it.
    pub fn add(&mut self, subject: &str, case: &str, mut rounds: Vec<f64>) -> f64 {
        rounds.sort_by(f64::total_cmp);
        let value = rounds[rounds.len() / 2];
        self.rows.push(Row {
            subject: subject.to_owned(),
            case: case.to_owned(),
            metric: "time a row",
            value,
            unit: "ns",
        });
        value
    }

    pub fn compare(&mut self, case: &str, ours: f64, subject: &'static str, peer: f64) {
        self.ratios.push(Ratio {
            case: case.to_owned(),
            metric: "time a row",
            ours,
            peer,
            ratio: peer / ours,
            subject,
        });
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        fs::write(path, serde_json::to_vec_pretty(self)?).with_context(|| format!("writing {}", path.display()))
    }

    pub fn print_json(&self) -> Result<()> {
        println!("{}", serde_json::to_string_pretty(self)?);
        Ok(())
    }

    pub fn print_table(&self, path: &Path) -> Result<()> {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        table.set_header(["case", "peer", "component, ns a row", "peer, ns a row", "times faster"]);
        for column in 2..5 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for r in &self.ratios {
            table.add_row([
                r.case.clone(),
                r.subject.to_owned(),
                format!("{:.0}", r.ours),
                format!("{:.0}", r.peer),
                format!("{:.1}", r.ratio),
            ]);
        }
        println!(
            "{table}\n{}; every score equal to LightGBM's to the last bit; {}",
            self.machine,
            path.display()
        );
        Ok(())
    }
}

/// The processor's name and the number of threads, as the report's reader needs them.
fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    format!("{model}, {threads} threads")
}
