//! What it costs to leave what is shown to chance: users who are held out, rankings drafted in turn, neighbours swapped by
//! a coin. Each is done for every request here, which no rollout does, so that any mix of them costs less than the worst.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use ranking::release::{Display, Exposure, Findings, Input, Judgement, Rules, Rung, State, TrialStep, ledger, step};
use serde_json::{Value, json};
use store::{Commit, Committed, RolloutState, Store};
use testkit::PATIENCE;
use uuid::Uuid;

use super::load::{Load, Target};
use super::processes::{Home, SERVED, Site};
use super::report::{Beside, Measured};
use super::{Bench, Report, Request, drawn};

/// A few per cent are lost in the noise of fewer rounds.
const LEAST_ROUNDS: usize = 5;
/// Share of the users who are held out.
const HOLD_OUT: f64 = 0.05;
/// Answers to one case in which a fair coin falls on both sides, but for one try in thousands.
const ANSWERS: usize = 16;
/// The subject that all others are measured beside.
const WHOLE: &str = "LTR to everybody";

/// A gateway that shows rankings in one way, with a case of a user who is not held out.
struct Subject {
    name: &'static str,
    home: Home,
    site: Site,
    case: Value,
    body: PathBuf,
}

impl Bench<'_> {
    /// Throughput with chance beside that without.
    pub(super) fn display(&self, report: &mut Report) -> Result<()> {
        let swapped = self.subject("swapped", Some(Display::Whole), 1.0, None)?;
        let lawyers = Some(&swapped.case["lawyers"]);
        let subjects = [
            self.subject(WHOLE, None, 0.0, lawyers)?,
            self.subject("interleaved", Some(Display::Interleaved), 0.0, lawyers)?,
            swapped,
        ];
        let rounds = self.args.rounds.max(LEAST_ROUNDS);
        let mut loads: Vec<Vec<Load>> = vec![Vec::new(); subjects.len()];
        for round in 1..=rounds {
            eprintln!("what is shown by chance, round {round} of {rounds} ...");
            for (subject, loads) in subjects.iter().zip(&mut loads) {
                let target = Target {
                    url: subject.site.url(Request::Case.path()),
                    body: subject.body.clone(),
                    token: &subject.home.token,
                };
                loads.push(self.run(&target, None).with_context(|| subject.name)?);
            }
        }
        let case = format!("{}, hold-out {:.0} %", Request::Case.name(), HOLD_OUT * 100.0);
        for (subject, own) in subjects.iter().zip(&loads) {
            let load = Load::median(own).context("there are rounds")?;
            let memory = subject.site.resident_bytes()?;
            report.measured.push(Measured::new(subject.name, &case, load, memory));
            let ratios = own
                .iter()
                .zip(&loads[0])
                .map(|(own, whole)| own.per_second / whole.per_second);
            let ratio = ranking::statistics::median(ratios.collect()).context("there are rounds")?;
            if subject.name != WHOLE {
                report.beside.push(Beside {
                    subject: subject.name.to_owned(),
                    peer: WHOLE.to_owned(),
                    case: case.clone(),
                    ratio,
                    rounds,
                });
            }
        }
        Ok(())
    }

    /// A gateway of its own, with its own database. `display`: how its model is shown beside a hold-out; `None`: to all users
    /// as it is, without one. `lawyers`: those of its case; `None`: any that fit.
    fn subject(
        &self,
        name: &'static str,
        display: Option<Display>,
        swaps: f64,
        lawyers: Option<&Value>,
    ) -> Result<Subject> {
        let dir = self.work.join(name);
        fs::create_dir(&dir)?;
        let (component, _) = crate::costs::component(SERVED, &self.text)?;
        let home = Home::new(dir, self.args.gateway.as_deref(), &component, &self.features)?;
        let site = home.start(&[
            ("LTR_SHADOW__FRACTION", "0".to_owned()),
            ("LTR_SWAPS__SHARE", swaps.to_string()),
            // It is measured at its limit, and stays.
            ("LTR_ROLLOUT__EVALUATE_SECONDS", "3600".to_owned()),
        ])?;
        home.load(&site, SERVED)?;
        match display {
            None => {
                let serve = json!({ "weight": 100, "version": SERVED });
                site.post("/rollout/weight", &home.token, &serve).map(drop)?;
            }
            Some(display) => tokio::runtime::Runtime::new()?.block_on(promote(&home, display))?,
        }
        let shows = |case: &Value| -> Result<bool> {
            let answers = (0..ANSWERS).map(|_| site.post("/rank", &home.token, case));
            Ok(is_shown(&answers.collect::<Result<Vec<_>>>()?, display, swaps > 0.0))
        };
        let case = self.case(lawyers, shows).with_context(|| name)?;
        let body = self.work.join(format!("{name}.json"));
        fs::write(&body, case.to_string())?;
        Ok(Subject {
            name,
            home,
            site,
            case,
            body,
        })
    }

    /// A case that the gateway shows as it should, once it follows the promotion.
    fn case(&self, lawyers: Option<&Value>, shows: impl Fn(&Value) -> Result<bool>) -> Result<Value> {
        let begun = Instant::now();
        let mut number = 0;
        loop {
            number += 1;
            let mut case = drawn(Request::Case, &self.features, number);
            case["case"]["user_id"] = json!(Uuid::from_u128(number.into()));
            match lawyers {
                Some(lawyers) => case["lawyers"] = lawyers.clone(),
                None => alike(&mut case),
            }
            if shows(&case)? {
                return Ok(case);
            }
            ensure!(
                begun.elapsed() < PATIENCE,
                "none of {number} cases is shown as it should be"
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Whether the user is not held out, and the first two lawyers are among those that a coin may swap.
fn is_shown(answers: &[Value], display: Option<Display>, is_swapped: bool) -> bool {
    let wanted = match display {
        Some(Display::Interleaved) => "interleaved",
        Some(Display::Whole) | None => "ltr",
    };
    let first = |answer: &Value| answer["ranking"][0]["lawyer_id"].clone();
    let varies = answers.iter().any(|answer| first(answer) != first(&answers[0]));
    answers.iter().all(|answer| answer["source"] == wanted) && (varies || !is_swapped)
}

/// Lawyers with the same free capacity, of one group.
fn alike(case: &mut Value) {
    for lawyer in case["lawyers"].as_array_mut().into_iter().flatten() {
        lawyer["cases_30d"] = json!(10);
        lawyer["groups"] = json!({ "gender": "F" });
    }
}

/// Puts on record that the model was promoted, by the state machine and without its evidence, to all users but the hold-out.
async fn promote(home: &Home, display: Display) -> Result<()> {
    let store = Store::open(home.database_url().as_str()).await?;
    let begun = Instant::now();
    let (state, head) = loop {
        ensure!(begun.elapsed() < PATIENCE, "the gateway has not proposed its model");
        if let Some(released) = store.released().await? {
            let state: State = serde_json::from_str(&released.state)?;
            if state.challenger.is_some() {
                break (state, released.head);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let now = Utc::now();
    let transition = step(&state, &Input::Evaluation(evidence(&state, now)?), now, &rules(display));
    let transition = transition?.context("the state machine does not promote")?;
    let sealed = ledger::seal(&transition, now, None, &head);
    let commit = Commit {
        expected: state.version,
        state: &serde_json::to_string(&transition.state)?,
        entry: &sealed.text,
        hash: &sealed.hash,
        command: None,
        mirror: &RolloutState {
            weight: transition.state.exposure.percent(),
            champion: Some(SERVED.to_owned()),
            challenger: None,
        },
        outbox: &[],
        lease: None,
    };
    let committed = store.commit_release(&commit).await?;
    store.close().await;
    ensure!(committed == Committed::Done, "the promotion: {committed:?}");
    Ok(())
}

fn evidence(state: &State, now: DateTime<Utc>) -> Result<Findings> {
    let judgement = Judgement {
        model: state.challenger.clone().context("there is a challenger")?,
        as_of: now,
        promote: true,
        trial: false,
        futility: None,
        guards: None,
        criteria: Vec::new(),
        evidence: json!({ "by": "the benchmark" }),
    };
    Ok(Findings {
        judgements: vec![judgement],
        ..Findings::default()
    })
}

fn rules(display: Display) -> Rules {
    Rules {
        ladder: vec![Rung {
            share: 1.0,
            display,
            min_hours: 8_760.0,
            criteria: Vec::new(),
        }],
        hold_out: HOLD_OUT,
        trial: TrialStep {
            share: 0.0,
            patience: TimeDelta::zero(),
        },
        confirm: Exposure::NONE,
        cool_down: TimeDelta::zero(),
        automatic: true,
        queues: false,
    }
}
