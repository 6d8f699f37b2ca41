//! Ranking metrics, and the gap between groups.

pub mod weighted;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bootstrap::{Interval, bootstrap};
use crate::statistics::ExactSum;

/// nDCG@k (Järvelin and Kekäläinen 2002): the discounted gain of the first `k` rows over that of the best possible
/// order, with LightGBM's discount `1 / log2(2 + i)` for the row at index `i`.
///
/// `grades_in_ranked_order`: one grade a row, as an index into `gains` (for this project's grades:
/// [`Grade::GAINS`](crate::labels::Grade::GAINS)). `None` where no row gains anything: every order is then as good.
///
/// # Panics
/// A grade without a gain.
pub fn ndcg_at(k: usize, grades_in_ranked_order: &[u8], gains: &[f64]) -> Option<f64> {
    let gains: Vec<f64> = grades_in_ranked_order
        .iter()
        .map(|grade| gains[usize::from(*grade)])
        .collect();
    let best = ideal_dcg_at(k, &gains);
    (best > 0.0).then(|| dcg_at(k, &gains) / best)
}

fn dcg_at(k: usize, gains_in_ranked_order: &[f64]) -> f64 {
    let places = gains_in_ranked_order.iter().take(k).enumerate();
    places.map(|(i, gain)| gain / (2.0 + i as f64).log2()).sum()
}

/// The DCG of the best order.
fn ideal_dcg_at(k: usize, gains: &[f64]) -> f64 {
    let mut ideal = gains.to_vec();
    ideal.sort_by(|a, b| b.total_cmp(a));
    dcg_at(k, &ideal)
}

/// The reciprocal of the 1-based rank of the first row with at least `min_grade`; 0.0 where that is below rank `k`;
/// `None` where no row has it. Its mean over queries is MRR@k (Voorhees 1999).
pub fn reciprocal_rank_at(k: usize, grades_in_ranked_order: &[u8], min_grade: u8) -> Option<f64> {
    let rank = 1 + grades_in_ranked_order.iter().position(|g| *g >= min_grade)?;
    Some(if rank <= k { 1.0 / rank as f64 } else { 0.0 })
}

/// Whether the contracted lawyer, at this 1-based rank, was among the first `k`.
pub fn hit_at(k: usize, rank_of_contract: usize) -> bool {
    (1..=k).contains(&rank_of_contract)
}

/// The mean score of one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupMean {
    /// Mean of the group's served `fair` scores.
    pub mean: f64,
    /// Rows of the group, each one lawyer in one ranking.
    pub rows: usize,
    /// Whether the group has enough rows to be compared.
    pub counted: bool,
}

/// How far apart groups' mean scores are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FairGap {
    /// The largest difference between two counted groups' means, over all attributes; 0.0 where no attribute has two.
    pub gap: f64,
    /// The attribute with that difference.
    pub attribute: Option<String>,
    /// Attribute -> group -> mean.
    pub by_attribute: BTreeMap<String, BTreeMap<String, GroupMean>>,
}

/// The fair gap over rows of (groups, served `fair` score): for each attribute, the largest difference between groups'
/// means over groups with at least `min_rows` rows; the worst attribute counts. Unknown (empty) groups are left out.
pub fn fair_gap(rows: &[(&BTreeMap<String, String>, f64)], min_rows: usize) -> FairGap {
    let mut sums = FairSums::default();
    for (groups, score) in rows {
        sums.add(groups, [*score]);
    }
    let [gap] = sums.gaps(min_rows);
    gap
}

/// The `fair` scores of `ARMS` rankings of the same rows, summed by attribute and group: what [`fair_gap`] needs of them.
///
/// Its size depends on the number of groups, not of rows, and the order of the rows changes nothing.
#[derive(Clone, Debug)]
pub struct FairSums<const ARMS: usize> {
    by_attribute: BTreeMap<String, BTreeMap<String, GroupSums<ARMS>>>,
}

#[derive(Clone, Debug)]
struct GroupSums<const ARMS: usize> {
    sums: [ExactSum; ARMS],
    rows: usize,
}

impl<const ARMS: usize> Default for FairSums<ARMS> {
    fn default() -> FairSums<ARMS> {
        FairSums {
            by_attribute: BTreeMap::new(),
        }
    }
}

impl<const ARMS: usize> FairSums<ARMS> {
    /// Adds a row: a lawyer's groups, and the `fair` score in each ranking. A row with a score that cannot be summed
    /// ([`ExactSum::takes`]) is left out: no ranking has one, but a database may.
    pub fn add(&mut self, groups: &BTreeMap<String, String>, scores: [f64; ARMS]) {
        if !scores.iter().all(|score| ExactSum::takes(*score)) {
            return;
        }
        for (attribute, group) in known(groups) {
            let sums = self.sums(attribute, group);
            sums.rows += 1;
            sums.sums.iter_mut().zip(scores).for_each(|(sum, score)| sum.add(score));
        }
    }

    /// A row's names are nearly always there, and are copied only if not.
    fn sums(&mut self, attribute: &str, group: &str) -> &mut GroupSums<ARMS> {
        if !self.by_attribute.contains_key(attribute) {
            self.by_attribute.insert(attribute.to_owned(), BTreeMap::new());
        }
        let groups = self.by_attribute.get_mut(attribute).expect("it was put there");
        if !groups.contains_key(group) {
            let none = GroupSums {
                sums: std::array::from_fn(|_| ExactSum::default()),
                rows: 0,
            };
            groups.insert(group.to_owned(), none);
        }
        groups.get_mut(group).expect("it was put there")
    }

    /// The fair gap of each ranking, as [`fair_gap`] defines it.
    pub fn gaps(&self, min_rows: usize) -> [FairGap; ARMS] {
        std::array::from_fn(|arm| self.gap(arm, min_rows))
    }

    fn gap(&self, arm: usize, min_rows: usize) -> FairGap {
        let each = || {
            self.by_attribute
                .iter()
                .flat_map(|(attribute, groups)| groups.iter().map(move |(group, sums)| (attribute, group, sums)))
        };
        let cells = GroupCells {
            names: each().map(|(attribute, group, _)| (&**attribute, &**group)).collect(),
        };
        let sums: Vec<Cell> = each()
            .map(|(_, _, group)| Cell {
                sum: group.sums[arm].value(),
                rows: group.rows,
            })
            .collect();
        let (gap, attribute) = cells.worst(&sums, min_rows);
        let mut by_attribute: BTreeMap<String, BTreeMap<String, GroupMean>> = BTreeMap::new();
        for ((attribute, group), cell) in cells.names.iter().zip(&sums) {
            let mean = GroupMean {
                mean: cell.mean(),
                rows: cell.rows,
                counted: cell.counts(min_rows),
            };
            by_attribute
                .entry((*attribute).to_owned())
                .or_default()
                .insert((*group).to_owned(), mean);
        }
        FairGap {
            gap,
            attribute: attribute.map(str::to_owned),
            by_attribute,
        }
    }
}

/// [`fair_gap`] with its [`bootstrap`] interval; whole cases are drawn, because rows of a case depend on each other.
///
/// `cases`: the rows of each case. `min_rows` applies to each draw.
pub fn fair_gap_interval(
    cases: &[Vec<(&BTreeMap<String, String>, f64)>],
    min_rows: usize,
    resamples: usize,
    level: f64,
    seed: u64,
) -> Interval {
    let cells = GroupCells::index(cases.iter().flatten().map(|(groups, _)| *groups));
    // Summed once a case, so that a draw adds a few numbers and looks up no name.
    let by_case: Vec<Vec<(usize, Cell)>> = cases
        .iter()
        .map(|rows| {
            let mut sums = vec![Cell::default(); cells.names.len()];
            for (groups, score) in rows {
                cells.add(&mut sums, groups, *score);
            }
            let filled = sums.into_iter().enumerate();
            filled.filter(|(_, cell)| cell.rows > 0).collect()
        })
        .collect();
    bootstrap(cases.len(), resamples, level, seed, |units| {
        let mut sums = vec![Cell::default(); cells.names.len()];
        for &unit in units {
            for (at, cell) in &by_case[unit] {
                sums[*at].sum += cell.sum;
                sums[*at].rows += cell.rows;
            }
        }
        cells.worst(&sums, min_rows).0
    })
}

#[derive(Clone, Debug, Default)]
struct Cell {
    sum: f64,
    rows: usize,
}

impl Cell {
    fn mean(&self) -> f64 {
        if self.rows == 0 {
            return 0.0;
        }
        self.sum / self.rows as f64
    }

    fn counts(&self, min_rows: usize) -> bool {
        self.rows >= min_rows.max(1)
    }
}

/// Every (attribute, group) that occurs, sorted, so that an attribute's groups lie side by side.
struct GroupCells<'a> {
    names: Vec<(&'a str, &'a str)>,
}

impl<'a> GroupCells<'a> {
    fn index(rows: impl Iterator<Item = &'a BTreeMap<String, String>>) -> GroupCells<'a> {
        let names: std::collections::BTreeSet<(&str, &str)> = rows.flat_map(known).collect();
        GroupCells {
            names: names.into_iter().collect(),
        }
    }

    fn add(&self, sums: &mut [Cell], groups: &BTreeMap<String, String>, score: f64) {
        for name in known(groups) {
            let at = self.names.binary_search(&name);
            let at = at.expect("every row's groups were indexed");
            sums[at].sum += score;
            sums[at].rows += 1;
        }
    }

    fn worst(&self, sums: &[Cell], min_rows: usize) -> (f64, Option<&'a str>) {
        let mut worst = (0.0, None);
        let mut start = 0;
        for attribute in self.names.chunk_by(|a, b| a.0 == b.0) {
            let cells = &sums[start..start + attribute.len()];
            start += attribute.len();
            let means = || cells.iter().filter(|c| c.counts(min_rows)).map(Cell::mean);
            if means().count() < 2 {
                continue;
            }
            let high = means().fold(f64::NEG_INFINITY, f64::max);
            let low = means().fold(f64::INFINITY, f64::min);
            if worst.1.is_none() || high - low > worst.0 {
                worst = (high - low, Some(attribute[0].0));
            }
        }
        worst
    }
}

fn known(groups: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    groups
        .iter()
        .filter(|(_, group)| !group.is_empty())
        .map(|(attribute, group)| (attribute.as_str(), group.as_str()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::labels::Grade;

    #[test]
    fn ndcg_is_the_formula() {
        // DCG = 6/log2(2) + 10/log2(3), ideal = 10/log2(2) + 6/log2(3).
        let dcg = 6.0 + 10.0 / 3f64.log2();
        let ideal = 10.0 + 6.0 / 3f64.log2();
        let ndcg = ndcg_at(5, &[2, 3, 0], &Grade::GAINS).unwrap();
        assert!((ndcg - dcg / ideal).abs() < 1e-15);
        assert_eq!(ndcg_at(5, &[0, 0, 0], &Grade::GAINS), None);
        assert_eq!(ndcg_at(5, &[], &Grade::GAINS), None);
        assert_eq!(ndcg_at(1, &[0, 3], &Grade::GAINS), Some(0.0));
    }

    #[test]
    fn the_reciprocal_rank_tells_below_k_from_nothing_relevant() {
        assert_eq!(reciprocal_rank_at(5, &[0, 2, 3], 2), Some(0.5));
        assert_eq!(reciprocal_rank_at(2, &[0, 0, 3], 2), Some(0.0));
        assert_eq!(reciprocal_rank_at(5, &[0, 1, 1], 2), None);
        assert!(hit_at(3, 3) && hit_at(3, 1));
        assert!(!hit_at(3, 4) && !hit_at(3, 0));
    }

    fn group(attribute: &str, group: &str) -> BTreeMap<String, String> {
        [(attribute.to_owned(), group.to_owned())].into()
    }

    #[test]
    fn the_fair_gap_is_the_worst_attribute_over_groups_with_enough_rows() {
        let people = [
            BTreeMap::from([("gender", "F"), ("ethnicity", "a")]),
            BTreeMap::from([("gender", "M"), ("ethnicity", "b")]),
            BTreeMap::from([("gender", "F"), ("ethnicity", "b")]),
            BTreeMap::from([("gender", "M"), ("ethnicity", "c")]),
        ]
        .map(|m| {
            m.into_iter()
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect::<BTreeMap<_, _>>()
        });
        let scores = [0.5, 0.7, 0.7, 0.0];
        let rows: Vec<_> = people.iter().zip(scores).collect();
        let all = fair_gap(&rows, 1);
        assert_eq!(all.attribute.as_deref(), Some("ethnicity"));
        assert!((all.gap - 0.7).abs() < 1e-12);
        // With two rows needed, only gender has two groups to compare: 0.60 against 0.35.
        let enough = fair_gap(&rows, 2);
        assert_eq!(enough.attribute.as_deref(), Some("gender"));
        assert!((enough.gap - 0.25).abs() < 1e-12);
        let c = &enough.by_attribute["ethnicity"]["c"];
        assert!(!c.counted && c.rows == 1);
    }

    #[test]
    fn without_two_groups_there_is_no_gap() {
        let (f, unknown) = (group("gender", "F"), group("gender", ""));
        let gap = fair_gap(&[(&f, 1.0), (&unknown, 0.0)], 1);
        assert_eq!((gap.gap, gap.attribute), (0.0, None));
        assert_eq!(fair_gap(&[], 30), FairGap::default());
    }

    #[test]
    fn a_score_that_is_no_number_leaves_its_row_out() {
        let (f, m) = (group("gender", "F"), group("gender", "M"));
        let rows = [(&f, 0.5), (&m, f64::NAN), (&f, 0.25), (&m, 0.5), (&m, f64::INFINITY)];
        let gap = fair_gap(&rows, 1);
        assert_eq!((gap.gap, gap.by_attribute["gender"]["M"].rows), (0.125, 1));
    }

    #[test]
    fn the_gap_interval_is_around_the_gap() {
        let (f, m) = (group("gender", "F"), group("gender", "M"));
        let cases: Vec<Vec<_>> = (0..200)
            .map(|i| vec![(&f, 0.5 + f64::from(i % 7) / 100.0), (&m, 0.7)])
            .collect();
        let rows: Vec<_> = cases.iter().flatten().copied().collect();
        let interval = fair_gap_interval(&cases, 30, 500, 0.95, 42);
        assert!((interval.estimate - fair_gap(&rows, 30).gap).abs() < 1e-12);
        assert!(interval.low < interval.estimate && interval.estimate < interval.high);
        assert!(interval.high - interval.low < 0.02, "{interval:?}");
        assert_eq!(fair_gap_interval(&[], 30, 500, 0.95, 42), Interval::default());
    }

    proptest! {
        #[test]
        fn ndcg_lies_in_0_to_1_and_the_ideal_order_has_1(
            mut grades in proptest::collection::vec(0u8..4, 1..30), k in 1usize..10
        ) {
            match ndcg_at(k, &grades, &Grade::GAINS) {
                None => prop_assert!(grades.iter().all(|g| *g == 0)),
                Some(ndcg) => {
                    prop_assert!((0.0..=1.0 + 1e-12).contains(&ndcg));
                    grades.sort_unstable_by(|a, b| b.cmp(a));
                    let ideal = ndcg_at(k, &grades, &Grade::GAINS).unwrap();
                    prop_assert!((ideal - 1.0).abs() < 1e-12);
                    prop_assert!(ndcg <= ideal + 1e-12);
                }
            }
        }
    }
}
