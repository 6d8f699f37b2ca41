//! The types that the steps of a ranking pass on: the case and its rankings.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use hyper::header::HeaderMap;
use ranking::{Ranked, Unscored};
use uuid::Uuid;

use super::request::RankRequest;

/// A case to rank, and its request.
pub(super) struct Case {
    pub request: RankRequest,
    /// The caller's request id if it is a UUID, so that a retry is recognised; else a new one.
    pub id: Uuid,
    pub headers: HeaderMap,
    /// Whether the request is an edge copy, which leaves only the comparison.
    pub is_copy: bool,
    /// Whether a configured edge sent the request.
    pub by_edge: bool,
    pub now: DateTime<Utc>,
    /// When the last byte of the request was read.
    pub start: Instant,
    pub deadline: Instant,
}

impl Case {
    /// How many of `n` ranked lawyers are shown.
    pub(super) fn places(&self, n: usize) -> usize {
        self.request.top_n.unwrap_or(n).min(n)
    }
}

/// An LTR ranking and the time its scores took.
pub(super) struct LtrRanking {
    /// All candidates, best first.
    pub ranked: Vec<Ranked>,
    /// The model's score of each candidate, in the order of the request.
    pub scores: Vec<f64>,
    pub took: Duration,
}

/// A model's ranking of the case; `None` if no model was asked.
pub(super) type Outcome = Option<Result<LtrRanking, Unscored>>;

/// The rankings of a case.
pub(super) struct Rankings {
    /// All candidates, best first.
    pub legacy: Vec<Ranked>,
    /// By the model that is to answer.
    pub served: Outcome,
    /// By the model that is compared in shadow, unless it is the same model.
    pub shadow: Outcome,
}
