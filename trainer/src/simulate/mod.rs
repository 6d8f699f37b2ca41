//! `ltr-trainer simulate`: runs a marketplace with known preferences against a gateway over HTTP.
//!
//! ```text
//! market (lawyers, cases) -> /rank -> client (examines, clicks, contacts, signs) -> deliveries -> /events
//! ```
//!
//! For each day, the simulator steps the gateway's release controller to midnight, and requests all
//! rankings concurrently. It then posts the clients'
//! actions in the order in which their phones send them, some late or twice. A client's actions
//! depend on the seed and on the ranking shown, but not on response times, so a seed gives the same
//! events on every machine. Events sent after the last day are posted at the end.

mod chance;
mod client;
mod conditions;
mod deliveries;
mod gateway;
mod ledger;
mod market;
mod ranker;
mod summary;

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use chrono::{DateTime, Days, Duration, NaiveDate, NaiveTime, Utc};
use indicatif::ProgressBar;
use ranking::features::DEFAULT_FEATURES;
use ranking::{ActionKind, Weights};
use settings::Settings;
use tokio::task::JoinSet;

pub use client::Truth;
pub use conditions::Conditions;
pub use ranker::Quality;

use crate::outcome::Permanent;
use crate::progress;
use crate::publish::{self, Published};
use client::{Attention, Shown, respond};
use conditions::Scale;
use deliveries::Deliveries;
use gateway::{Gateway, Ranking};
use ledger::Ledger;
use market::{Case, Market};
use ranker::Ranker;
use summary::Summary;

/// Concurrent `/rank` calls.
const CONCURRENCY: usize = 32;
/// Events posted in one call.
const BATCH: usize = 500;

/// Simulates a marketplace against a running gateway
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The gateway must take the time from request headers: LTR_HOST__CLOCK=header ltr-host serve\n\n\
    Examples:\n  ltr-trainer simulate --from 2026-09-01T00:00:00Z --days 30\n  \
    ltr-trainer simulate --from 2026-10-01T00:00:00Z --days 14 --cases-per-day 600 --json\n  \
    ltr-trainer simulate --from 2026-10-01T00:00:00Z --examination 1 --day-shocks 0.3 --repeat-users 0.2 \\\n    \
    --late-labels 0.1 --drift 0.3\n  \
    ltr-trainer simulate --from 2026-10-01T00:00:00Z --examination 1 --publish-ranker random"
)]
pub struct Args {
    /// URL of the gateway
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// First day, as an RFC 3339 time; only its date is used
    #[arg(long)]
    pub from: DateTime<Utc>,
    /// Number of days to simulate
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// Cases opened per day
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub cases_per_day: u32,
    /// Random seed of the market, its cases and its clients; cases differ by seed and date
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// What clients truly want
    #[arg(long, value_enum, default_value_t = Truth::Interactions)]
    pub truth: Truth,
    /// A client looks at position p with probability p^-ETA (0: at all of them); default: most clients read
    /// most of the list
    #[arg(long, value_name = "ETA", value_parser = read_eta)]
    pub examination: Option<f64>,
    /// What the market does beside the truth.
    #[command(flatten)]
    pub conditions: Conditions,
    /// First publish a model of this quality against the truth, around the gate: manifest and ledger say so
    #[arg(long, value_enum, value_name = "QUALITY")]
    pub publish_ranker: Option<Quality>,
    /// Request shadow scoring for every case, not only for sampled ones
    #[arg(long)]
    pub force_shadow: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Any unexpected response of the gateway ends the run; the error contains its body. A model that cannot be made or
/// published.
pub async fn run(args: Args, settings: &Settings) -> anyhow::Result<()> {
    let schema = settings.schema();
    ensure!(
        schema.names().iter().map(String::as_str).eq(DEFAULT_FEATURES),
        "ranking.features: {:?}; allowed for a simulation: {DEFAULT_FEATURES:?}",
        schema.names()
    );
    ensure!(
        args.conditions.drift == 0.0 || args.truth == Truth::Interactions,
        Permanent::Usage(format!(
            "--drift {}: allowed with --truth legacy: 0, because that truth is what the legacy ranking measures",
            args.conditions.drift
        ))
    );
    let json = args.json;
    let quality = args.publish_ranker;
    let mut simulation = Simulation::new(args, settings.presets().default_weights().clone(), &settings.client)?;
    let published = match quality {
        Some(quality) => Some(simulation.publish(quality, settings).await?),
        None => None,
    };
    let started = Instant::now();
    let scored_before = simulation.gateway.shadow_scored().await?;
    simulation.days().await?;
    simulation.deliver(None).await?;
    simulation.bar.finish_and_clear();
    let mut summary = simulation.summary;
    summary.shadow_scored = simulation.gateway.shadow_scored().await?.saturating_sub(scored_before);
    summary.finish(started.elapsed());
    summary.published = published;
    ensure!(
        summary.duplicates == summary.sent_twice,
        "{} events were sent twice, but the gateway reported {} duplicates; was this period simulated before with this database?",
        summary.sent_twice,
        summary.duplicates
    );
    if json {
        return crate::console::json(&summary);
    }
    summary.print();
    Ok(())
}

fn read_eta(text: &str) -> Result<f64, String> {
    let eta = text.parse::<f64>().ok().filter(|eta| (0.0..=10.0).contains(eta));
    eta.ok_or_else(|| "allowed: 0 to 10".to_owned())
}

struct Simulation {
    args: Args,
    legacy: Weights,
    gateway: Gateway,
    market: Market,
    ledger: Ledger,
    deliveries: Deliveries,
    summary: Summary,
    bar: ProgressBar,
}

impl Simulation {
    fn new(args: Args, legacy: Weights, caller: &settings::Client) -> anyhow::Result<Simulation> {
        let market = Market::new(args.seed);
        Ok(Simulation {
            gateway: Gateway::new(&args.url, caller)?,
            legacy,
            ledger: Ledger::new(&market),
            market,
            deliveries: Deliveries::default(),
            summary: Summary::new(&args),
            bar: progress::bar("simulate", args.days as usize * args.cases_per_day as usize),
            args,
        })
    }

    /// Publishes a model of known quality, as of the first day.
    async fn publish(&self, quality: Quality, settings: &Settings) -> anyhow::Result<Published> {
        let args = &self.args;
        let as_of = midnight(args.from.date_naive());
        let drift = args.conditions.drift(args.seed, as_of);
        let ranker = Ranker::grow(quality, args.truth, drift, &self.market, args.seed, &self.legacy)?;
        let published = ranker.publish(as_of, settings).await?;
        if !args.json {
            publish::print_published(&published);
        }
        publish::check_deliveries(&published, settings)?;
        Ok(published)
    }

    async fn days(&mut self) -> anyhow::Result<()> {
        let first = self.args.from.date_naive();
        for number in 0..self.args.days {
            let day = first
                .checked_add_days(Days::new(number.into()))
                .with_context(|| format!("--from {first} with {number} days is beyond the calendar"))?;
            self.day(day).await?;
            self.deliver(Some(midnight(day) + Duration::days(1))).await?;
            if !std::io::stderr().is_terminal() && (number + 1) % 7 == 0 {
                eprintln!(
                    "simulate: {day}: {} cases, {} contracts",
                    self.summary.cases, self.summary.contracts
                );
            }
        }
        Ok(())
    }

    async fn day(&mut self, day: NaiveDate) -> anyhow::Result<()> {
        let indices = 0..u64::from(self.args.cases_per_day);
        let (args, market) = (&self.args, &self.market);
        let scale = Scale {
            seed: args.seed,
            cases_per_day: args.cases_per_day,
        };
        let case = |index| {
            let case = market.case(args.seed, day, index);
            let user_id = args.conditions.user(scale, day, index).unwrap_or(case.user_id);
            Case { user_id, ..case }
        };
        let mut cases: Vec<Case> = indices.map(case).collect();
        cases.sort_by_key(|case| (case.opened_at, case.case_id));
        self.gateway.step(midnight(day)).await?;
        let answers = self.rank(&cases, midnight(day)).await?;
        let signs = self.args.conditions.signs(self.args.seed, day);
        for (case, answer) in cases.iter().zip(answers) {
            self.react(case, &answer, signs)?;
        }
        Ok(())
    }

    /// Ranks a day's cases concurrently; the rankings are in the order of the cases.
    async fn rank(&self, cases: &[Case], midnight: DateTime<Utc>) -> anyhow::Result<Vec<Ranking>> {
        let mut waiting: VecDeque<usize> = (0..cases.len()).collect();
        let mut under_way = JoinSet::new();
        let mut answers: Vec<Option<Ranking>> = cases.iter().map(|_| None).collect();
        loop {
            while under_way.len() < CONCURRENCY
                && let Some(i) = waiting.pop_front()
            {
                let case = &cases[i];
                let body = self.ledger.request(&self.market, case, midnight);
                let (gateway, id, now) = (self.gateway.clone(), case.request_id, case.opened_at);
                let shadow = self.args.force_shadow;
                under_way.spawn(async move { (i, gateway.rank(id, now, shadow, body).await) });
            }
            let Some(done) = under_way.join_next().await else { break };
            let (i, answer) = done?;
            answers[i] = Some(answer?);
            self.bar.inc(1);
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Plans the client's actions on a ranking, and records offers and contracts in the ledger.
    fn react(&mut self, case: &Case, answer: &Ranking, signs: f64) -> anyhow::Result<()> {
        let drift = self.args.conditions.drift(self.args.seed, case.opened_at);
        let mut shown = Vec::with_capacity(case.offers.len());
        for place in &answer.ranking {
            let offer = case
                .offers
                .iter()
                .find(|o| self.market.lawyers[o.lawyer].id == place.lawyer_id);
            let Some(offer) = offer else {
                bail!(
                    "POST /rank for case {} returned lawyer {:?}, who was not in the request",
                    case.case_id,
                    place.lawyer_id
                );
            };
            let quality = self.market.lawyers[offer.lawyer].quality;
            shown.push(Shown {
                lawyer: offer.lawyer,
                rank_pos: place.rank_pos,
                utility: self.args.truth.utility(&offer.features, quality, &self.legacy, drift),
            });
            self.ledger.offer(offer.lawyer, case.opened_at);
        }
        let rng = &mut chance::stream(self.args.seed, "client of", &case.case_id.to_string(), 0);
        let attention = self.args.examination.map_or(Attention::Patient, Attention::Eta);
        let mut acts = respond(rng, case.opened_at, &shown, attention, signs);
        self.args.conditions.delay(self.args.seed, &mut acts);
        for act in &acts {
            self.deliveries.plan(&self.market, case, act);
            if act.kind == ActionKind::ContractSigned {
                self.ledger.sign(act.lawyer, act.ts);
            }
        }
        self.summary.count(case.user_id, answer, &acts);
        Ok(())
    }

    /// Posts the events sent before `end`, in order; alternates between JSON arrays and NDJSON.
    async fn deliver(&mut self, end: Option<DateTime<Utc>>) -> anyhow::Result<()> {
        for lines in [false, true].into_iter().cycle() {
            let batch = self.deliveries.take(end, BATCH);
            let Some(now) = batch.last().map(|delivery| delivery.at) else {
                break;
            };
            let events: Vec<_> = batch.into_iter().map(|delivery| delivery.event).collect();
            let receipt = self.gateway.events(now, &events, lines).await?;
            self.summary.receive(&receipt);
        }
        Ok(())
    }
}

fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests;
