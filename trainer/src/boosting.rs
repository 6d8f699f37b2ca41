//! The boosting loop: rounds, early stopping, progress.

use crate::lightgbm::{Booster, Metric, ParameterError, Parameters};

/// When to stop, read from the parameters the way Python's `lightgbm.train` reads them.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Rounds at most, >= 1.
    pub rounds: usize,
    /// Stop after this many rounds without improvement; `None`: never.
    pub patience: Option<usize>,
    /// Only the first metric can stop the training.
    pub first_metric_only: bool,
    /// What counts as an improvement.
    pub min_delta: f64,
}

impl Schedule {
    /// Reads `num_iterations` (`default_rounds` if it is not given), `early_stopping_round`,
    /// `first_metric_only`, `early_stopping_min_delta` and `boosting`.
    ///
    /// # Errors
    /// A value out of range, naming key, value and what is allowed.
    pub fn from_parameters(parameters: &Parameters, default_rounds: usize) -> Result<Schedule, ParameterError> {
        let refuse = |key: &str, value: String, allowed| ParameterError::Value {
            key: key.to_owned(),
            value,
            allowed,
        };
        let rounds = parameters
            .integer("num_iterations")?
            .unwrap_or(i64::try_from(default_rounds).unwrap_or(i64::MAX));
        if !(1..=1_000_000).contains(&rounds) {
            let allowed = "a whole number, 1 to 1000000";
            return Err(refuse("num_iterations", rounds.to_string(), allowed));
        }
        let min_delta = parameters.number("early_stopping_min_delta")?.unwrap_or(0.0);
        if !(min_delta >= 0.0 && min_delta.is_finite()) {
            let (value, allowed) = (min_delta.to_string(), "a number >= 0");
            return Err(refuse("early_stopping_min_delta", value, allowed));
        }
        let patience = parameters.integer("early_stopping_round")?.unwrap_or(0);
        // DART rescales earlier trees in every round, so a best iteration cannot be cut out.
        let dart = parameters.get("boosting") == Some("dart");
        Ok(Schedule {
            rounds: rounds as usize,
            patience: usize::try_from(patience).ok().filter(|&n| n > 0 && !dart),
            first_metric_only: parameters.switch("first_metric_only")?,
            min_delta,
        })
    }
}

/// Early stopping on one validation set, step for step as Python's `early_stopping` callback
/// (`lightgbm/callback.py`): every metric keeps its own best; the first one that has gone
/// `patience` rounds without improving ends the training, and its best iteration is the model's.
#[derive(Debug)]
pub struct EarlyStopping {
    schedule: Schedule,
    patience: usize,
    higher_is_better: Vec<bool>,
    watched: Vec<bool>,
    /// (score, 0-based round), once there was a round.
    best: Vec<(f64, usize)>,
}

impl EarlyStopping {
    /// `None` when the schedule has no early stopping.
    pub fn new(schedule: &Schedule, metrics: &[Metric]) -> Option<EarlyStopping> {
        let patience = schedule.patience?;
        let first = metrics.first().map(|m| m.name.as_str());
        let watches = |m: &Metric| !schedule.first_metric_only || Some(m.name.as_str()) == first;
        Some(EarlyStopping {
            patience,
            higher_is_better: metrics.iter().map(Metric::higher_is_better).collect(),
            watched: metrics.iter().map(watches).collect(),
            schedule: schedule.clone(),
            best: Vec::new(),
        })
    }

    /// Takes the scores of 0-based `round`, in metric order. `Some(best)`: stop, and keep the
    /// first `best` iterations.
    pub fn observe(&mut self, round: usize, scores: &[f64]) -> Option<usize> {
        if self.best.is_empty() {
            self.best = scores.iter().map(|&score| (score, round)).collect();
        }
        let last = round + 1 == self.schedule.rounds;
        for (at, &score) in scores.iter().enumerate() {
            let (best_score, best_round) = &mut self.best[at];
            let improved = if self.higher_is_better[at] {
                score > *best_score + self.schedule.min_delta
            } else {
                score < *best_score - self.schedule.min_delta
            };
            if improved {
                (*best_score, *best_round) = (score, round);
            }
            if self.watched[at] && (round - *best_round >= self.patience || last) {
                return Some(*best_round + 1);
            }
        }
        None
    }
}

/// A measure of the validation part that LightGBM does not know. Where there is one, it alone can stop the training;
/// larger is better.
pub struct CustomMetric<'a> {
    /// Its name among the metrics; of a kind that grows as it improves, see [`Metric::higher_is_better`].
    pub name: &'static str,
    /// From the predictions for the validation rows, in their order.
    pub score: &'a dyn Fn(&[f64]) -> f64,
}

/// The validation scores of one round.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// 1-based.
    pub round: usize,
    /// In the order of [`Fit::metrics`].
    pub scores: Vec<f64>,
}

/// A finished training.
#[derive(Debug, Clone)]
pub struct Fit {
    /// LightGBM's names of the metrics.
    pub metrics: Vec<String>,
    /// One entry a round grown.
    pub rounds: Vec<Round>,
    /// The 1-based best iteration; without early stopping, the last one grown.
    pub best_iteration: usize,
    /// Whether the training ended because of early stopping rather than at the last round.
    pub stopped_early: bool,
    /// The model's text, cut at the best iteration.
    pub model: String,
    /// Total gain by feature, cut the same way.
    pub gains: Vec<f64>,
}

/// Grows `booster`, which has one validation set, by `schedule`. `progress` is told every round.
///
/// # Errors
/// LightGBM's refusal.
pub fn fit(
    booster: &mut Booster,
    schedule: &Schedule,
    custom_metric: Option<&CustomMetric>,
    mut progress: impl FnMut(&Round),
) -> Result<Fit, crate::lightgbm::Error> {
    let own = custom_metric.map(|custom_metric| Metric {
        name: custom_metric.name.to_owned(),
    });
    let schedule = &Schedule {
        first_metric_only: schedule.first_metric_only || custom_metric.is_some(),
        ..schedule.clone()
    };
    let metrics: Vec<Metric> = own.into_iter().chain(booster.metrics().iter().cloned()).collect();
    let mut stopping = EarlyStopping::new(schedule, &metrics);
    let mut rounds: Vec<Round> = Vec::new();
    let mut best = None;
    for round in 0..schedule.rounds {
        // An iteration that finds no split adds nothing, but the next one draws other features
        // and may: Python goes on as well, so the same model needs the same.
        booster.update()?;
        let mut scores = Vec::with_capacity(metrics.len());
        if let Some(custom_metric) = custom_metric {
            scores.push((custom_metric.score)(&booster.valid_predictions(0)?));
        }
        scores.extend(booster.evaluate(0)?);
        rounds.push(Round {
            round: round + 1,
            scores,
        });
        let scored = &rounds[round];
        progress(scored);
        best = stopping
            .as_mut()
            .and_then(|stopping| stopping.observe(round, &scored.scores));
        if best.is_some() {
            break;
        }
    }
    // 0 saves every iteration, which is what training without early stopping wants.
    let kept = best.unwrap_or(0);
    Ok(Fit {
        metrics: metrics.into_iter().map(|metric| metric.name).collect(),
        best_iteration: best.unwrap_or(rounds.len()),
        stopped_early: rounds.len() < schedule.rounds,
        model: booster.to_text(kept)?,
        gains: booster.gain_importance(kept)?,
        rounds,
    })
}

#[cfg(test)]
mod tests;
