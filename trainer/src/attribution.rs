//! From events to labelled cases.
//!
//! A case is one query, whatever number of times it was ranked: its **first impression** gives the
//! lawyers, their features as served and their positions, and every action on one of those lawyers
//! inside the attribution windows of that impression counts for it. Event time decides; the order
//! of arrival does not. A case enters once its longest window has closed, so that its labels can
//! no longer change.
//!
//! The gateway's own impressions come before those that clients have posted: a case that the gateway
//! has ranked knows no others. An action counts only if one of the case's impressions showed that
//! lawyer at that place to that user; any other is *unbound* and labels nothing.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use chrono::{DateTime, SubsecRound, Utc};
use ranking::{Action, ActionKind, Body, Event, Grade, Impression, Origin, Windows, grade, pseudonym, salt_id};
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
    /// Actions on what no impression of their case has shown to their user at their place.
    pub actions_unbound: usize,
    /// Actions on cases without any impression.
    pub actions_without_impression: usize,
    /// Impressions that clients have posted for cases that the gateway ranked.
    pub impressions_of_clients_left_out: usize,
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

/// Whose impression or action it is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct User {
    id: Uuid,
    /// Of the salt that made it a pseudonym.
    salt_id: Option<Uuid>,
}

impl User {
    fn of(event: &Event) -> User {
        User {
            id: event.user_id,
            salt_id: event.salt_id,
        }
    }

    /// Under the pseudonym that the salt gives them, where they are not.
    fn pseudonymised(self, salt: &[u8]) -> User {
        match self.salt_id {
            Some(_) => self,
            None => User {
                id: pseudonym(salt, self.id),
                salt_id: Some(salt_id(salt)),
            },
        }
    }
}

/// The impressions of a case and what followed.
#[derive(Default)]
struct History<'a> {
    /// In time order.
    impressions: Vec<Displayed<'a>>,
    actions: Vec<(DateTime<Utc>, User, &'a Action)>,
}

struct Displayed<'a> {
    ts: DateTime<Utc>,
    user: User,
    origin: Origin,
    impression: &'a Impression,
}

impl History<'_> {
    /// Leaves out what clients have posted, where the gateway has ranked, and returns how many that are.
    fn drop_client_impressions(&mut self) -> usize {
        let before = self.impressions.len();
        if self.impressions.iter().any(|shown| shown.origin == Origin::Gateway) {
            self.impressions.retain(|shown| shown.origin == Origin::Gateway);
        }
        before - self.impressions.len()
    }

    /// Leaves out actions on what was not shown, and returns how many that are.
    fn drop_unbound_actions(&mut self, salt: Option<&[u8]>) -> usize {
        let before = self.actions.len();
        let impressions = &self.impressions;
        self.actions.retain(|(_, user, action)| {
            let shown = |shown: &Displayed| {
                shown.impression.shows(action) && is_same_user(*user, shown.user, action.unbound == Some(false), salt)
            };
            impressions.iter().any(shown)
        });
        before - self.actions.len()
    }
}

/// Whether two events are of one user. Where one has an id and the other a pseudonym, the salt tells, and without it what
/// the gateway saw when the action came.
fn is_same_user(actor: User, viewer: User, was_bound: bool, salt: Option<&[u8]>) -> bool {
    match (actor.salt_id == viewer.salt_id, salt) {
        (true, _) => actor.id == viewer.id,
        (false, Some(salt)) => actor.pseudonymised(salt) == viewer.pseudonymised(salt),
        (false, None) => was_bound,
    }
}

/// Labels `events`, which are in time order and hold everything up to `as_of`.
///
/// `range`: which cases to keep, by the time of their first impression. `salt`: of the pseudonyms, where it is known.
pub fn attribute(
    events: &[Event],
    windows: &Windows,
    range: &Range<DateTime<Utc>>,
    as_of: DateTime<Utc>,
    salt: Option<&[u8]>,
) -> Attributed {
    let mut histories: BTreeMap<Uuid, History> = BTreeMap::new();
    for event in events {
        let history = histories.entry(event.case_id).or_default();
        match &event.body {
            Body::Impression(impression) => history.impressions.push(Displayed {
                ts: event.ts_utc,
                user: User::of(event),
                origin: event.origin().unwrap_or(Origin::Client),
                impression,
            }),
            Body::Action(action) => history.actions.push((event.ts_utc, User::of(event), action)),
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
    for (qid, mut history) in histories {
        attributed.counts.impressions_of_clients_left_out += history.drop_client_impressions();
        if !history.impressions.is_empty() {
            attributed.counts.actions_unbound += history.drop_unbound_actions(salt);
        }
        attributed.add(qid, &history, windows, range, as_of);
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
        let Some(&Displayed {
            ts: shown_at,
            impression,
            ..
        }) = history.impressions.first()
        else {
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
        actions: &[(DateTime<Utc>, User, &Action)],
        windows: &Windows,
    ) {
        let shown: HashSet<&str> = rows.iter().map(|row| row.lawyer_id.as_str()).collect();
        for (ts, _, action) in actions {
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
    actions: &[(DateTime<Utc>, User, &Action)],
    windows: &Windows,
) -> Vec<Shown> {
    let mut by_lawyer: BTreeMap<&str, Vec<(ActionKind, DateTime<Utc>)>> = BTreeMap::new();
    for (ts, _, action) in actions {
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
        legacy_score: impression.legacy_scores.as_ref().and_then(|all| all[at]),
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
