//! A case on its way through the steps, and what the rankers made of it.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use hyper::header::HeaderMap;
use ranking::{Ranked, Unscored};
use uuid::Uuid;

use super::request::RankRequest;

/// A case to be ranked, and what is known of its request.
pub(super) struct Case {
    pub request: RankRequest,
    /// The caller's, where it is a UUID, so that a retry is recognised.
    pub id: Uuid,
    pub headers: HeaderMap,
    /// An edge copy leaves nothing but the comparison.
    pub is_copy: bool,
    /// Whether a configured edge sent it.
    pub by_edge: bool,
    pub now: DateTime<Utc>,
    /// When its last byte was here.
    pub start: Instant,
    pub deadline: Instant,
}

/// An LTR ranking and the time its scores took.
pub(super) struct LtrRanking {
    pub ranked: Vec<Ranked>,
    /// Of each candidate, as it came out of the model.
    pub scores: Vec<f64>,
    pub took: Duration,
}

/// What a model made of the case; `None` where none was asked.
pub(super) type Outcome = Option<Result<LtrRanking, Unscored>>;

/// What the rankers made of a case.
pub(super) struct Rankings {
    pub legacy: Vec<Ranked>,
    /// By the model that is to serve.
    pub served: Outcome,
    /// By the model that is compared, unless it is the same.
    pub shadow: Outcome,
}
