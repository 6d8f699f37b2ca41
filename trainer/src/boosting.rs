//! The boosting loop, with early stopping and progress reports.

use crate::lightgbm::{Booster, Metric, ParameterError, Parameters};

/// When to stop; read from the parameters as Python's `lightgbm.train` does.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Maximum number of rounds, >= 1.
    pub rounds: usize,
    /// Stop after this many rounds without improvement; `None`: no early stopping.
    pub patience: Option<usize>,
    /// Only the first metric can stop the training.
    pub first_metric_only: bool,
    /// A score improves only if it is better than the best by more than this.
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
        // DART rescales earlier trees in every round, so no prefix of the model is usable.
        let dart = parameters.get("boosting") == Some("dart");
        Ok(Schedule {
            rounds: rounds as usize,
            patience: usize::try_from(patience).ok().filter(|&n| n > 0 && !dart),
            first_metric_only: parameters.switch("first_metric_only")?,
            min_delta,
        })
    }
}

/// Early stopping on one validation set.
///
/// Follows Python's `early_stopping` callback (`lightgbm/callback.py`) step by step. Every metric
/// has its own best score. The first metric that goes `patience` rounds without improvement ends
/// the training, and the model is cut at that metric's best iteration.
#[derive(Debug)]
pub struct EarlyStopping {
    schedule: Schedule,
    patience: usize,
    higher_is_better: Vec<bool>,
    watched: Vec<bool>,
    /// (score, 0-based round) for each metric; empty before the first round.
    best: Vec<(f64, usize)>,
}

impl EarlyStopping {
    /// `None` if the schedule has no early stopping.
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

    /// Records the scores of the 0-based `round`, in metric order. `Some(best)`: stop, and keep
    /// the first `best` iterations.
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

/// A validation metric that LightGBM does not have; larger is better. If given, only this metric
/// can stop the training.
pub struct CustomMetric<'a> {
    /// The metric's name. [`Metric::higher_is_better`] must be true for it.
    pub name: &'static str,
    /// Computes the metric from the predictions for the validation rows, in row order.
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
    /// Names of the metrics: the custom one first, then LightGBM's.
    pub metrics: Vec<String>,
    /// The validation scores of each round.
    pub rounds: Vec<Round>,
    /// The 1-based best iteration; without early stopping, the last one.
    pub best_iteration: usize,
    /// Whether the training ended before the last round.
    pub stopped_early: bool,
    /// The model's text, cut at the best iteration.
    pub model: String,
    /// Total gain by feature, up to the best iteration.
    pub gains: Vec<f64>,
}

/// Trains `booster`, which has one validation set. Calls `progress` after each round.
///
/// # Errors
/// A failure of LightGBM.
pub fn fit(
    booster: &mut Booster,
    schedule: &Schedule,
    custom_metric: Option<&CustomMetric>,
    mut progress: impl FnMut(&Round),
) -> Result<Fit, crate::lightgbm::Error> {
    let custom = custom_metric.map(|metric| Metric {
        name: metric.name.to_owned(),
    });
    let schedule = &Schedule {
        first_metric_only: schedule.first_metric_only || custom_metric.is_some(),
        ..schedule.clone()
    };
    let metrics: Vec<Metric> = custom.into_iter().chain(booster.metrics().iter().cloned()).collect();
    let mut stopping = EarlyStopping::new(schedule, &metrics);
    let mut rounds: Vec<Round> = Vec::new();
    let mut best = None;
    for round in 0..schedule.rounds {
        // Go on after an iteration that finds no split, as Python does: the next iteration draws
        // other features and may find one.
        booster.update()?;
        let mut scores = Vec::with_capacity(metrics.len());
        if let Some(metric) = custom_metric {
            scores.push((metric.score)(&booster.valid_predictions(0)?));
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
    // 0 saves all iterations: there was no early stopping.
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
