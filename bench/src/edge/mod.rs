//! `make bench-edge`: what the filter costs in Envoy, and what it saves, beside Envoy without it, in one run.
//!
//! Each subject is an Envoy of its own with a worker for each processor; behind all of them is the same server, which does
//! nothing but answer, so that what is measured is Envoy. The load generator runs on the same machine, and takes its share
//! of what throughput is made of; so the processor time that Envoy itself takes for a request is measured, too, at a pace
//! that all sustain. Subjects take turns within a round, medians over the rounds are reported.

mod answerer;
mod envoys;

use std::fs;
use std::path::{Path, PathBuf};

pub use answerer::AnswerArgs;
use anyhow::{Context, Result};
use envoys::{Behind, Edge, Filters};

use crate::gateway::load::{self, Load, Target, WARM_UP_SECONDS};
use crate::gateway::report::{Measured, Report};
use crate::gateway::sites::{Home, Site};
use crate::gateway::{Request, body, model};
use crate::report::median;

/// Those that have the filter.
const OURS: [&str; 4] = ["mark", "mark without bypass", "mirror 10 %", "score"];

/// Measure Envoy with the filter, without it, and with its own mirroring
#[derive(Debug, clap::Args)]
pub struct EdgeArgs {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Rounds, of which the median is reported
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Envoy (`make setup-servers`)
    #[arg(long, default_value = ".tools/bin/envoy", value_name = "PATH")]
    envoy: PathBuf,
    /// The gateway's program, instead of the one beside this program
    #[arg(long, value_name = "PATH")]
    gateway: Option<PathBuf>,
    /// Where the JSON report goes
    #[arg(long, default_value = "target/bench/edge.json")]
    output: PathBuf,
    /// Print the JSON report instead of the tables
    #[arg(long)]
    json: bool,
}

/// An Envoy under load.
struct Subject {
    name: &'static str,
    site: Site,
}

struct Bench<'a> {
    args: &'a EdgeArgs,
    work: PathBuf,
    token: String,
}

impl EdgeArgs {
    pub fn run(&self) -> Result<()> {
        let work = tempfile::tempdir()?;
        let (text, features) = model()?;
        let home = work.path().join("home");
        fs::create_dir(&home)?;
        let (component, _) = crate::costs::component("benchmark", &text)?;
        let home = Home::new(home, self.gateway.as_deref(), &component, &features)?;
        let gateway = home.gateway(0.0)?;
        let folder = |name: &str| -> Result<PathBuf> {
            let folder = work.path().join(name);
            fs::create_dir(&folder)?;
            Ok(folder)
        };
        let (app, shadow) = (answerer::start(&folder("app")?)?, answerer::start(&folder("shadow")?)?);
        let filters = Filters::write(work.path(), &text)?;
        let behind = Behind {
            app: app.address,
            shadow: shadow.address,
            gateway: gateway.address,
        };
        let start = |name: &'static str, edge: Edge| -> Result<Subject> {
            let site = edge.start(&self.envoy, &folder(name)?, &filters, &behind)?;
            Ok(Subject { name, site })
        };
        let bench = Bench {
            args: self,
            work: work.path().to_owned(),
            token: home.token.clone(),
        };
        let mut report = Report::new("edge", &OURS);
        let ranking = [
            start("no filter", Edge::Plain)?,
            start("mark", Edge::Mark)?,
            start("mark without bypass", Edge::MarkWithoutBypass)?,
            start("mirror 10 %", Edge::Mirror)?,
            start("native mirroring 10 %", Edge::Native)?,
        ];
        bench.measure(
            &mut report,
            &ranking,
            Request::Case,
            &body(Request::Case, &features).to_string(),
        )?;
        drop(ranking);
        let scoring = [start("hop to the gateway", Edge::Hop)?, start("score", Edge::Score)?];
        bench.measure(
            &mut report,
            &scoring,
            Request::OneRow,
            &body(Request::OneRow, &features).to_string(),
        )?;
        report.write(&self.output)?;
        match self.json {
            true => println!("{}", serde_json::to_string_pretty(&report.to_json())?),
            false => report.print(&self.output),
        }
        Ok(())
    }
}

impl Bench<'_> {
    /// Throughput of all, and times and processor time at half of what the first of them sustains.
    fn measure(&self, report: &mut Report, subjects: &[Subject], request: Request, body: &str) -> Result<()> {
        let path = self.work.join("body.json");
        fs::write(&path, body)?;
        let name = request.name();
        eprintln!("{name} ...");
        let medians = self.rounds(subjects, request, &path, None)?;
        let rate = medians.first().context("there are subjects")?.load.per_second / 2.0;
        report.measured.extend(medians);
        eprintln!("{name}, at {rate:.0} a second ...");
        report
            .measured
            .extend(self.rounds(subjects, request, &path, Some(rate))?);
        Ok(())
    }

    /// Medians for each subject, as fast as answers come or at a rate.
    fn rounds(&self, subjects: &[Subject], request: Request, body: &Path, rate: Option<f64>) -> Result<Vec<Measured>> {
        let mut rounds = vec![(Vec::new(), Vec::new()); subjects.len()];
        for _ in 0..self.args.rounds {
            for (subject, (loads, processor)) in subjects.iter().zip(&mut rounds) {
                let target = Target {
                    url: subject.site.url(request.path()),
                    body: body.to_owned(),
                    token: &self.token,
                };
                let before = subject.site.processor_seconds()?;
                let load = load::run(&target, self.args.seconds, rate, &self.work);
                loads.push(load.with_context(|| subject.name)?);
                let took = subject.site.processor_seconds()? - before;
                processor.extend(rate.map(|rate| took * 1e6 / (rate * f64::from(self.args.seconds + WARM_UP_SECONDS))));
            }
        }
        let case = match rate {
            Some(rate) => format!("{}, at {rate:.0} a second", request.name()),
            None => request.name(),
        };
        let measured = subjects.iter().zip(rounds).map(|(subject, (loads, processor))| {
            let load = Load::median(loads).context("--rounds is 0; allowed: 1 or more")?;
            let mut measured = Measured::new(subject.name, &case, load, subject.site.resident_bytes()?);
            measured.processor = median(processor);
            Ok(measured)
        });
        measured.collect()
    }
}
