//! `make bench-edge`: what the filter costs in Envoy, and what it saves, beside Envoy without it, in one run.
//!
//! Each subject is an Envoy of its own with a worker for each processor; behind all of them is the same server, which does
//! nothing but answer, so that what is measured is Envoy. The load generator runs on the same machine, and takes its share
//! of what throughput is made of; so the processor time that Envoy itself takes for a request is measured, too, at a pace
//! that all sustain. In each round all subjects are started anew and take turns, another first each time; medians over the
//! rounds are reported. Where a process happens to lie in memory makes a percent of what it sustains, so that fewer
//! starts would measure that.

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
    #[arg(long, default_value_t = 1)]
    seconds: u32,
    /// Rounds, of which the median is reported
    #[arg(long, default_value_t = 11)]
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

/// What is measured, and under which name.
type Subject = (&'static str, Edge);

const RANKING: [Subject; 5] = [
    ("no filter", Edge::Plain),
    ("mark", Edge::Mark),
    ("mark without bypass", Edge::MarkWithoutBypass),
    ("mirror 10 %", Edge::Mirror),
    ("native mirroring 10 %", Edge::Native),
];
const SCORING: [Subject; 2] = [("hop to the gateway", Edge::Hop), ("score", Edge::Score)];

struct Bench<'a> {
    args: &'a EdgeArgs,
    work: PathBuf,
    token: String,
    filters: Filters,
    behind: Behind,
}

/// What was measured of one subject, round by round.
#[derive(Clone, Default)]
struct Rounds {
    loads: Vec<Load>,
    /// Microseconds that Envoy takes of a processor for a request.
    processor: Vec<f64>,
    resident_bytes: Vec<f64>,
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
        let bench = Bench {
            args: self,
            work: work.path().to_owned(),
            token: home.token.clone(),
            filters: Filters::write(work.path(), &text)?,
            behind: Behind {
                app: app.address,
                shadow: shadow.address,
                gateway: gateway.address,
            },
        };
        let mut report = Report::new("edge", &OURS);
        for (subjects, request) in [(&RANKING[..], Request::Case), (&SCORING, Request::OneRow)] {
            let body = body(request, &features).to_string();
            report.measured.extend(bench.measure(subjects, request, &body)?);
        }
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
    fn measure(&self, subjects: &[Subject], request: Request, body: &str) -> Result<Vec<Measured>> {
        let path = self.work.join("body.json");
        fs::write(&path, body)?;
        let name = request.name();
        eprintln!("{name} ...");
        let mut measured = self.rounds(subjects, request, &path, None)?;
        let rate = measured.first().context("there are subjects")?.load.per_second / 2.0;
        eprintln!("{name}, at {rate:.0} a second ...");
        measured.extend(self.rounds(subjects, request, &path, Some(rate))?);
        Ok(measured)
    }

    /// Medians for each subject, as fast as answers come or at a rate.
    fn rounds(&self, subjects: &[Subject], request: Request, body: &Path, rate: Option<f64>) -> Result<Vec<Measured>> {
        let mut all = vec![Rounds::default(); subjects.len()];
        for round in 0..self.args.rounds {
            let sites = subjects.iter().map(|subject| self.start(subject));
            let sites = sites.collect::<Result<Vec<Site>>>()?;
            for turn in 0..subjects.len() {
                let at = (round + turn) % subjects.len();
                let target = Target {
                    url: sites[at].url(request.path()),
                    body: body.to_owned(),
                    token: &self.token,
                };
                let turn = self.turn(&sites[at], &target, rate, &mut all[at]);
                turn.with_context(|| subjects[at].0)?;
            }
        }
        let case = match rate {
            Some(rate) => format!("{}, at {rate:.0} a second", request.name()),
            None => request.name(),
        };
        let measured = subjects.iter().zip(all).map(|((name, _), rounds)| {
            const NONE: &str = "--rounds is 0; allowed: 1 or more";
            let load = Load::median(rounds.loads).context(NONE)?;
            let resident_bytes = median(rounds.resident_bytes).context(NONE)?;
            let mut measured = Measured::new(name, &case, load, resident_bytes);
            measured.processor = median(rounds.processor);
            Ok(measured)
        });
        measured.collect()
    }

    fn start(&self, (name, edge): &Subject) -> Result<Site> {
        let folder = self.work.join(name);
        fs::create_dir_all(&folder)?;
        edge.start(&self.args.envoy, &folder, &self.filters, &self.behind)
    }

    fn turn(&self, site: &Site, target: &Target<'_>, rate: Option<f64>, rounds: &mut Rounds) -> Result<()> {
        let before = site.processor_seconds()?;
        rounds
            .loads
            .push(load::run(target, self.args.seconds, rate, &self.work)?);
        let took = site.processor_seconds()? - before;
        let seconds = f64::from(self.args.seconds + WARM_UP_SECONDS);
        rounds.processor.extend(rate.map(|rate| took * 1e6 / (rate * seconds)));
        rounds.resident_bytes.push(site.resident_bytes()?);
        Ok(())
    }
}
