//! One model in the hands of every subject, and the rounds in which they take turns.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use gbdt::decision_tree::{Data, DataVec};
use gbdt::gradient_boost::GBDT;
use lightgbm3::Booster;
use rand_chacha::ChaCha8Rng;
use runtime::{Output, Scorer};

use crate::data::Source;
use crate::models::gbdt_row;
use crate::peers::Peers;
use ranking::statistics::median;
use testkit::PATIENCE;

use crate::report::{Difference, Line};

/// Trees walked in a round, whatever the batch: enough that neither the clock's grain matters nor what a subject finds
/// in the caches from the one before, which is gone after the first of its calls.
const TREES_A_ROUND: usize = 2_000_000;

/// What scores a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Component,
    LightGbm,
    LightGbmFast,
    Gbdt,
    Peer(usize),
}

/// Who can score with one model.
pub(crate) struct Matchup {
    pub component: Scorer,
    pub lightgbm: Booster,
    pub gbdt: Option<GBDT>,
    pub peers: Option<Peers>,
    /// Without it, LightGBM's scores are compared but its time is not measured.
    pub time_lightgbm: bool,
    pub trees: usize,
}

/// Nanoseconds of all calls, and the scores.
type Scored = (f64, Vec<f64>);

impl Matchup {
    /// Measures every batch size in `batches`; `progress` is called after each round.
    pub(crate) fn measure(
        &mut self,
        source: &Source,
        rng: &mut ChaCha8Rng,
        batches: &[usize],
        rounds: usize,
        mut progress: impl FnMut(),
    ) -> Result<Vec<Line>> {
        let mut lines: Vec<(Subject, Line)> = self.subjects().into_iter().map(|s| (s, self.line(s))).collect();
        for &batch in batches {
            let calls = (TREES_A_ROUND / self.trees / batch).max(1);
            let mut times = vec![Vec::new(); lines.len()];
            // The first round wakes everything up and is not counted.
            for round in 0..=rounds {
                let rows = source.draw(rng, calls * batch);
                if let Some(peers) = &mut self.peers {
                    peers.take_rows(&rows, source.width())?;
                }
                let mut order: Vec<usize> = (0..lines.len()).collect();
                if round % 2 == 1 {
                    order.reverse();
                }
                let mut scored: Vec<Option<Scored>> = vec![None; lines.len()];
                for at in order.into_iter().filter(|&at| lines[at].0.takes(batch)) {
                    scored[at] = Some(self.score(lines[at].0, &rows, batch)?);
                }
                let timed = lines.iter().position(|(subject, _)| *subject == Subject::LightGbm);
                let expected = match timed.and_then(|at| scored[at].as_ref()) {
                    Some((_, scores)) => scores.clone(),
                    None => self.score(Subject::LightGbm, &rows, batch)?.1,
                };
                for (at, ((_, line), scored)) in lines.iter_mut().zip(scored).enumerate() {
                    let Some((ns, scores)) = scored else { continue };
                    line.difference
                        .observe(&scores, &expected)
                        .with_context(|| format!("{} in batches of {batch}", line.subject))?;
                    if round > 0 {
                        times[at].push(ns / (calls * batch) as f64);
                    }
                }
                progress();
            }
            for ((_, line), times) in lines.iter_mut().zip(times) {
                line.ns.push(median(times));
            }
        }
        Ok(lines.into_iter().map(|(_, line)| line).collect())
    }

    fn subjects(&self) -> Vec<Subject> {
        let mut subjects = vec![Subject::Component];
        if self.time_lightgbm {
            subjects.extend([Subject::LightGbm, Subject::LightGbmFast]);
        }
        if let Some(peers) = &self.peers {
            let measured = peers.facts().iter().enumerate();
            subjects.extend(
                measured
                    .filter(|(_, f)| f.not_measured.is_none())
                    .map(|(at, _)| Subject::Peer(at)),
            );
        }
        if self.gbdt.is_some() {
            subjects.push(Subject::Gbdt);
        }
        subjects
    }

    fn line(&self, subject: Subject) -> Line {
        let (name, difference) = match (subject, &self.peers) {
            (Subject::Component, _) => ("component", Difference::Forbidden),
            (Subject::LightGbm, _) => ("LightGBM", Difference::Forbidden),
            (Subject::LightGbmFast, _) => ("LightGBM single-row fast", Difference::Forbidden),
            (Subject::Gbdt, _) => ("gbdt (a model of its own)", Difference::OtherModel),
            (Subject::Peer(at), Some(peers)) => {
                let facts = &peers.facts()[at];
                let difference = if facts.exact {
                    Difference::Forbidden
                } else {
                    Difference::Allowed(0.0)
                };
                (facts.name.as_str(), difference)
            }
            (Subject::Peer(_), None) => unreachable!("peers are counted from their process"),
        };
        Line {
            subject: name.to_owned(),
            difference,
            ns: Vec::new(),
        }
    }

    fn score(&mut self, subject: Subject, rows: &[f64], batch: usize) -> Result<Scored> {
        let width = self.component.width();
        let per_call = batch * width;
        let mut scores = Vec::with_capacity(rows.len() / width);
        match subject {
            Subject::Component => timed(|| {
                for rows in rows.chunks(per_call) {
                    scores.extend(self.component.score(rows, Output::Converted, PATIENCE)?);
                }
                Ok(scores)
            }),
            Subject::LightGbm => timed(|| {
                for rows in rows.chunks(per_call) {
                    let part = self
                        .lightgbm
                        .predict_with_params(rows, width as i32, true, "num_threads=1")?;
                    scores.extend(part);
                }
                Ok(scores)
            }),
            Subject::LightGbmFast => timed(|| {
                for row in rows.chunks(width) {
                    scores.extend(self.lightgbm.predict_single_row_fast(row)?);
                }
                Ok(scores)
            }),
            Subject::Gbdt => {
                let model = self.gbdt.as_ref().context("gbdt takes part only when it is trained")?;
                // A caller can fill the structures that it takes directly, so that this is not timed.
                let row = |row| Data::new_test_data(gbdt_row(row), None);
                let batches: Vec<DataVec> = rows
                    .chunks(per_call)
                    .map(|rows| rows.chunks(width).map(row).collect())
                    .collect();
                timed(|| {
                    for rows in &batches {
                        scores.extend(model.predict(rows).into_iter().map(f64::from));
                    }
                    Ok(scores)
                })
            }
            Subject::Peer(at) => {
                let peers = self.peers.as_mut().context("peers take part only with their process")?;
                let (ns, scores) = peers.score(at, batch)?;
                ensure!(
                    scores.len() == rows.len() / width,
                    "{} scores for {} rows",
                    scores.len(),
                    rows.len() / width
                );
                Ok((ns, scores))
            }
        }
    }
}

impl Subject {
    fn takes(self, batch: usize) -> bool {
        self != Subject::LightGbmFast || batch == 1
    }
}

fn timed(work: impl FnOnce() -> Result<Vec<f64>>) -> Result<Scored> {
    let start = Instant::now();
    let scores = work()?;
    Ok((start.elapsed().as_nanos() as f64, scores))
}
