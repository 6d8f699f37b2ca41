//! What comparing a larger share of the cases would change: when each open criterion can be decided.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Serialize;

use super::decide::{days_for, expected, missing_contracts, missing_users};
use super::{Criteria, Evidence, decide};

/// The shares that are planned for, beside the one of today.
const SHARES: [f64; 4] = [0.1, 0.25, 0.5, 1.0];

/// When the open criteria that wait for data can be decided, by share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The share that is compared now.
    pub share: f64,
    /// By share, ascending; today's is among them.
    pub shares: Vec<Planned>,
    /// For people: what the smallest share changes that decides soonest.
    pub sentence: String,
}

/// What one share would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Planned {
    /// Of the cases that can be compared.
    pub share: f64,
    /// `duration`, `users`, `hit3` and `mrr_gap`, as far as they are open, with the day on which they can be decided;
    /// `None`: more data of this kind would not decide it within ten years.
    pub criteria: BTreeMap<&'static str, Option<NaiveDate>>,
    /// The day on which the last of them can be; `None` if one of them has none.
    pub decidable_on: Option<NaiveDate>,
}

/// Plans for the shares, if from tomorrow on they were compared instead of `share`: cases, users and contracts come
/// as they came, so many times faster. Days pass as they do, so that `min_days` remains where not even `min_cases`
/// comes sooner.
///
/// `level`: as for [`decide`]. `None` where nothing waits for data, or where it is not known how fast it comes: no case, or no share.
pub fn plan(evidence: &Evidence, criteria: &Criteria, level: f64, share: f64) -> Option<Plan> {
    if evidence.cases == 0 || !(share > 0.0 && share <= 1.0) {
        return None;
    }
    let verdict = decide(evidence, criteria, level);
    let open = verdict.criteria.iter().filter(|criterion| criterion.undecided);
    let open: Vec<(&'static str, Days)> = open.filter_map(|c| days_of(&c.name)).collect();
    if open.is_empty() {
        return None;
    }
    let planned = |share_then: f64| {
        let criteria = open.iter().map(|(name, days)| {
            let days = days(evidence, criteria, level, share_then / share);
            (*name, expected(evidence, days))
        });
        let criteria: BTreeMap<_, _> = criteria.collect();
        let each: Option<Vec<NaiveDate>> = criteria.values().copied().collect();
        Planned {
            share: share_then,
            decidable_on: each.and_then(|days| days.into_iter().max()),
            criteria,
        }
    };
    let smaller = SHARES.into_iter().filter(|other| *other < share).map(planned);
    let larger: Vec<Planned> = SHARES.into_iter().filter(|other| *other > share).map(planned).collect();
    let now = planned(share);
    Some(Plan {
        share,
        sentence: sentence(&now, &larger),
        shares: smaller.chain([now]).chain(larger).collect(),
    })
}

/// In how many days from the last case a criterion can be decided, if so many times as much comes a day.
type Days = fn(&Evidence, &Criteria, f64, f64) -> Option<f64>;

fn days_of(name: &str) -> Option<(&'static str, Days)> {
    Some(match name {
        "duration" => ("duration", duration),
        "users" => ("users", users),
        "hit3" => ("hit3", hit3),
        "mrr_gap" => ("mrr_gap", mrr_gap),
        // The others do not wait for data.
        _ => return None,
    })
}

fn duration(e: &Evidence, c: &Criteria, _level: f64, faster: f64) -> Option<f64> {
    let by_days = c.min_days - e.days;
    let by_cases = days_for(c.min_cases.saturating_sub(e.cases) as f64, e.cases, e);
    Some(by_cases.map_or(by_days, |days| by_days.min(days / faster)))
}

fn users(e: &Evidence, c: &Criteria, _level: f64, faster: f64) -> Option<f64> {
    let missing = c.min_users.saturating_sub(e.users) as f64;
    days_for(missing, e.users, e).map(|days| days / faster)
}

fn hit3(e: &Evidence, c: &Criteria, _level: f64, faster: f64) -> Option<f64> {
    days_for(missing_contracts(e, c)?, e.contracts, e).map(|days| days / faster)
}

fn mrr_gap(e: &Evidence, _: &Criteria, level: f64, faster: f64) -> Option<f64> {
    let missing = missing_users(&e.mrr_sequence, level)?;
    days_for(missing, e.mrr_sequence.users, e).map(|days| days / faster)
}

fn sentence(now: &Planned, larger: &[Planned]) -> String {
    let sooner = larger.iter().filter(|planned| planned.decidable_on.is_some());
    // Of equal days, the first: the smallest share.
    let best = sooner.min_by_key(|planned| planned.decidable_on);
    let gain = best.filter(|best| now.decidable_on.is_none_or(|day| best.decidable_on < Some(day)));
    let day = |planned: &Planned| match planned.decidable_on {
        Some(day) => format!("about {day}"),
        None => "no day that can be foreseen".to_owned(),
    };
    match gain {
        None => format!(
            "with {} compared: {}; a larger share would not be sooner",
            percent(now.share),
            day(now)
        ),
        Some(best) => format!(
            "with {} compared instead of {}: {} instead of {}",
            percent(best.share),
            percent(now.share),
            day(best),
            day(now)
        ),
    }
}

fn percent(share: f64) -> String {
    let tenths = (share * 1000.0).round() / 10.0;
    format!("{tenths} %")
}

#[cfg(test)]
mod tests;
