//! From events to labelled cases.
//!
//! A case is one query, whatever number of times it was ranked: its **first impression** gives the
//! lawyers, their features as served and their positions, and every action on one of those lawyers
//! inside the attribution windows of that impression counts for it. Event time decides; the order
//! of arrival does not. A case enters once its longest window has closed, so that its labels can
//! no longer change.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use chrono::{DateTime, SubsecRound, Utc};
use ranking::{Action, ActionKind, Body, Event, Grade, Impression, Windows, grade};
use serde::Serialize;
use uuid::Uuid;

use crate::matrix::{Case, Shown};

/// What became of the events; every action is in exactly one of the `actions_*`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Events read.
    pub events: usize,
    /// Cases with an impression, of any date.
    pub cases: usize,
    /// Of those: a window is still open.
    pub cases_open: usize,
    /// Of those: closed, but outside the dates asked for.
    pub cases_out_of_range: usize,
    /// Of those: only one lawyer was shown, which cannot be ranked.
    pub cases_single: usize,
    /// Actions that gave a row of the matrix its label, or could have.
    pub actions_counted: usize,
    /// Actions on cases that are not in the matrix (open, out of range, single).
    pub actions_of_left_out_cases: usize,
    /// Actions later than their window allows.
    pub actions_after_window: usize,
    /// Actions dated before the impression.
    pub actions_before_impression: usize,
    /// Actions on a lawyer the first impression did not show.
    pub actions_not_shown: usize,
    /// Actions on cases without any impression.
    pub actions_without_impression: usize,
}

/// Closed cases, and what the shadow log is to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Attributed {
    /// Cases of the dates asked for, ordered by (time, qid).
    pub cases: Vec<Case>,
    /// (case, lawyer, label) of every row above 0 of **every** closed case.
    pub labels: Vec<(Uuid, String, f32)>,
    /// The tally.
    pub counts: Counts,
}

/// The first impression of a case and what followed.
#[derive(Default)]
struct History<'a> {
    first: Option<(DateTime<Utc>, &'a Impression)>,
    actions: Vec<(DateTime<Utc>, &'a Action)>,
}

/// Labels `events`, which are in time order and hold everything up to `as_of`.
///
/// `range`: which cases to keep, by the time of their first impression.
pub fn attribute(
    events: &[Event],
    windows: &Windows,
    range: &Range<DateTime<Utc>>,
    as_of: DateTime<Utc>,
) -> Attributed {
    let mut histories: BTreeMap<Uuid, History> = BTreeMap::new();
    for event in events {
        let history = histories.entry(event.case_id).or_default();
        match &event.body {
            Body::Impression(impression) => {
                history.first.get_or_insert((event.ts_utc, impression));
            }
            Body::Action(action) => history.actions.push((event.ts_utc, action)),
        }
    }
    let mut attributed = Attributed {
        cases: Vec::new(),
        labels: Vec::new(),
        counts: Counts {
            events: events.len(),
            ..Counts::default()
        },
    };
    for (qid, history) in &histories {
        attributed.add(*qid, history, windows, range, as_of);
    }
    attributed.cases.sort_by_key(|case| (case.ts, case.qid));
    attributed
}

impl Attributed {
    fn add(
        &mut self,
        qid: Uuid,
        history: &History,
        windows: &Windows,
        range: &Range<DateTime<Utc>>,
        as_of: DateTime<Utc>,
    ) {
        let counts = &mut self.counts;
        let Some((shown_at, impression)) = history.first else {
            counts.actions_without_impression += history.actions.len();
            return;
        };
        counts.cases += 1;
        if shown_at + windows.longest() > as_of {
            counts.cases_open += 1;
            counts.actions_of_left_out_cases += history.actions.len();
            return;
        }
        let rows = rows(shown_at, impression, &history.actions, windows);
        let labelled = rows.iter().filter(|row| row.grade != Grade::Shown);
        self.labels
            .extend(labelled.map(|row| (qid, row.lawyer_id.clone(), row.grade.label() as f32)));
        if !range.contains(&shown_at) {
            counts.cases_out_of_range += 1;
        } else if rows.len() < 2 {
            counts.cases_single += 1;
        } else {
            counts.tally(shown_at, &rows, &history.actions, windows);
            self.cases.push(Case {
                qid,
                ts: shown_at.trunc_subsecs(6),
                source: impression.source,
                rows,
            });
            return;
        }
        counts.actions_of_left_out_cases += history.actions.len();
    }
}

impl Counts {
    fn tally(
        &mut self,
        shown_at: DateTime<Utc>,
        rows: &[Shown],
        actions: &[(DateTime<Utc>, &Action)],
        windows: &Windows,
    ) {
        let shown: HashSet<&str> = rows.iter().map(|row| row.lawyer_id.as_str()).collect();
        for (ts, action) in actions {
            let count = if !shown.contains(action.lawyer_id.as_str()) {
                &mut self.actions_not_shown
            } else if *ts < shown_at {
                &mut self.actions_before_impression
            } else if *ts >= shown_at + windows.of(action.kind) {
                &mut self.actions_after_window
            } else {
                &mut self.actions_counted
            };
            *count += 1;
        }
    }
}

/// The rows of one impression, in the order shown, each with the strongest thing that came of it.
fn rows(
    shown_at: DateTime<Utc>,
    impression: &Impression,
    actions: &[(DateTime<Utc>, &Action)],
    windows: &Windows,
) -> Vec<Shown> {
    let mut by_lawyer: BTreeMap<&str, Vec<(ActionKind, DateTime<Utc>)>> = BTreeMap::new();
    for (ts, action) in actions {
        let of_lawyer = by_lawyer.entry(&action.lawyer_id).or_default();
        of_lawyer.push((action.kind, *ts));
    }
    let row = |(at, lawyer_id): (usize, &String)| Shown {
        lawyer_id: lawyer_id.clone(),
        grade: grade(
            shown_at,
            by_lawyer.get(lawyer_id.as_str()).into_iter().flatten().copied(),
            windows,
        ),
        features: impression.features[at]
            .iter()
            .map(|value| value.unwrap_or(f64::NAN))
            .collect(),
        position: at as u32 + 1,
        legacy_score: impression.legacy_scores.as_ref().map(|all| all[at]),
        groups: impression
            .groups
            .as_ref()
            .map_or_else(BTreeMap::new, |all| all[at].clone()),
        cases_30d: impression.cases_30d.as_ref().map(|all| all[at]),
        monthly_capacity: impression.monthly_capacity.as_ref().map(|all| all[at]),
        last_offered_at: impression.last_offered_at.as_ref().and_then(|all| all[at]),
    };
    impression.lawyer_ids.iter().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests;
