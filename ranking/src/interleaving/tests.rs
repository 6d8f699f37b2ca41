use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::propensities::{Propensities, Swaps};
use crate::statistics::simulated::Market;

fn candidates(groups: &[&str]) -> Vec<Candidate> {
    let each = groups.iter().enumerate();
    each.map(|(i, group)| Candidate {
        lawyer_id: i.to_string(),
        features: Vec::new(),
        cases_30d: 0,
        monthly_capacity: 0,
        groups: BTreeMap::from([("gender".to_owned(), (*group).to_owned())]),
        last_offered_at: None,
    })
    .collect()
}

fn coins(id: u128) -> Coins {
    Coins::new(b"salt", Uuid::from_u128(id), Uuid::from_u128(1))
}

fn place(order: &[usize], of: usize) -> usize {
    order.iter().position(|at| *at == of).unwrap()
}

#[test]
fn captains_pick_in_turn_and_nobody_picks_what_both_want() {
    use Source::{Interleaved, Legacy, Ltr};
    let draft = drafted(&[0, 1, 2, 3, 4], &[0, 3, 2, 1, 4], || true);
    assert_eq!(draft.order, [0, 1, 3, 2, 4]);
    assert_eq!(draft.drafted_by, [Interleaved, Legacy, Ltr, Interleaved, Interleaved]);
    let other = drafted(&[0, 1, 2, 3, 4], &[0, 3, 2, 1, 4], || false);
    assert_eq!(other.order, [0, 3, 1, 2, 4]);
    assert_eq!(drafted(&[], &[], || true).order, [0; 0]);
}

#[test]
fn only_contested_lawyers_count_by_their_gains() {
    use Grade::{Clicked, Contacted, Contracted, Shown};
    use Source::{Interleaved, Legacy, Ltr};
    let by = [Interleaved, Legacy, Ltr, Ltr];
    assert_eq!(credit(&by, &[Contracted, Shown, Shown, Shown], Clicked), 0);
    assert_eq!(credit(&by, &[Contracted, Shown, Clicked, Shown], Clicked), 1);
    // 6 against 3 + 3.
    assert_eq!(credit(&by, &[Shown, Contacted, Clicked, Clicked], Clicked), 0);
    assert_eq!(credit(&by, &[Shown, Contracted, Clicked, Contacted], Clicked), -1);
    assert_eq!(credit(&by, &[Shown, Clicked, Contacted, Contacted], Contracted), 0);
}

#[test]
fn a_retry_gets_the_same_list_and_coins_are_fair() {
    let heads = (0..4000).filter(|id| coins(*id).toss()).count();
    // Five standard deviations of a binomial around 2,000.
    assert!((1842..=2158).contains(&heads), "{heads}");
    let tosses = |mut coins: Coins| (0..64).map(|_| coins.toss()).collect::<Vec<_>>();
    assert_eq!(tosses(coins(7)), tosses(coins(7)));
    assert_ne!(tosses(coins(7)), tosses(coins(8)));
    assert_ne!(
        tosses(coins(7)),
        tosses(Coins::new(b"other", Uuid::from_u128(7), Uuid::from_u128(1)))
    );
    assert_ne!(
        tosses(coins(7)),
        tosses(Coins::new(b"salt", Uuid::from_u128(7), Uuid::from_u128(2)))
    );
}

#[test]
fn a_group_that_both_rankings_show_at_the_top_does_not_leave_it() {
    let people = candidates(&["M", "M", "M", "F", "F", "M", "F"]);
    // Both have a woman in third place; the draft would begin with men alone.
    let (legacy, ltr) = ([0, 1, 3, 2, 4, 5, 6], [2, 5, 4, 0, 1, 3, 6]);
    assert!(draft(&people, &legacy, &ltr, &mut coins(1)).is_none());
    // An unknown group is nobody's, and one that only one ranking shows is no promise of both.
    let unknown = candidates(&["M", "M", "M", "", "", "M", ""]);
    assert!(draft(&unknown, &legacy, &ltr, &mut coins(1)).is_some());
    assert!(draft(&people, &[0, 1, 2, 3, 4, 5, 6], &ltr, &mut coins(1)).is_some());
}

#[test]
#[should_panic(expected = "candidate 1 is ranked twice")]
fn two_rankings_of_different_candidates_are_a_mistake_of_the_caller() {
    let _ = draft(&candidates(&["", ""]), &[0, 1], &[1, 1], &mut coins(1));
}

/// Mean credit of contracts a case, and its standard error, over `n` cases of clients who examine by 1/rank.
fn mean_credit(noise_of_legacy: f64, noise_of_ltr: f64, n: u128) -> (f64, f64) {
    let mut market = Market::new(5);
    let people = candidates(&[""; 12]);
    let mut sums = [0.0; 2];
    for id in 0..n {
        let relevance = market.case();
        let legacy = market.ranked(&relevance, noise_of_legacy);
        let ltr = market.ranked(&relevance, noise_of_ltr);
        let draft = draft(&people, &legacy, &ltr, &mut coins(id)).unwrap();
        let contracts = market.contracts(&relevance, &draft.order);
        let grades: Vec<Grade> = contracts
            .iter()
            .map(|signed| if *signed { Grade::Contracted } else { Grade::Shown })
            .collect();
        let credit = f64::from(credit(&draft.drafted_by, &grades, Grade::Contracted));
        sums = [sums[0] + credit, sums[1] + credit * credit];
    }
    let n = n as f64;
    let mean = sums[0] / n;
    (mean, ((sums[1] / n - mean * mean) / n).sqrt())
}

#[test]
fn equal_rankers_draw_and_the_better_one_wins() {
    let (equal, error) = mean_credit(0.3, 0.3, 20_000);
    let (better, wider) = mean_credit(0.3, 0.1, 5_000);
    let (random, _) = mean_credit(0.3, 1000.0, 5_000);
    println!("credit a case: equal {equal:.4} +- {error:.4}; +- {wider:.4}: better {better:.4}, random {random:.4}");
    assert!(equal.abs() < 1.96 * error, "{equal} +- {error}");
    assert!(better > 3.0 * wider, "{better} +- {wider}");
    assert!(random < -3.0 * wider, "{random} +- {wider}");
}

#[test]
fn interleaved_traffic_tells_the_propensities_too() {
    let mut market = Market::new(6);
    let mut swaps = Swaps::default();
    let people = candidates(&[""; 12]);
    for id in 0..3_000 {
        let relevance = market.case();
        let (legacy, ltr) = (market.ranked(&relevance, 0.3), market.ranked(&relevance, 0.1));
        let draft = draft(&people, &legacy, &ltr, &mut coins(id)).unwrap();
        let clicked = market.clicks(&relevance, &draft.order);
        for coin in tosses(&draft.drafted_by) {
            swaps.add(&coin, |place| clicked[place as usize - 1]).unwrap();
        }
    }
    let propensities = Propensities::fit(&swaps, 0.99).unwrap();
    println!("eta {:?} from {} tosses", propensities.eta, propensities.tosses);
    assert!(
        propensities.eta.low <= 1.0 && 1.0 <= propensities.eta.high,
        "{propensities:?}"
    );
    assert!(propensities.identified(0.6));
}

fn two_rankings() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    (0usize..14).prop_flat_map(|n| {
        let order: Vec<usize> = (0..n).collect();
        (Just(order.clone()).prop_shuffle(), Just(order).prop_shuffle())
    })
}

proptest! {
    #[test]
    fn a_draft_has_every_candidate_once_and_the_tops_of_both_at_its_top(
        (legacy, ltr) in two_rankings(), id in any::<u128>()
    ) {
        let people = candidates(&vec![""; legacy.len()]);
        let draft = draft(&people, &legacy, &ltr, &mut coins(id)).unwrap();
        let mut sorted = draft.order.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..legacy.len()).collect::<Vec<_>>());
        prop_assert_eq!(draft.drafted_by.len(), legacy.len());
        for order in [&legacy, &ltr] {
            for (at, lawyer) in order.iter().enumerate() {
                prop_assert!(place(&draft.order, *lawyer) <= 2 * at + 1);
            }
        }
        // Teams stand in pairs of both, in either order, so neither is ever ahead by more than one.
        let contested: Vec<Source> = draft.drafted_by.into_iter().filter(|by| *by != Source::Interleaved).collect();
        prop_assert!(contested.len().is_multiple_of(2));
        prop_assert!(contested.chunks(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn each_toss_is_over_neighbours_who_change_places_with_the_coin((legacy, ltr) in two_rankings()) {
        let [ahead, behind] = [true, false].map(|legacy_first| drafted(&legacy, &ltr, || legacy_first));
        let coins = tosses(&ahead.drafted_by);
        for (at, lawyer) in ahead.order.iter().enumerate() {
            let own = at as u32 + 1;
            let other = coins.iter().find_map(|coin| coin.other_place(own)).unwrap_or(own);
            prop_assert_eq!(behind.order[other as usize - 1], *lawyer);
            prop_assert_eq!(other == own, ahead.drafted_by[at] == Source::Interleaved);
        }
        prop_assert!(coins.iter().all(|coin| !coin.swapped && coin.pair[0] + 1 == coin.pair[1]));
        prop_assert!(tosses(&behind.drafted_by).iter().all(|coin| coin.swapped));
    }

    #[test]
    fn whatever_both_rankings_agree_on_the_draft_keeps((legacy, ltr) in two_rankings(), id in any::<u128>()) {
        let people = candidates(&vec![""; legacy.len()]);
        let order = draft(&people, &legacy, &ltr, &mut coins(id)).unwrap().order;
        for a in 0..legacy.len() {
            for b in 0..legacy.len() {
                if place(&legacy, a) < place(&legacy, b) && place(&ltr, a) < place(&ltr, b) {
                    prop_assert!(place(&order, a) < place(&order, b));
                }
            }
        }
    }

    #[test]
    fn a_draft_that_is_made_shows_the_groups_that_both_rankings_show(
        (legacy, ltr) in two_rankings(),
        groups in proptest::collection::vec(prop_oneof![Just("F"), Just("M"), Just("")], 14),
        ids in proptest::collection::vec(any::<u128>(), 8),
    ) {
        let people = candidates(&groups[..legacy.len()]);
        let drafts: Vec<_> = ids.iter().map(|id| draft(&people, &legacy, &ltr, &mut coins(*id))).collect();
        for group in ["F", "M"] {
            let shown = |order: &[usize]| order.iter().take(TOP).any(|&at| groups[at] == group);
            if shown(&legacy) && shown(&ltr) {
                prop_assert!(drafts.iter().flatten().all(|draft| shown(&draft.order)));
            }
        }
        // The coins have no say in whether there is a draft.
        prop_assert!(drafts.iter().all(|draft| draft.is_some() == drafts[0].is_some()));
    }
}
