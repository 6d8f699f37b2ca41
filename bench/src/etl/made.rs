//! A lake of made-up events.

use anyhow::Result;
use chrono::{DateTime, Duration, NaiveDate, NaiveTime, Utc};
use lake::Lake;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ranking::{Action, ActionKind, Body, Event, Impression, Origin, Schema};
use uuid::Uuid;

/// Lawyers of a ranking.
const LAWYERS: usize = 8;
/// Events of a case: the ranking and what follows.
const OF_A_CASE: u64 = 4;
/// Lawyers that there are.
const ALL_LAWYERS: u32 = 5_000;

/// Adds the cases of a day, so many events together. Some actions follow days later, and are events of those days.
pub(super) async fn add_day(lake: &Lake, features: &Schema, day: NaiveDate, events: u64) -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(day.to_epoch_days().unsigned_abs().into());
    let cases = (0..events / OF_A_CASE).flat_map(|_| case(day, features.len(), &mut random));
    lake::add_events(lake, features, cases.collect()).await?;
    Ok(())
}

fn case(day: NaiveDate, features: usize, random: &mut ChaCha8Rng) -> Vec<Event> {
    let mut id = || Uuid::from_u128(random.random());
    let (case_id, user_id, request_id) = (id(), id(), id());
    let ids: [Uuid; OF_A_CASE as usize] = std::array::from_fn(|_| id());
    let shown_at = day.and_time(NaiveTime::MIN).and_utc() + Duration::milliseconds(random.random_range(0..86_400_000));
    let first = random.random_range(0..ALL_LAWYERS);
    let lawyers: Vec<String> = (0..LAWYERS as u32)
        .map(|at| format!("lawyer-{}", (first + 7 * at) % ALL_LAWYERS))
        .collect();
    let values = (0..LAWYERS).map(|_| {
        // Three digits, as features that were computed from counts and shares have.
        let mut value = || f64::from(random.random_range(0..1_000_u32)) / 1_000.0;
        (0..features).map(|_| Some(value())).collect()
    });
    let impression = Impression {
        legacy_scores: Some(vec![Some(0.5); LAWYERS]),
        cases_30d: Some(vec![3; LAWYERS]),
        monthly_capacity: Some(vec![10; LAWYERS]),
        origin: Some(Origin::Gateway),
        ..Impression::new(request_id, lawyers.clone(), values.collect())
    };
    let mut events = vec![Event::new(
        ids[0],
        shown_at,
        case_id,
        user_id,
        Body::Impression(impression),
    )];
    let kinds = [
        ActionKind::ClickProfile,
        ActionKind::ContactMade,
        ActionKind::ContractSigned,
    ];
    for (id, kind) in ids[1..].iter().zip(kinds) {
        let at = random.random_range(0..LAWYERS);
        let later: DateTime<Utc> = shown_at + Duration::minutes(random.random_range(1..4_000));
        let action = Action::new(kind, &lawyers[at], at as u32 + 1);
        events.push(Event::new(*id, later, case_id, user_id, Body::Action(action)));
    }
    events
}
