use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{ComparedCase, Coverage, EvidenceDay, ModelDay, Sampled, exposure};
use crate::counterfactual::Lawyer;
use crate::events::{Coin, Policy, Source};
use crate::interleaving::tosses;
use crate::outcomes::Displayed;

impl ComparedCase {
    /// How many lawyers were displayed.
    pub(super) fn places(&self) -> u32 {
        let places = self.lawyers.iter().filter_map(|lawyer| lawyer.displayed);
        places.max().unwrap_or(0)
    }

    /// Where the coin would have displayed the lawyer at this place, had it fallen otherwise.
    fn other_place(&self, place: u32) -> Option<u32> {
        self.coins.iter().find_map(|coin| coin.other_place(place))
    }

    /// What an estimator takes: the lawyers who were displayed, or would be by one of the rankings. Each ranking's list is
    /// as long as the displayed one.
    pub(super) fn lawyers_of_lists(&self) -> Vec<Lawyer> {
        let places = self.places();
        let listed = |rank: Option<u32>| rank.filter(|rank| *rank <= places);
        let lawyers = self.lawyers.iter().map(|lawyer| Lawyer {
            displayed: lawyer.displayed,
            otherwise: lawyer.displayed.and_then(|place| self.other_place(place)),
            legacy: listed(lawyer.legacy),
            ltr: listed(lawyer.ltr),
            outcome: f64::from(u8::from(lawyer.is_clicked)),
            relevance: 0.0,
        });
        let is_on_a_list = |l: &Lawyer| l.displayed.or(l.legacy).or(l.ltr).is_some();
        let mut lawyers: Vec<Lawyer> = lawyers.filter(is_on_a_list).collect();
        // Sums of floats are made in this order.
        lawyers.sort_by_key(|lawyer| (lawyer.displayed, lawyer.legacy, lawyer.ltr));
        lawyers
    }
}

/// Counts the closed cases of a day; their order changes nothing. `coverage`: what the log says of actions; cases are counted
/// here.
pub fn count_day(displayed: &[Displayed], compared: &[ComparedCase], coverage: Coverage) -> EvidenceDay {
    let chosen = compared.iter().filter(|case| case.has_all);
    let compared_cases: BTreeSet<Uuid> = chosen.map(|case| case.case_id).collect();
    EvidenceDay {
        models: models(compared),
        coverage: Coverage {
            cases: displayed.len() as u64,
            compared: compared_cases.len() as u64,
            ..coverage
        },
        sampled: sampled(displayed, &compared_cases),
    }
}

/// By model. A user counts once, with the first case; what somebody asked to see is no evidence.
fn models(compared: &[ComparedCase]) -> BTreeMap<String, ModelDay> {
    let mut cases: Vec<&ComparedCase> = compared.iter().filter(|case| case.policy != Policy::Forced).collect();
    // Of a draft that was compared, too, the comparison says more.
    cases.sort_by_key(|case| (case.ts_utc, case.case_id, !case.has_all));
    let mut seen = BTreeSet::new();
    let mut of_models: BTreeMap<&str, Vec<&ComparedCase>> = BTreeMap::new();
    for case in cases {
        if case.places() > 0 && seen.insert((&case.model_version, case.user)) {
            of_models.entry(&case.model_version).or_default().push(case);
        }
    }
    let days = of_models.into_iter().map(|(version, cases)| {
        let mut day = ModelDay::default();
        for case in cases.iter().filter(|case| case.has_all) {
            exposure::count(&mut day.exposure, case);
        }
        day.values.add_users(&cases);
        (version.to_owned(), day)
    });
    days.collect()
}

fn sampled(displayed: &[Displayed], compared: &BTreeSet<Uuid>) -> Sampled {
    let mut cases: Vec<&Displayed> = displayed.iter().filter(|case| case.policy != Policy::Forced).collect();
    cases.sort_by_key(|case| (case.ts_utc, case.case_id));
    let mut sampled = Sampled::default();
    let mut shown: BTreeMap<(Policy, Source), u64> = BTreeMap::new();
    let [mut seen, mut swapped, mut drafted] = [(); 3].map(|()| BTreeSet::new());
    for case in cases {
        if seen.insert(case.user) {
            *shown.entry((case.policy, case.source)).or_default() += 1;
            count(&mut sampled.compared, compared.contains(&case.case_id));
        }
        if let Some(coin) = &case.coin
            && swapped.insert(case.user)
        {
            count(&mut sampled.swaps, coin.swapped);
        }
        let coins: Vec<Coin> = tosses(&case.drafted_by);
        if !coins.is_empty() && drafted.insert(case.user) {
            coins.iter().for_each(|coin| count(&mut sampled.drafts, coin.swapped));
        }
    }
    let shown = shown
        .into_iter()
        .map(|((policy, source), users)| (policy, source, users));
    sampled.shown = shown.collect();
    sampled
}

fn count(inside_outside: &mut [u64; 2], is_inside: bool) {
    inside_outside[usize::from(!is_inside)] += 1;
}
