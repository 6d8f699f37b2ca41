//! The report a benchmark leaves: tables for people, JSON for programs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde_json::{Value, json};

/// Whose ratios the summary shows.
const RIVALS: [&str; 4] = ["LightGBM", "LightGBM single-row fast", "lleaves (C)", "lleaves"];

/// How a subject's scores relate to LightGBM's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Difference {
    /// Equal to the last bit, or the benchmark fails.
    Forbidden,
    /// The largest seen.
    Allowed(f64),
    /// Not comparable.
    OtherModel,
}

impl Difference {
    pub(crate) fn observe(&mut self, scores: &[f64], expected: &[f64]) -> Result<()> {
        ensure!(
            scores.len() == expected.len(),
            "{} scores instead of {}",
            scores.len(),
            expected.len()
        );
        let mut pairs = scores.iter().zip(expected);
        match self {
            Difference::Forbidden => {
                if let Some(row) = pairs.position(|(a, b)| a.to_bits() != b.to_bits()) {
                    bail!(
                        "row {row} scores {} instead of LightGBM's {}",
                        scores[row],
                        expected[row]
                    );
                }
            }
            Difference::Allowed(largest) => {
                *largest = pairs.fold(*largest, |largest, (a, b)| largest.max((a - b).abs()));
            }
            Difference::OtherModel => {}
        }
        Ok(())
    }
}

/// One subject's figures for one case.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub subject: String,
    pub difference: Difference,
    /// Nanoseconds a row, for each batch; `None` where the subject does not take that many.
    pub ns: Vec<Option<f64>>,
}

/// One model and data shape.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub case: String,
    pub batches: Vec<usize>,
    /// The component first.
    pub lines: Vec<Line>,
    /// What is missing, and why.
    pub notes: Vec<String>,
}

impl Comparison {
    /// How many times faster the component is than `line`, for the `nth` batch.
    fn ratio(&self, line: &Line, nth: usize) -> Option<f64> {
        Some(line.ns[nth]? / self.lines.first()?.ns[nth]?)
    }
}

/// Before the first score.
#[derive(Clone, Debug)]
pub(crate) struct Costs {
    pub case: String,
    pub text_bytes: f64,
    pub component_bytes: f64,
    pub compile_ms: f64,
    pub load_ms: f64,
    /// From the beginning of the loading.
    pub first_score_ms: f64,
    pub resident_bytes: f64,
}

#[derive(Default)]
pub(crate) struct Report {
    pub machine: String,
    /// Name -> version.
    pub versions: BTreeMap<String, String>,
    pub comparisons: Vec<Comparison>,
    pub costs: Vec<Costs>,
    pub notes: Vec<String>,
}

impl Report {
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        write_json(path, &self.to_json())
    }

    pub(crate) fn to_json(&self) -> Value {
        let (mut rows, mut ratios) = (Vec::new(), Vec::new());
        for comparison in &self.comparisons {
            for line in &comparison.lines {
                for (nth, batch) in comparison.batches.iter().enumerate() {
                    let case = format!("{} batch {batch}", comparison.case);
                    if let Some(ns) = line.ns[nth] {
                        rows.push(row(&line.subject, &case, "time a row", ns, "ns"));
                    }
                    let ratio = comparison.ratio(line, nth).filter(|_| line.subject != "component");
                    if let Some(ratio) = ratio {
                        ratios.push(json!({
                            "case": case, "metric": "time a row", "peer_subject": line.subject,
                            "ours": comparison.lines[0].ns[nth], "peer": line.ns[nth], "ratio": ratio,
                        }));
                    }
                }
                let largest = match line.difference {
                    Difference::Forbidden => 0.0,
                    Difference::Allowed(largest) => largest,
                    Difference::OtherModel => continue,
                };
                let metric = "largest difference from LightGBM";
                rows.push(row(&line.subject, &comparison.case, metric, largest, "score"));
            }
        }
        for costs in &self.costs {
            let figures = [
                ("compile time", costs.compile_ms, "ms"),
                ("model text", costs.text_bytes, "bytes"),
                ("component", costs.component_bytes, "bytes"),
                ("load time", costs.load_ms, "ms"),
                ("time from load to first score", costs.first_score_ms, "ms"),
                ("resident memory", costs.resident_bytes, "bytes"),
            ];
            rows.extend(figures.map(|(metric, value, unit)| row("component", &costs.case, metric, value, unit)));
        }
        json!({
            "name": "scorer", "machine": self.machine, "rows": rows, "ratios": ratios,
            "versions": self.versions, "notes": self.notes(),
        })
    }

    pub(crate) fn print(&self, path: &Path) {
        for comparison in &self.comparisons {
            println!(
                "\n{}: ns a row (times the component's)\n{}",
                comparison.case,
                figures(comparison)
            );
        }
        if let Some(table) = self.summary() {
            println!("\nThe component is so many times faster\n{table}");
        }
        if !self.costs.is_empty() {
            println!("\nBefore the first score\n{}", self.cost_table());
        }
        for note in self.notes() {
            println!("{note}");
        }
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        println!(
            "{}; one thread; {}\n{}",
            self.machine,
            versions.join(", "),
            path.display()
        );
    }

    fn notes(&self) -> Vec<String> {
        let of_cases = self
            .comparisons
            .iter()
            .flat_map(|c| c.notes.iter().map(|note| format!("{}: {note}", c.case)));
        self.notes.iter().cloned().chain(of_cases).collect()
    }

    /// The ratios that matter: one row a case and rival.
    fn summary(&self) -> Option<Table> {
        let batches = &self.comparisons.first()?.batches;
        let header = ["case".to_owned(), "than".to_owned()];
        let mut table = table(
            header.into_iter().chain(batches.iter().map(|n| format!("batch {n}"))),
            2,
        );
        for comparison in &self.comparisons {
            for line in comparison
                .lines
                .iter()
                .filter(|line| RIVALS.contains(&line.subject.as_str()))
            {
                let ratio = |nth| {
                    comparison
                        .ratio(line, nth)
                        .map_or("-".to_owned(), |r| format!("{r:.1}"))
                };
                let ratios = (0..batches.len()).map(ratio);
                table.add_row(
                    [comparison.case.clone(), line.subject.clone()]
                        .into_iter()
                        .chain(ratios),
                );
            }
        }
        (!table.is_empty()).then_some(table)
    }

    fn cost_table(&self) -> Table {
        let header = [
            "case",
            "compile, ms",
            "component, MB",
            "of the text",
            "load, ms",
            "first score, ms",
            "memory, MB",
        ];
        let mut table = table(header.map(str::to_owned), 1);
        for c in &self.costs {
            table.add_row([
                c.case.clone(),
                format!("{:.0}", c.compile_ms),
                format!("{:.2}", c.component_bytes / 1e6),
                format!("{:.0} %", 100.0 * c.component_bytes / c.text_bytes),
                format!("{:.0}", c.load_ms),
                format!("{:.0}", c.first_score_ms),
                format!("{:.1}", c.resident_bytes / 1e6),
            ]);
        }
        table
    }
}

fn figures(comparison: &Comparison) -> Table {
    let batches = comparison.batches.iter().map(|n| format!("batch {n}"));
    let header = std::iter::once("subject".to_owned()).chain(batches);
    let mut table = table(header.chain(["largest difference".to_owned()]), 1);
    for (at, line) in comparison.lines.iter().enumerate() {
        let cell = |nth: usize| match (line.ns[nth], comparison.ratio(line, nth)) {
            (Some(ns), Some(ratio)) if at > 0 => format!("{ns:.0} ({ratio:.1})"),
            (Some(ns), _) => format!("{ns:.0}"),
            (None, _) => "-".to_owned(),
        };
        let difference = match line.difference {
            Difference::Forbidden => "none".to_owned(),
            Difference::Allowed(largest) => format!("{largest:.0e}"),
            Difference::OtherModel => "-".to_owned(),
        };
        let cells = (0..comparison.batches.len()).map(cell);
        table.add_row(std::iter::once(line.subject.clone()).chain(cells).chain([difference]));
    }
    table
}

/// A table whose columns from the `numbers`th on are numbers.
/// Writes a report where programs look for it.
pub(crate) fn write_json(path: &Path, report: &Value) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    let text = serde_json::to_vec_pretty(report)?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

pub(crate) fn table(header: impl IntoIterator<Item = String>, numbers: usize) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(header);
    for column in table.column_iter_mut().skip(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub(crate) fn row(subject: &str, case: &str, metric: &str, value: f64, unit: &str) -> Value {
    json!({ "subject": subject, "case": case, "metric": metric, "value": value, "unit": unit })
}

/// The processor's name and the number of threads, as the report's reader needs them.
pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    format!("{model}, {threads} threads")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let line = |subject: &str, difference, ns: [Option<f64>; 2]| Line {
            subject: subject.to_owned(),
            difference,
            ns: ns.to_vec(),
        };
        Report {
            comparisons: vec![Comparison {
                case: "small uniform".to_owned(),
                batches: vec![1, 100],
                lines: vec![
                    line("component", Difference::Forbidden, [Some(500.0), Some(200.0)]),
                    line("LightGBM", Difference::Forbidden, [Some(10_000.0), Some(8_000.0)]),
                    line("LightGBM single-row fast", Difference::Forbidden, [Some(1_500.0), None]),
                    line("lleaves", Difference::Allowed(5e-15), [Some(250.0), Some(3_000.0)]),
                ],
                notes: vec!["tl2cgen: not measured: compiled longer than 1 s".to_owned()],
            }],
            ..Report::default()
        }
    }

    #[test]
    fn one_bit_is_a_difference_where_none_is_allowed_and_is_measured_elsewhere() {
        let (a, b) = ([1.0, 2.0], [1.0, 2.0 + f64::EPSILON * 2.0]);
        assert!(Difference::Forbidden.observe(&a, &a).is_ok());
        assert!(Difference::Forbidden.observe(&a, &b).is_err());
        assert!(Difference::Forbidden.observe(&[0.0], &[-0.0]).is_err());
        let mut largest = Difference::Allowed(0.0);
        largest.observe(&a, &b).unwrap();
        largest.observe(&a, &a).unwrap();
        assert_eq!(largest, Difference::Allowed(f64::EPSILON * 2.0));
        assert!(largest.observe(&a, &b[..1]).is_err());
    }

    #[test]
    fn a_ratio_above_one_means_the_component_is_faster() {
        let json = report().to_json();
        let ratio = |subject: &str, batch: usize| {
            let case = format!("small uniform batch {batch}");
            let ratios = json["ratios"].as_array().unwrap();
            let found = ratios
                .iter()
                .find(|r| r["peer_subject"] == subject && r["case"] == case.as_str());
            found.and_then(|r| r["ratio"].as_f64())
        };
        assert_eq!(ratio("LightGBM", 1), Some(20.0));
        assert_eq!(ratio("LightGBM", 100), Some(40.0));
        assert_eq!(ratio("LightGBM single-row fast", 100), None);
        assert_eq!(ratio("lleaves", 1), Some(0.5));
        assert_eq!(ratio("component", 1), None);
        assert_eq!(
            json["notes"][0],
            "small uniform: tl2cgen: not measured: compiled longer than 1 s"
        );
    }

    #[test]
    fn the_tables_show_every_figure_with_its_ratio() {
        let report = report();
        let text = figures(&report.comparisons[0]).to_string();
        for part in ["batch 100", "10000 (20.0)", "3000 (15.0)", "5e-15", "none"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let summary = report.summary().unwrap().to_string();
        assert!(summary.contains("40.0") && summary.contains("0.5"), "{summary}");
    }
}
