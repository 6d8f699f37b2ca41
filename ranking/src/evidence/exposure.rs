//! How high each ranking has the lawyers of a group: their share of what clients look at, beside their share of the
//! candidates (exposure: Singh and Joachims, "Fairness of exposure in rankings", KDD 2018).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ComparedCase;
use crate::outcomes::Arm;
use crate::propensities::theta;

/// Places that are counted one by one; those behind them are counted together.
const SINGLE: usize = 10;

/// Where a group's lawyers stand in one ranking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// Lawyers of the group who were ranked.
    pub candidates: u64,
    /// How many of them each of the places 1 to 10 has, and at the end all places behind; who is on no list is nowhere.
    pub at: [u64; SINGLE + 1],
}

/// Where a group's lawyers stand in all rankings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlaces {
    /// In the legacy ranking, displayed or not.
    pub legacy: Places,
    /// In LTR's ranking, displayed or not.
    pub ltr: Places,
    /// In what was displayed, by how it came to be.
    pub displayed: BTreeMap<Arm, Places>,
}

/// A ranking whose exposure is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// Legacy's, displayed or not.
    Legacy,
    /// LTR's, displayed or not.
    Ltr,
    /// What users of an arm saw.
    Displayed(Arm),
}

/// A group's share of candidates and of examination, each of all lawyers whose group of this attribute is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupShare {
    /// As `gender`.
    pub attribute: String,
    /// As `F`.
    pub group: String,
    /// In which ranking.
    pub ranking: Ranking,
    /// Candidates of the group.
    pub candidates: u64,
    /// Share of the candidates, 0 to 1.
    pub of_candidates: f64,
    /// Share of the expected examination, 0 to 1.
    pub of_examination: f64,
}

impl Places {
    fn count(&mut self, place: Option<u32>) {
        self.candidates += 1;
        let at = place.and_then(|place| (place as usize).checked_sub(1));
        if let Some(at) = at {
            self.at[at.min(SINGLE)] += 1;
        }
    }

    fn merge(&mut self, other: &Places) {
        self.candidates += other.candidates;
        for (sum, more) in self.at.iter_mut().zip(other.at) {
            *sum += more;
        }
    }

    /// Expected examination, in lawyers at place 1. All places behind the single ones count as the first of them.
    fn examination(&self, eta: f64) -> f64 {
        let places = self.at.iter().zip(1_u32..);
        places.map(|(lawyers, place)| *lawyers as f64 * theta(place, eta)).sum()
    }
}

/// Adds a case.
pub(super) fn count(exposure: &mut BTreeMap<String, BTreeMap<String, GroupPlaces>>, case: &ComparedCase) {
    let places = case.places();
    for lawyer in &case.lawyers {
        for (attribute, group) in lawyer.groups.iter().filter(|(_, group)| !group.is_empty()) {
            let of_attribute = exposure.entry(attribute.clone()).or_default();
            let counts = of_attribute.entry(group.clone()).or_default();
            let listed = |rank: Option<u32>| rank.filter(|rank| *rank <= places);
            counts.legacy.count(listed(lawyer.legacy));
            counts.ltr.count(listed(lawyer.ltr));
            if let Some(arm) = case.arm {
                counts.displayed.entry(arm).or_default().count(lawyer.displayed);
            }
        }
    }
}

/// Adds the counts of other cases.
pub(super) fn merge(
    exposure: &mut BTreeMap<String, BTreeMap<String, GroupPlaces>>,
    other: &BTreeMap<String, BTreeMap<String, GroupPlaces>>,
) {
    for (attribute, groups) in other {
        for (group, more) in groups {
            let of_attribute = exposure.entry(attribute.clone()).or_default();
            let counts = of_attribute.entry(group.clone()).or_default();
            counts.legacy.merge(&more.legacy);
            counts.ltr.merge(&more.ltr);
            for (arm, places) in &more.displayed {
                counts.displayed.entry(*arm).or_default().merge(places);
            }
        }
    }
}

/// Each group's shares in each ranking, if places are examined as `eta` says ([`theta`]).
pub fn shares(exposure: &BTreeMap<String, BTreeMap<String, GroupPlaces>>, eta: f64) -> Vec<GroupShare> {
    let mut shares = Vec::new();
    for (attribute, groups) in exposure {
        let mut rankings: BTreeMap<Ranking, Vec<(&String, &Places)>> = BTreeMap::new();
        for (group, counts) in groups {
            let displayed = counts.displayed.iter();
            let displayed = displayed.map(|(arm, places)| (Ranking::Displayed(*arm), places));
            let both = [(Ranking::Legacy, &counts.legacy), (Ranking::Ltr, &counts.ltr)];
            for (ranking, places) in both.into_iter().chain(displayed) {
                rankings.entry(ranking).or_default().push((group, places));
            }
        }
        for (ranking, groups) in rankings {
            let candidates: u64 = groups.iter().map(|(_, places)| places.candidates).sum();
            let examination: f64 = groups.iter().map(|(_, places)| places.examination(eta)).sum();
            let of = |part: f64, all: f64| if all > 0.0 { part / all } else { 0.0 };
            shares.extend(groups.into_iter().map(|(group, places)| GroupShare {
                attribute: attribute.clone(),
                group: group.clone(),
                ranking,
                candidates: places.candidates,
                of_candidates: of(places.candidates as f64, candidates as f64),
                of_examination: of(places.examination(eta), examination),
            }));
        }
    }
    shares
}
