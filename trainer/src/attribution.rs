//! Turns logged events into labelled cases.
//!
//! A case is one query, no matter how often it was ranked. Its **first impression** determines the
//! lawyers, their features as served and their positions. An action on one of these lawyers counts
//! if it falls inside its attribution window, which starts at that impression. Only event time
//! matters, not the order of arrival. A case enters the matrix once its longest window has closed,
//! because its labels can no longer change then.
//!
//! Impressions posted by clients count only for cases that the gateway did not rank. An action
//! counts only if an impression of the case showed that lawyer at that position to that user. Any
//! other action is *unbound* and labels nothing.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use chrono::{DateTime, SubsecRound, Utc};
use ranking::{Action, ActionKind, Body, Event, Grade, Impression, Origin, Windows, grade, pseudonym, salt_id};
use serde::Serialize;
use uuid::Uuid;

use crate::matrix::{Case, Shown};

/// How many events were used or left out. Every action is in exactly one of the `actions_*`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Events read.
    pub events: usize,
    /// Cases with an impression, of any date.
    pub cases: usize,
    /// Of these cases: a window is still open.
    pub cases_open: usize,
    /// Of these cases: closed, but outside the requested dates.
    pub cases_out_of_range: usize,
    /// Of these cases: only one lawyer was shown, so there is nothing to rank.
    pub cases_single: usize,
    /// Actions inside their window, which count for a label in the matrix.
    pub actions_counted: usize,
    /// Actions on cases that are not in the matrix (open, out of range, single).
    pub actions_of_left_out_cases: usize,
    /// Actions after their window closed.
    pub actions_after_window: usize,
    /// Actions dated before the impression.
    pub actions_before_impression: usize,
    /// Actions on a lawyer the first impression did not show.
    pub actions_not_shown: usize,
    /// Actions without an impression of that lawyer at that position to that user.
    pub actions_unbound: usize,
    /// Actions on cases without any impression.
    pub actions_without_impression: usize,
    /// Impressions posted by clients for cases that the gateway ranked.
    pub impressions_of_clients_left_out: usize,
}

/// Closed cases, and labels for the shadow log.
#[derive(Debug, Clone, PartialEq)]
pub struct Attributed {
    /// Cases of the requested dates, ordered by (time, qid).
    pub cases: Vec<Case>,
    /// (case, lawyer, label) for each row with a label above 0, in **all** closed cases.
    pub labels: Vec<(Uuid, String, f32)>,
    /// The counts.
    pub counts: Counts,
}

/// The user of an impression or action: an id, or a pseudonym under a salt.
#[derive(Clone, Copy, PartialEq, Eq)]
struct User {
    id: Uuid,
    /// Identifies the salt of a pseudonym; `None`: a plain id.
    salt_id: Option<Uuid>,
}

impl User {
    fn of(event: &Event) -> User {
        User {
            id: event.user_id,
            salt_id: event.salt_id,
        }
    }

    /// This user's pseudonym under `salt`; a user who is a pseudonym already stays the same.
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

/// The impressions and actions of a case.
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
    /// If the gateway ranked the case, drops impressions posted by clients. Returns how many.
    fn drop_client_impressions(&mut self) -> usize {
        let before = self.impressions.len();
        if self.impressions.iter().any(|shown| shown.origin == Origin::Gateway) {
            self.impressions.retain(|shown| shown.origin == Origin::Gateway);
        }
        before - self.impressions.len()
    }

    /// Drops actions that no impression matches. Returns how many.
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

/// Whether two events belong to the same user.
///
/// If one has an id and the other a pseudonym, the salt is needed to compare them. Without the
/// salt, the gateway's check on receipt of the action (`was_bound`) decides.
fn is_same_user(actor: User, viewer: User, was_bound: bool, salt: Option<&[u8]>) -> bool {
    match (actor.salt_id == viewer.salt_id, salt) {
        (true, _) => actor.id == viewer.id,
        (false, Some(salt)) => actor.pseudonymised(salt) == viewer.pseudonymised(salt),
        (false, None) => was_bound,
    }
}

/// Labels `events`, which must be in time order and complete up to `as_of`.
///
/// `range` selects cases by the time of their first impression. `salt` is the pseudonyms' salt, if
/// this machine has it.
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

/// The rows of one impression, in the order shown, each with the grade of its strongest action.
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
