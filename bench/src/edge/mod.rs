//! `make bench-edge`: what the filter costs in Envoy, and what it saves, beside Envoy without it, in one run.
//!
//! Each subject is an Envoy of its own with a worker for each processor; behind all of them is the same server, which does
//! nothing but answer, so that what is measured is Envoy. The load generator runs on the same machine, and takes its share
//! of what throughput is made of; so the processor time that Envoy itself takes for a request is measured, too, at a pace
//! that all sustain. Within a round subjects take turns, another first each time; medians over all rounds are reported.
//! Where a process happens to lie in memory makes a percent of what it sustains, so that all are started several times; and
//! each start has a turn that is not reported, because a sidecar runs for days.

mod answerer;
mod envoys;

use std::fs;
use std::path::PathBuf;

pub(crate) use answerer::AnswerArgs;
use anyhow::{Context, Result};
use envoys::{Behind, Edge, Filters};
use ranking::statistics::median;

use crate::gateway::load::{self, Load, Target, WARM_UP_SECONDS};
use crate::gateway::processes::{Home, Site};
use crate::gateway::report::{Measured, Report};
use crate::gateway::{Request, body, model};

/// Those that have the filter.
const OURS: [&str; 4] = ["mark", "mark without bypass", "mirror 10 %", "score"];

/// Measure Envoy with the filter, without it, and with its own mirroring
#[derive(Debug, clap::Args)]
pub(crate) struct EdgeArgs {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 1)]
    seconds: u32,
    /// Rounds for each start
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Times that all Envoys are started
    #[arg(long, default_value_t = 3)]
    starts: usize,
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
const NO_ROUNDS: &str = "--rounds is 0; allowed: 1 or more";

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
    pub(crate) fn run(&self) -> Result<()> {
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
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report.to_json())?)
        } else {
            report.print(&self.output)
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
        let mut fast = vec![Rounds::default(); subjects.len()];
        let mut paced = fast.clone();
        let mut pace = None;
        for start in 1..=self.args.starts {
            eprintln!("{name}, start {start} of {} ...", self.args.starts);
            let sites = subjects.iter().map(|subject| self.start(subject));
            let sites = sites.collect::<Result<Vec<Site>>>()?;
            let targets = sites.iter().map(|site| Target {
                url: site.url(request.path()),
                body: path.clone(),
                token: &self.token,
            });
            let under_load: Vec<_> = sites.iter().zip(targets).collect();
            self.rounds(
                subjects,
                &under_load,
                1,
                None,
                &mut vec![Rounds::default(); subjects.len()],
            )?;
            self.rounds(subjects, &under_load, self.args.rounds, None, &mut fast)?;
            let rate = match pace {
                Some(rate) => rate,
                None => Load::median(&fast[0].loads).context(NO_ROUNDS)?.per_second / 2.0,
            };
            pace = Some(rate);
            self.rounds(subjects, &under_load, self.args.rounds, pace, &mut paced)?;
        }
        let rate = pace.context("--starts is 0; allowed: 1 or more")?;
        let mut measured = medians(subjects, &name, fast)?;
        measured.extend(medians(subjects, &format!("{name}, at {rate:.0} a second"), paced)?);
        Ok(measured)
    }

    /// As fast as answers come or at a rate; each subject's figures go to its place in `all`.
    fn rounds(
        &self,
        subjects: &[Subject],
        under_load: &[(&Site, Target<'_>)],
        rounds: usize,
        rate: Option<f64>,
        all: &mut [Rounds],
    ) -> Result<()> {
        for round in 0..rounds {
            for turn in 0..under_load.len() {
                let at = (round + turn) % under_load.len();
                let (site, target) = &under_load[at];
                self.turn(site, target, rate, &mut all[at])
                    .with_context(|| subjects[at].0)?;
            }
        }
        Ok(())
    }

    fn start(&self, (name, edge): &Subject) -> Result<Site> {
        let folder = self.work.join(name);
        fs::create_dir_all(&folder)?;
        let site = edge.start(&self.args.envoy, &folder, &self.filters, &self.behind);
        site.with_context(|| *name)
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

fn medians(subjects: &[Subject], case: &str, all: Vec<Rounds>) -> Result<Vec<Measured>> {
    let measured = subjects.iter().zip(all).map(|((name, _), rounds)| {
        let load = Load::median(&rounds.loads).context(NO_ROUNDS)?;
        let resident_bytes = median(rounds.resident_bytes).context(NO_ROUNDS)?;
        let mut measured = Measured::new(name, case, load, resident_bytes);
        measured.processor = median(rounds.processor);
        Ok(measured)
    });
    measured.collect()
}
