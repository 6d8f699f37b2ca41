//! The rules of attribution once more, as plain code over all events in memory: what the SQL must give.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound, Utc};
use lake::Rules;
use ranking::{Action, Attribution, Body, Event, Grade, Impression, Origin};
use uuid::Uuid;

use crate::Row;

/// An impression with its event.
type Shown<'a> = (&'a Event, &'a Impression);

/// The rows of all cases with at least two lawyers, by time and case.
pub(crate) fn matrix(events: &[Event], rules: &Rules, as_of: DateTime<Utc>) -> Vec<Row> {
    let mut events: Vec<&Event> = events.iter().filter(|event| event.ts_utc < as_of).collect();
    events.sort_by_key(|event| (event.ts_utc, event.event_id));
    events.dedup_by_key(|event| event.event_id);
    let mut cases: BTreeMap<Uuid, Vec<&Event>> = BTreeMap::new();
    for event in events {
        cases.entry(event.case_id).or_default().push(event);
    }
    let mut rows: Vec<Row> = cases
        .into_iter()
        .flat_map(|(qid, events)| case(qid, &events, rules, as_of))
        .collect();
    rows.sort_by_key(|row| (row.ts, row.qid, row.position));
    rows
}

fn case(qid: Uuid, events: &[&Event], rules: &Rules, as_of: DateTime<Utc>) -> Vec<Row> {
    let mut impressions: Vec<Shown> = Vec::new();
    let mut actions: Vec<(&Event, &Action)> = Vec::new();
    for event in events {
        match &event.body {
            Body::Impression(impression) => impressions.push((event, impression)),
            Body::Action(action) => actions.push((event, action)),
        }
    }
    let Some(&(begun, _)) = impressions.first() else {
        return Vec::new();
    };
    let longest = rules.windows.longest();
    let (by_gateway, by_clients): (Vec<Shown>, Vec<Shown>) = impressions
        .into_iter()
        .partition(|(event, _)| event.origin() == Some(Origin::Gateway));
    let knows = by_gateway
        .iter()
        .any(|(event, _)| event.ts_utc < begun.ts_utc + longest);
    let by_clients = if knows { Vec::new() } else { by_clients };
    let queries = [by_gateway, by_clients].into_iter();
    queries
        .flat_map(|impressions| query(qid, impressions, &actions, rules, as_of))
        .collect()
}

/// The query of the impressions that the gateway, or that clients, say of a case.
fn query(
    qid: Uuid,
    mut impressions: Vec<Shown>,
    actions: &[(&Event, &Action)],
    rules: &Rules,
    as_of: DateTime<Utc>,
) -> Vec<Row> {
    let Some(&first) = impressions.first() else {
        return Vec::new();
    };
    let same_user = |event: &Event| event.user_id == first.0.user_id || event.salt_id != first.0.salt_id;
    impressions.retain(|(event, _)| event.ts_utc < first.0.ts_utc + rules.windows.longest() && same_user(event));
    let counted: Vec<(Grade, Shown, &str)> = actions
        .iter()
        .filter_map(|&(actor, action)| {
            let about = about(actor, action, &impressions, rules.attribution)?;
            let after = actor.ts_utc - about.0.ts_utc;
            let in_time = after >= chrono::Duration::zero() && after < rules.windows.of(action.kind);
            let is_shown = about.1.lawyer_ids.contains(&action.lawyer_id);
            (in_time && is_shown).then_some((Grade::from(action.kind), about, action.lawyer_id.as_str()))
        })
        .collect();
    let strongest = counted
        .iter()
        .max_by_key(|(grade, (event, _), _)| (*grade, event.ts_utc, event.event_id));
    let (query, shown) = strongest.map_or(first, |(_, about, _)| *about);
    if shown.lawyer_ids.len() < 2 {
        return Vec::new();
    }
    let graded = |lawyer: &str| {
        let own = counted
            .iter()
            .filter(|(_, (event, _), whose)| event.event_id == query.event_id && *whose == lawyer);
        own.map(|(grade, ..)| *grade).max().unwrap_or(Grade::Shown)
    };
    let row = |(at, lawyer): (usize, &String)| Row {
        qid,
        ts: first.0.ts_utc.trunc_subsecs(6),
        lawyer_id: lawyer.clone(),
        grade: graded(lawyer).value(),
        position: at as u32 + 1,
        price: shown.features[at][0],
        mature: first.0.ts_utc + rules.attribution.closed_after(&rules.windows) <= as_of,
    };
    shown.lawyer_ids.iter().enumerate().map(row).collect()
}

/// The impression that an action is about; `None`: it fits none of the case.
fn about<'a>(actor: &Event, action: &Action, impressions: &[Shown<'a>], attribution: Attribution) -> Option<Shown<'a>> {
    let fitting = impressions.iter().filter(|(viewer, impression)| {
        let same_user = if actor.salt_id == viewer.salt_id {
            actor.user_id == viewer.user_id
        } else {
            action.unbound == Some(false)
        };
        impression.shows(action) && same_user
    });
    let fitting: Vec<&Shown> = fitting.collect();
    match attribution {
        Attribution::FirstImpression => fitting.first().and(impressions.first()).copied(),
        Attribution::LastTouch => {
            let before = fitting.iter().filter(|(viewer, _)| viewer.ts_utc <= actor.ts_utc);
            before
                .max_by_key(|(viewer, _)| (viewer.ts_utc, viewer.event_id))
                .map(|shown| **shown)
        }
    }
}
