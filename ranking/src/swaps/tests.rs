use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;

use super::*;
use crate::fairness::{Fairness, rerank};
use crate::propensities::{Propensities, Swaps};
use crate::statistics::simulated::Market;

fn candidate(id: usize, cases_30d: u32, group: &str, offered: Option<i64>) -> Candidate {
    Candidate {
        lawyer_id: id.to_string(),
        features: Vec::new(),
        cases_30d,
        monthly_capacity: 10,
        groups: BTreeMap::from([("gender".to_owned(), group.to_owned())]),
        last_offered_at: offered.map(|days| DateTime::UNIX_EPOCH + TimeDelta::days(days)),
    }
}

fn coins(id: u128) -> Coins {
    Coins::of_swap(b"salt", Uuid::from_u128(id), Uuid::from_u128(1))
}

fn design(pairs: &[Pair]) -> Design {
    Design::new("ltr-swaps-v1", 1.0, pairs).unwrap()
}

fn over(upper: u32) -> Pair {
    Pair { upper, weight: 1.0 }
}

/// Lawyers who differ in score alone.
fn alike(n: usize) -> (Vec<Candidate>, Vec<Ranked>) {
    let candidates: Vec<Candidate> = (0..n).map(|id| candidate(id, 0, "", None)).collect();
    let scores: Vec<f64> = (0..n).map(|at| 1.0 - 0.001 * at as f64).collect();
    let ranked = rerank(&candidates, &scores, &Fairness::default());
    (candidates, ranked)
}

fn users(n: u128) -> impl Iterator<Item = Uuid> {
    (0..n).map(|i| Uuid::from_u128((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)))
}

#[test]
fn a_share_of_the_users_is_in_independently_of_the_other_samplers() {
    let tenth = Design::new("ltr-swaps-v1", 0.1, &[Pair::FIRST]).unwrap();
    let hold_out = Sampler::new("ltr-hold-out-v1", 0.1).unwrap();
    let selected: Vec<Uuid> = users(40_000).filter(|user| tenth.selects(|| *user)).collect();
    // Five standard deviations of a binomial around 4,000, and around 400.
    assert!((3_700..=4_300).contains(&selected.len()), "{}", selected.len());
    let both = selected.iter().filter(|user| hold_out.selects_key(user.as_bytes()));
    assert!((300..=500).contains(&both.count()));
    let nobody = Design::new("ltr-swaps-v1", 0.0, &[Pair::FIRST]).unwrap();
    assert!(!nobody.selects(|| panic!("nobody is asked who they are")));
}

#[test]
fn half_of_the_coins_swap_and_a_retry_gets_the_same_list() {
    let (candidates, ranked) = alike(5);
    let toss = |mut coins: Coins| design(&[Pair::FIRST]).toss(&mut coins, &candidates, &ranked).unwrap();
    let swapped = (0..4_000).filter(|id| toss(coins(*id)).swapped).count();
    // Five standard deviations of a binomial around 2,000.
    assert!((1_842..=2_158).contains(&swapped), "{swapped}");
    for id in 0..50 {
        let coin = toss(coins(id));
        assert_eq!((coin, coin.pair, coin.probability), (toss(coins(id)), [1, 2], 0.5));
        let order = [10, 11, 12];
        let shown = coin.applied(&order);
        assert_eq!(shown == [11, 10, 12], coin.swapped);
        assert_eq!(coin.applied(&shown), order);
    }
    // Who knows neither salt nor case cannot tell the coin from the request's id, and a draft's coins say nothing of it.
    let sides = |coins: fn(u128) -> Coins| (0..64).map(|id| toss(coins(id)).swapped).collect::<Vec<_>>();
    let own = sides(coins);
    assert_ne!(
        own,
        sides(|request| Coins::of_swap(b"other", Uuid::from_u128(request), Uuid::from_u128(1)))
    );
    assert_ne!(
        own,
        sides(|request| Coins::of_swap(b"salt", Uuid::from_u128(request), Uuid::from_u128(2)))
    );
    assert_ne!(
        own,
        sides(|request| Coins::new(b"salt", Uuid::from_u128(request), Uuid::from_u128(1)))
    );
}

#[test]
fn pairs_are_chosen_by_their_weights_and_only_among_the_places_that_are_shown() {
    let (candidates, ranked) = alike(5);
    let three = design(&[
        Pair { upper: 1, weight: 6.0 },
        Pair { upper: 2, weight: 3.0 },
        Pair { upper: 4, weight: 1.0 },
    ]);
    let mut counts = BTreeMap::new();
    for id in 0..10_000 {
        let coin = three.toss(&mut coins(id), &candidates, &ranked).unwrap();
        *counts.entry(coin.pair).or_insert(0) += 1;
    }
    // Five standard deviations around 6,000, 3,000 and 1,000.
    assert!((5_755..=6_245).contains(&counts[&[1, 2]]), "{counts:?}");
    assert!((2_770..=3_230).contains(&counts[&[2, 3]]), "{counts:?}");
    assert!((850..=1_150).contains(&counts[&[4, 5]]), "{counts:?}");
    for id in 0..200 {
        let coin = three.toss(&mut coins(id), &candidates, &ranked[..2]);
        assert!(coin.is_none_or(|coin| coin.pair == [1, 2]), "{coin:?}");
        assert_eq!(three.toss(&mut coins(id), &candidates, &ranked[..1]), None);
    }
}

#[test]
fn a_design_that_there_cannot_be_is_refused() {
    let refused = |share: f64, pairs: &[Pair]| Design::new("s", share, pairs).unwrap_err().to_string();
    assert_eq!(
        refused(1.5, &[Pair::FIRST]),
        "the sampled fraction is 1.5; allowed: 0 to 1"
    );
    assert_eq!(refused(0.1, &[]), "there is no pair");
    assert_eq!(refused(0.1, &[over(0)]), "upper is 0");
    assert_eq!(refused(0.1, &[over(100)]), "upper is 100");
    assert_eq!(refused(0.1, &[over(2), over(1), over(2)]), "upper is 2 twice");
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            refused(0.1, &[Pair { upper: 3, weight }]),
            format!("the weight of upper 3 is {weight}")
        );
    }
}

/// Whether the first two of these lawyers, with these scores, may change places.
fn may_swap(candidates: &[Candidate], scores: &[f64], upper: usize) -> bool {
    keeps_promises(candidates, &rerank(candidates, scores, &Fairness::default()), upper)
}

#[test]
fn whoever_fairness_put_ahead_stays_ahead() {
    let by_score = [candidate(0, 5, "M", None), candidate(1, 5, "M", None)];
    assert!(may_swap(&by_score, &[0.90, 0.89], 0));
    // Free capacity: the one with less of it was ahead in spite of that, the one with more because of it.
    let busy_first = [candidate(0, 5, "M", None), candidate(1, 4, "M", None)];
    assert!(may_swap(&busy_first, &[0.95, 0.88], 0));
    assert!(!may_swap(&busy_first, &[0.88, 0.89], 0));
    // The elite stands before others.
    assert!(!may_swap(&by_score, &[0.90, 0.50], 0));
    // Outside of it the score alone decides, whoever has more free capacity.
    let others = [
        candidate(9, 0, "", None),
        candidate(0, 0, "", None),
        candidate(1, 9, "", None),
    ];
    assert!(may_swap(&others, &[0.90, 0.50, 0.49], 1));
    // Of equals, whoever was offered longest ago.
    let waiting = [candidate(0, 5, "M", Some(7)), candidate(1, 5, "M", Some(3))];
    assert!(!may_swap(&waiting, &[0.90, 0.90], 0));
    // The boost of an under-represented group.
    let mut mixed: Vec<Candidate> = (0..8).map(|id| candidate(id, 5, "M", None)).collect();
    mixed[0] = candidate(0, 5, "F", None);
    let scores = [0.90, 0.895, 0.85, 0.85, 0.85, 0.85, 0.85, 0.85];
    assert!(!may_swap(&mixed, &scores, 0));
    mixed[1] = candidate(1, 5, "F", None);
    assert!(may_swap(&mixed, &scores, 0), "both have it");
}

#[test]
fn a_group_that_is_visible_at_the_top_stays_there() {
    let groups = ["M", "M", "F", "M", "F"];
    let people: Vec<Candidate> = (0..5).map(|id| candidate(id, 5, groups[id], None)).collect();
    // Nobody is boosted: the groups hold more than their share of the elite.
    let scores = [0.90, 0.89, 0.88, 0.87, 0.86];
    assert!(may_swap(&people, &scores, 0) && may_swap(&people, &scores, 1));
    assert!(!may_swap(&people, &scores, 2), "the only F of the top");
    assert!(may_swap(&people, &scores, 3));
    // Where another F stays, or another one comes in, or the group is not known, nobody is lost.
    for other in [
        ["M", "F", "F", "M", "M"],
        ["M", "M", "F", "F", "M"],
        ["M", "M", "", "M", "M"],
    ] {
        let people: Vec<Candidate> = (0..5).map(|id| candidate(id, 5, other[id], None)).collect();
        assert!(may_swap(&people, &scores, 2), "{other:?}");
    }
}

#[test]
fn the_tosses_tell_how_attention_falls() {
    let mut market = Market::new(11);
    let design = design(&[Pair::FIRST, over(2)]);
    let mut swaps = Swaps::default();
    for id in 0..3_000 {
        let relevance = market.case();
        let candidates: Vec<Candidate> = (0..relevance.len()).map(|id| candidate(id, 0, "", None)).collect();
        let shown = rerank(&candidates, &relevance, &Fairness::default());
        let order: Vec<usize> = shown.iter().map(|ranked| ranked.index).collect();
        let coin = design.toss(&mut coins(id), &candidates, &shown);
        let displayed = coin.map_or(order.clone(), |coin| coin.applied(&order));
        let clicked = market.clicks(&relevance, &displayed);
        if let Some(coin) = coin {
            swaps.add(&coin, |place| clicked[place as usize - 1]).unwrap();
        }
    }
    let propensities = Propensities::fit(&swaps, 0.99).unwrap();
    println!("eta {:?} from {} tosses", propensities.eta, propensities.tosses);
    assert!(
        propensities.eta.low <= 1.0 && 1.0 <= propensities.eta.high,
        "{propensities:?}"
    );
}

/// A case: lawyers with their scores, of which many are equal, and constants of the re-rank.
fn case() -> impl Strategy<Value = (Vec<Candidate>, Vec<f64>, Fairness)> {
    let group = prop::sample::select(vec!["F", "M", ""]);
    let cases = prop::sample::select(vec![0, 3, 6, 9, 12]);
    let lawyer = (cases, group, prop::option::of(0_i64..3), 6_u32..12);
    let lawyers = prop::collection::vec(lawyer, 1..9);
    let fairness = (0.0..=0.2, 0.0..=1.0, 0.0..=0.1, 0.0..=0.6);
    (lawyers, fairness).prop_map(|(lawyers, (elite_share, equity_weight, lambda, tau))| {
        let fairness = Fairness {
            elite_share,
            equity_weight,
            score_weight: 1.0 - equity_weight,
            lambda,
            tau,
            ..Fairness::default()
        };
        let scores = lawyers.iter().map(|lawyer| f64::from(lawyer.3) / 12.0).collect();
        let candidates = lawyers.iter().enumerate();
        let candidates = candidates.map(|(id, (cases, group, offered, _))| candidate(id, *cases, group, *offered));
        (candidates.collect(), scores, fairness)
    })
}

/// Free capacity, by the rule's own words.
fn free(candidate: &Candidate) -> f64 {
    (1.0 - f64::from(candidate.cases_30d) / f64::from(candidate.monthly_capacity)).max(0.05)
}

/// Whether the candidate's group holds less than `tau` of the elite.
fn is_boosted(at: usize, elite: &[usize], candidates: &[Candidate], tau: f64) -> bool {
    let group = |at: usize| candidates[at].groups["gender"].as_str();
    let holds = elite.iter().filter(|&&other| group(other) == group(at)).count();
    !group(at).is_empty() && (holds as f64) < tau * elite.len() as f64
}

proptest! {
    #[test]
    fn however_the_coin_falls_the_promises_of_the_re_rank_are_kept(
        (candidates, scores, fairness) in case(), upper in 1_u32..6, places in 1_usize..9, id in any::<u128>()
    ) {
        let ranked = rerank(&candidates, &scores, &fairness);
        let shown = &ranked[..places.min(ranked.len())];
        let Some(coin) = design(&[over(upper)]).toss(&mut coins(id), &candidates, shown) else {
            return Ok(());
        };
        let before: Vec<usize> = shown.iter().map(|ranked| ranked.index).collect();
        let after = Coin { swapped: true, ..coin }.applied(&before);
        prop_assert_eq!(coin.pair, [upper, upper + 1]);
        // Who fell behind whom.
        let (fell, rose) = (before[upper as usize - 1], before[upper as usize]);
        prop_assert_eq!((after[upper as usize - 1], after[upper as usize]), (rose, fell));
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let floor = best - fairness.elite_floor.max(fairness.elite_share * best);
        let elite: Vec<usize> = (0..scores.len()).filter(|&at| scores[at] >= floor).collect();
        prop_assert_eq!(elite.contains(&fell), elite.contains(&rose), "the elite stands before others");
        prop_assert!(scores[fell] > scores[rose], "the score has decided, and no tie-break");
        if elite.contains(&fell) {
            let weighs = fairness.equity_weight > 0.0;
            prop_assert!(!weighs || free(&candidates[fell]) <= free(&candidates[rose]) + 1e-12, "free capacity");
            let boosted = |at| fairness.lambda > 0.0 && is_boosted(at, &elite, &candidates, fairness.tau);
            prop_assert!(!boosted(fell) || boosted(rose), "the boost");
        }
        for group in ["F", "M"] {
            let visible = |order: &[usize]| order.iter().take(TOP).any(|&at| candidates[at].groups["gender"] == group);
            prop_assert!(!visible(&before) || visible(&after), "{}", group);
        }
    }

    #[test]
    fn the_coin_has_no_say_in_whether_it_is_tossed(
        (candidates, scores, fairness) in case(), upper in 1_u32..9, ids in prop::collection::vec(any::<u128>(), 8)
    ) {
        let shown = rerank(&candidates, &scores, &fairness);
        let design = design(&[over(upper)]);
        let tosses: Vec<_> = ids.iter().map(|id| design.toss(&mut coins(*id), &candidates, &shown)).collect();
        prop_assert!(tosses.iter().all(|coin| coin.is_some() == tosses[0].is_some()));
        prop_assert_eq!(tosses[0].is_some(), keeps_promises(&candidates, &shown, upper as usize - 1));
    }
}
