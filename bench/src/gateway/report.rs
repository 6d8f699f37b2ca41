//! The report: tables for people, JSON for programs.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::load::Load;
use crate::report::{machine, row, table, write_json};

const PROCESSOR: &str = "processor time a request";

/// One subject under one load.
pub(crate) struct Measured {
    pub subject: String,
    pub case: String,
    pub load: Load,
    pub resident_bytes: f64,
    /// Microseconds that the process takes of a processor for a request, where that was measured.
    pub processor: Option<f64>,
    /// What the load counts.
    unit: &'static str,
}

impl Measured {
    pub(crate) fn new(subject: &str, case: &str, load: Load, resident_bytes: f64) -> Measured {
        Measured {
            subject: subject.to_owned(),
            case: case.to_owned(),
            load,
            resident_bytes,
            processor: None,
            unit: "requests a second",
        }
    }

    /// As [`Measured::new`], of a load that counts events.
    pub(crate) fn of_events(subject: &str, case: &str, load: Load, resident_bytes: f64) -> Measured {
        Measured {
            unit: "events a second",
            ..Measured::new(subject, case, load, resident_bytes)
        }
    }

    /// Metric, value, unit, and whether more is better.
    fn figures(&self) -> Vec<(&'static str, f64, &'static str, bool)> {
        let mut figures = vec![
            (self.unit, self.load.per_second, "1/s", true),
            ("p50", self.load.p50, "ms", false),
            ("p95", self.load.p95, "ms", false),
            ("p99", self.load.p99, "ms", false),
            ("resident memory", self.resident_bytes, "bytes", false),
        ];
        figures.extend(self.processor.map(|us| (PROCESSOR, us, "us", false)));
        figures
    }
}

/// The throughput of one subject beside another one's in the same round: less noise than two medians have.
pub(crate) struct Beside {
    pub subject: String,
    pub peer: String,
    pub case: String,
    /// The median over the rounds.
    pub ratio: f64,
    pub rounds: usize,
}

pub(crate) struct Report {
    name: &'static str,
    /// The subjects that are compared with all others.
    ours: &'static [&'static str],
    pub measured: Vec<Measured>,
    pub beside: Vec<Beside>,
    starts: Vec<(String, Duration)>,
}

impl Report {
    pub(crate) fn new(name: &'static str, ours: &'static [&'static str]) -> Report {
        Report {
            name,
            ours,
            measured: Vec::new(),
            beside: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// Notes how long a subject took until its first answer.
    pub(crate) fn start(&mut self, subject: &str, took: Duration) {
        self.starts.push((subject.to_owned(), took));
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        write_json(path, &self.to_json())
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut rows = Vec::new();
        for measured in &self.measured {
            let figures = measured.figures();
            rows.extend(
                figures
                    .into_iter()
                    .map(|(metric, value, unit, _)| row(&measured.subject, &measured.case, metric, value, unit)),
            );
        }
        let starts = self.starts.iter();
        rows.extend(starts.map(|(subject, took)| {
            row(
                subject,
                "start",
                "until the first answer",
                took.as_secs_f64() * 1e3,
                "ms",
            )
        }));
        rows.extend(self.beside.iter().map(|beside| {
            let metric = format!("throughput beside {}, median of {} rounds", beside.peer, beside.rounds);
            row(&beside.subject, &beside.case, &metric, beside.ratio, "ratio")
        }));
        let ratios: Vec<Value> = self
            .ratios()
            .map(|(ours, peer, metric, a, b, ratio)| {
                json!({
                    "case": ours.case, "metric": metric, "our_subject": ours.subject, "peer_subject": peer.subject,
                    "ours": a, "peer": b, "ratio": ratio,
                })
            })
            .collect();
        json!({ "name": self.name, "machine": machine(), "rows": rows, "ratios": ratios })
    }

    /// Above 1 where ours is better.
    fn ratios(&self) -> impl Iterator<Item = (&Measured, &Measured, &'static str, f64, f64, f64)> {
        let is_ours = |measured: &&Measured| self.ours.contains(&&*measured.subject);
        let ours = self.measured.iter().filter(is_ours);
        ours.flat_map(move |ours| {
            let peers = self.measured.iter();
            let peers = peers.filter(move |peer| peer.case == ours.case && !is_ours(peer));
            peers.flat_map(move |peer| {
                let pairs = ours.figures().into_iter().zip(peer.figures());
                pairs.map(move |((metric, a, _, more), (_, b, ..))| {
                    (ours, peer, metric, a, b, if more { a / b } else { b / a })
                })
            })
        })
    }

    pub(crate) fn print(&self, path: &Path) {
        let header = [
            "case",
            "subject",
            "a second",
            "p50, ms",
            "p95, ms",
            "p99, ms",
            "memory, MB",
            "processor, us",
        ];
        let mut figures = table(header.map(str::to_owned), 2);
        for Measured {
            subject,
            case,
            load,
            resident_bytes,
            processor,
            unit,
        } in &self.measured
        {
            let times = [load.p50, load.p95, load.p99].map(|ms| format!("{ms:.2}"));
            let mut cells = vec![
                case.clone(),
                subject.clone(),
                format!("{:.0} {}", load.per_second, unit.trim_end_matches(" a second")),
            ];
            cells.extend(times);
            cells.push(format!("{:.0}", resident_bytes / 1e6));
            cells.push(processor.map_or_else(String::new, |us| format!("{us:.1}")));
            figures.add_row(cells);
        }
        println!("{figures}");
        let header = ["case", "metric", "subject", "than", "times better"];
        let mut ratios = table(header.map(str::to_owned), 4);
        for (ours, peer, metric, _, _, ratio) in self.ratios() {
            ratios.add_row([&ours.case, metric, &ours.subject, &peer.subject, &format!("{ratio:.2}")]);
        }
        println!("{ratios}");
        for Beside {
            subject,
            peer,
            case,
            ratio,
            rounds,
        } in &self.beside
        {
            println!("{case}: {subject}: {ratio:.3} of the throughput of {peer}, median of {rounds} rounds");
        }
        for (subject, took) in &self.starts {
            println!("{subject}: answers after {:.0} ms", took.as_secs_f64() * 1e3);
        }
        println!(
            "{}; the load generator on the same processors\n{}",
            machine(),
            path.display()
        );
    }
}
