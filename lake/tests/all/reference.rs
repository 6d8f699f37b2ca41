//! The rules of attribution once more, as plain code over all events in memory: what the SQL must give.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound, Utc};
use ranking::{Action, Body, Event, Grade, Impression, Origin, Windows, grade};
use uuid::Uuid;

use crate::Row;

/// The rows of all cases with at least two lawyers, by time and case.
pub(crate) fn matrix(events: &[Event], windows: &Windows, as_of: DateTime<Utc>) -> Vec<Row> {
    let mut events: Vec<&Event> = events.iter().filter(|event| event.ts_utc < as_of).collect();
    events.sort_by_key(|event| (event.ts_utc, event.event_id));
    events.dedup_by_key(|event| event.event_id);
    let mut cases: BTreeMap<Uuid, Vec<&Event>> = BTreeMap::new();
    for event in events {
        cases.entry(event.case_id).or_default().push(event);
    }
    let mut rows: Vec<Row> = cases
        .into_iter()
        .flat_map(|(qid, events)| case(qid, &events, windows, as_of))
        .collect();
    rows.sort_by_key(|row| (row.ts, row.qid, row.position));
    rows
}

fn case(qid: Uuid, events: &[&Event], windows: &Windows, as_of: DateTime<Utc>) -> Vec<Row> {
    let mut impressions: Vec<(&Event, &Impression)> = Vec::new();
    let mut actions: Vec<(&Event, &Action)> = Vec::new();
    for event in events {
        match &event.body {
            Body::Impression(impression) => impressions.push((event, impression)),
            Body::Action(action) => actions.push((event, action)),
        }
    }
    let by_gateway = |(event, _): &(&Event, &Impression)| event.origin() == Some(Origin::Gateway);
    if impressions.iter().any(by_gateway) {
        impressions.retain(by_gateway);
    }
    let Some(&(first, shown)) = impressions.first() else {
        return Vec::new();
    };
    if shown.lawyer_ids.len() < 2 {
        return Vec::new();
    }
    actions.retain(|(actor, action)| {
        impressions.iter().any(|(viewer, impression)| {
            let same_user = if actor.salt_id == viewer.salt_id {
                actor.user_id == viewer.user_id
            } else {
                action.unbound == Some(false)
            };
            impression.shows(action) && same_user
        })
    });
    let row = |(at, lawyer): (usize, &String)| Row {
        qid,
        ts: first.ts_utc.trunc_subsecs(6),
        lawyer_id: lawyer.clone(),
        grade: graded(first.ts_utc, lawyer, &actions, windows).value(),
        position: at as u32 + 1,
        price: shown.features[at][0],
        mature: first.ts_utc + windows.longest() <= as_of,
    };
    shown.lawyer_ids.iter().enumerate().map(row).collect()
}

fn graded(from: DateTime<Utc>, lawyer: &str, actions: &[(&Event, &Action)], windows: &Windows) -> Grade {
    let own = actions.iter().filter(|(_, action)| action.lawyer_id == lawyer);
    grade(from, own.map(|(event, action)| (action.kind, event.ts_utc)), windows)
}
