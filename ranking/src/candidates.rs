//! A lawyer as one request presents them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

/// One lawyer that may be shown for a case.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The marketplace's id of the lawyer; the last thing to break ties in a ranking.
    pub lawyer_id: String,
    /// In schema order; NaN where missing.
    pub features: Vec<f64>,
    /// Cases taken in the last 30 days.
    pub cases_30d: u32,
    /// Cases the lawyer can take in 30 days; 0 counts as being at capacity.
    pub monthly_capacity: u32,
    /// Attribute (`gender`, `ethnicity`, ...) to group. An attribute that is absent or empty is unknown.
    pub groups: BTreeMap<String, String>,
    /// When the lawyer was last offered to a client; `None`: never.
    pub last_offered_at: Option<DateTime<Utc>>,
}
