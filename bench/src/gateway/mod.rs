//! `make bench-gateway`: the gateway beside the service that one would otherwise write, in one run.
//!
//! Both have the same model. The load generator runs on the same machine, so that what it takes they do not have. nginx,
//! which does nothing but answer, says what is left for a request on this machine at most. Subjects take turns within a
//! round, medians over the rounds are reported.

mod display;
mod ingest;
pub(crate) mod load;
pub(crate) mod processes;
pub(crate) mod report;
mod swaps;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use load::{Load, Target};
use processes::{Home, Site};
use report::{Measured, Report};
use serde_json::{Value, json};

use crate::data::{Shape, generator};
use crate::models::{Case, Name};

/// Lawyers of a case.
const LAWYERS: usize = 100;

/// Measure the gateway beside FastAPI with LightGBM's Python package, and nginx
#[derive(Debug, clap::Args)]
pub(crate) struct GatewayArgs {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Rounds, of which the median is reported
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The Python that has FastAPI, uvicorn and LightGBM (`make setup-bench`)
    #[arg(long, default_value = ".tools/bin/python", value_name = "PATH")]
    python: PathBuf,
    /// What is measured
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::ALL)]
    parts: Vec<Part>,
    /// The gateway's program, instead of the one beside this program
    #[arg(long, value_name = "PATH")]
    gateway: Option<PathBuf>,
    /// Where the JSON report goes
    #[arg(long, default_value = "target/bench/gateway.json")]
    output: PathBuf,
    /// Print the JSON report instead of the tables
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The gateway, FastAPI and nginx
    Peers,
    /// With none, some and all requests compared in shadow
    Shadow,
    /// With users who are held out, rankings drafted in turn, and neighbours swapped by a coin
    Display,
    /// With a new model a second
    Swaps,
    /// Events on SQLite and on PostgreSQL
    Ingest,
}

impl Part {
    const ALL: [Part; 5] = [Part::Peers, Part::Shadow, Part::Display, Part::Swaps, Part::Ingest];
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    OneRow,
    Case,
}

impl Request {
    pub(crate) const ALL: [Request; 2] = [Request::OneRow, Request::Case];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Request::OneRow => "/ltr/score",
            Request::Case => "/rank",
        }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Request::OneRow => "POST /ltr/score, one row".to_owned(),
            Request::Case => format!("POST /rank, {LAWYERS} lawyers"),
        }
    }
}

impl GatewayArgs {
    pub(crate) fn run(&self) -> Result<()> {
        let work = tempfile::tempdir()?;
        let bench = Bench::new(self, work.path())?;
        let mut report = Report::new("gateway", &["gateway"]);
        for part in Part::ALL.into_iter().filter(|part| self.parts.contains(part)) {
            match part {
                Part::Peers => bench.side_by_side(&mut report)?,
                Part::Shadow => bench.shadows(&mut report)?,
                Part::Display => bench.display(&mut report)?,
                Part::Swaps => bench.swaps(&mut report)?,
                Part::Ingest => bench.ingest(&mut report)?,
            }
        }
        report.write(&self.output)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report.to_json())?)
        } else {
            report.print(&self.output)
        }
        Ok(())
    }
}

struct Bench<'a> {
    args: &'a GatewayArgs,
    work: &'a Path,
    home: Home,
    /// LightGBM's text, and the file that has it.
    text: String,
    model: PathBuf,
    features: Vec<String>,
}

impl<'a> Bench<'a> {
    fn new(args: &'a GatewayArgs, work: &'a Path) -> Result<Bench<'a>> {
        let (text, features) = model()?;
        let model = work.join("model.txt");
        fs::write(&model, &text)?;
        let (component, _) = crate::costs::component("benchmark", &text)?;
        let home = work.join("home");
        fs::create_dir(&home)?;
        let bench = Bench {
            args,
            work,
            home: Home::new(home, args.gateway.as_deref(), &component, &features)?,
            text,
            model,
            features,
        };
        for request in Request::ALL {
            fs::write(bench.body_path(request), body(request, &bench.features).to_string())?;
        }
        Ok(bench)
    }

    fn body_path(&self, request: Request) -> PathBuf {
        self.work.join(match request {
            Request::OneRow => "row.json",
            Request::Case => "case.json",
        })
    }

    fn load(&self, site: &Site, request: Request, rate: Option<f64>) -> Result<Load> {
        let target = Target {
            url: site.url(request.path()),
            body: self.body_path(request),
            token: &self.home.token,
        };
        self.run(&target, rate)
    }

    fn run(&self, target: &Target<'_>, rate: Option<f64>) -> Result<Load> {
        load::run(target, self.args.seconds, rate, self.work)
    }

    /// Throughput of all, and times at a rate that the service in Python sustains easily.
    fn side_by_side(&self, report: &mut Report) -> Result<()> {
        let gateway = self.home.gateway(0.0)?;
        let service = processes::service(&self.args.python, self.work, &self.model, &self.features)?;
        let nginx = processes::nginx(self.work)?;
        report.start("gateway", gateway.started);
        report.start("FastAPI", service.started);
        let subjects = [
            ("gateway", &gateway),
            ("FastAPI", &service),
            ("nginx, return 200", &nginx),
        ];
        for request in Request::ALL {
            eprintln!("{} ...", request.name());
            let medians = self.rounds(&subjects, request, None)?;
            for ((subject, site), load) in subjects.iter().zip(&medians) {
                report
                    .measured
                    .push(Measured::new(subject, &request.name(), *load, site.resident_bytes()?));
            }
            let rate = medians[1].per_second / 2.0;
            let offered = format!("{}, at {rate:.0} a second", request.name());
            for ((subject, site), load) in subjects.iter().zip(self.rounds(&subjects[..2], request, Some(rate))?) {
                report
                    .measured
                    .push(Measured::new(subject, &offered, load, site.resident_bytes()?));
            }
        }
        Ok(())
    }

    fn rounds(&self, subjects: &[(&str, &Site)], request: Request, rate: Option<f64>) -> Result<Vec<Load>> {
        let mut loads = vec![Vec::new(); subjects.len()];
        for _ in 0..self.args.rounds {
            for ((subject, site), loads) in subjects.iter().zip(&mut loads) {
                loads.push(self.load(site, request, rate).with_context(|| subject.to_string())?);
            }
        }
        let median = |loads: Vec<Load>| Load::median(&loads).context("--rounds is 0; allowed: 1 or more");
        loads.into_iter().map(median).collect()
    }

    /// What it costs that so many requests are ranked by both.
    fn shadows(&self, report: &mut Report) -> Result<()> {
        for share in [0.0, 0.1, 1.0] {
            eprintln!("shadow {:.0} % ...", share * 100.0);
            let gateway = self.home.gateway(share)?;
            let load = self.rounds(&[("gateway", &gateway)], Request::Case, None)?[0];
            let case = format!("{}, shadow {:.0} %", Request::Case.name(), share * 100.0);
            report
                .measured
                .push(Measured::new("gateway", &case, load, gateway.resident_bytes()?));
        }
        Ok(())
    }
}

/// The model of all subjects as LightGBM's text, and the names of its features.
pub(crate) fn model() -> Result<(String, Vec<String>)> {
    eprintln!("training ...");
    let features = ranking::features::DEFAULT_FEATURES.map(str::to_owned).to_vec();
    let case = Case::synthetic(Name::Small, Shape::Uniform);
    let text = renamed(&case.train(7)?, &features)?;
    Ok((text, features))
}

/// What is asked: the same rows at every run.
pub(crate) fn body(request: Request, features: &[String]) -> Value {
    drawn(request, features, 1)
}

/// As [`body`], with other rows for another number.
fn drawn(request: Request, features: &[String], number: u64) -> Value {
    let case = Case::synthetic(Name::Small, Shape::Uniform);
    let values = case.source.draw(&mut generator(7, "gateway", number), LAWYERS);
    let mut rows = values.chunks(features.len()).map(|row| {
        let named = features.iter().cloned().zip(row.iter().map(|&x| json!(x)));
        Value::Object(named.collect())
    });
    if request == Request::OneRow {
        return json!({ "features": rows.next() });
    }
    let lawyer = |(at, row): (usize, Value)| {
        json!({
            "lawyer_id": format!("adv_{at:03}"), "features": row, "cases_30d": at % 40,
            "monthly_capacity": 40, "groups": {"gender": if at % 3 == 0 { "F" } else { "M" }}, "last_offered_at": null,
        })
    };
    json!({
        "case": {"case_id": "5e1c7a52-8f3b-4c39-9a55-0d2c6a7b9e10", "user_id": "0b8f7d34-51a6-4e0e-8a4a-6f1f0c2d3e4f"},
        "preset": "balanced", "top_n": 5, "lawyers": rows.enumerate().map(lawyer).collect::<Vec<_>>(),
    })
}

/// A model's text with other feature names.
fn renamed(text: &str, features: &[String]) -> Result<String> {
    let line = text
        .lines()
        .find(|line| line.starts_with("feature_names="))
        .context("a model's text without feature names")?;
    Ok(text.replacen(line, &format!("feature_names={}", features.join(" ")), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_renamed_in_their_line_only() {
        let names = ["a".to_owned(), "b".to_owned()];
        let text = renamed("tree\nfeature_names=x y\nx y\n", &names).unwrap();
        assert_eq!(text, "tree\nfeature_names=a b\nx y\n");
        assert!(renamed("tree\n", &names).is_err());
    }
}
