use super::*;
use crate::statistics::simulated::Market;

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Click,
    Contract,
}

/// `n` cases of clients who examine by 1/rank. Legacy's noise is 0.3; whoever is displayed is shown whole.
fn log(seed: u64, n: u128, noise_of_ltr: f64, is_ltr_displayed: bool, outcome: Outcome) -> Vec<Case> {
    let mut market = Market::new(seed);
    let case = |client| {
        let relevance = market.case();
        let legacy = market.ranked(&relevance, 0.3);
        let ltr = market.ranked(&relevance, noise_of_ltr);
        let displayed = if is_ltr_displayed { &ltr } else { &legacy };
        let acted = match outcome {
            Outcome::Click => market.clicks(&relevance, displayed),
            Outcome::Contract => market.contracts(&relevance, displayed),
        };
        let rank = |order: &[usize], lawyer| order.iter().position(|at| *at == lawyer).unwrap() as u32 + 1;
        let lawyers = displayed
            .iter()
            .zip(acted)
            .zip(1..)
            .map(|((&lawyer, acted), place)| Lawyer {
                displayed: Some(place),
                otherwise: None,
                legacy: Some(rank(&legacy, lawyer)),
                ltr: Some(rank(&ltr, lawyer)),
                outcome: f64::from(u8::from(acted)),
                relevance: relevance[lawyer],
            });
        Case {
            client: Uuid::from_u128(client),
            lawyers: lawyers.collect(),
        }
    };
    (0..n).map(case).collect()
}

/// What both rankings are worth in truth.
fn truth(cases: &[Case]) -> f64 {
    let at = |rank: Option<u32>| rank.map_or(0.0, |rank| theta(rank, 1.0));
    let of = |lawyer: &Lawyer| lawyer.relevance * (at(lawyer.ltr) - at(lawyer.legacy));
    cases.iter().flat_map(|case| &case.lawyers).map(of).sum::<f64>() / cases.len() as f64
}

fn holds(interval: Interval, value: f64) -> bool {
    interval.low <= value && value <= interval.high
}

#[test]
fn equal_rankers_are_equal_on_clicks_whichever_was_displayed() {
    for is_ltr_displayed in [false, true] {
        let cases = log(1, 20_000, 0.3, is_ltr_displayed, Outcome::Click);
        let naive = |rank: fn(&Lawyer) -> Option<u32>| {
            let top = cases
                .iter()
                .flat_map(|case| &case.lawyers)
                .filter(|l| rank(l) <= Some(3));
            top.map(|lawyer| lawyer.outcome).sum::<f64>() / cases.len() as f64
        };
        let naive = naive(|lawyer| lawyer.ltr) - naive(|lawyer| lawyer.legacy);
        let ips = Estimator::default().ips(&cases);
        let robust = Estimator::default().doubly_robust(&cases);
        println!(
            "LTR displayed: {is_ltr_displayed}; clicks in the top 3: {naive:+.3}; IPS {:?}",
            ips.difference
        );
        println!(
            "doubly robust {:?}; {:.0} of {} outcomes",
            robust.difference, ips.effective_sample_size, ips.outcomes
        );
        assert!(naive.abs() > 0.1, "the naive comparison favours who was displayed");
        assert_eq!(naive > 0.0, is_ltr_displayed);
        assert!(holds(ips.difference, 0.0), "{:?}", ips.difference);
        assert!(holds(robust.difference, 0.0), "{:?}", robust.difference);
        assert!(ips.effective_sample_size > 0.0 && ips.effective_sample_size <= ips.outcomes as f64);
    }
}

#[test]
fn contracts_favour_whoever_was_displayed_even_with_true_propensities() {
    for is_ltr_displayed in [false, true] {
        let difference = Estimator::default()
            .ips(&log(2, 40_000, 0.3, is_ltr_displayed, Outcome::Contract))
            .difference;
        println!("IPS on contracts, LTR displayed {is_ltr_displayed}: {difference:?}");
        if is_ltr_displayed {
            assert!(difference.low > 0.0, "{difference:?}");
        } else {
            assert!(difference.high < 0.0, "{difference:?}");
        }
    }
}

#[test]
fn the_better_ranker_is_better_and_the_random_one_worse_while_legacy_is_displayed() {
    for (noise, is_better) in [(0.05, true), (1000.0, false)] {
        let cases = log(3, 20_000, noise, false, Outcome::Click);
        let estimator = Estimator {
            confidence: 0.999,
            ..Estimator::default()
        };
        let (ips, robust) = (estimator.ips(&cases), estimator.doubly_robust(&cases));
        println!(
            "truth {:+.3}, IPS {:?}, doubly robust {:?}",
            truth(&cases),
            ips.difference,
            robust.difference
        );
        assert!(holds(ips.difference, truth(&cases)) && holds(robust.difference, truth(&cases)));
        assert_eq!(robust.difference.low > 0.0, is_better);
        assert_eq!(robust.difference.high < 0.0, !is_better);
        assert!((robust.ltr - robust.legacy - robust.difference.estimate).abs() < 1e-9);
    }
}

fn width(value: Value) -> f64 {
    value.difference.high - value.difference.low
}

#[test]
fn a_right_model_takes_out_clipping_and_the_noise_of_coins() {
    let estimator = Estimator {
        confidence: 0.999,
        ..Estimator::default()
    };
    let mut cases = log(7, 20_000, 0.05, false, Outcome::Click);
    let clipped = Estimator { clip: 1.2, ..estimator };
    let (ips, robust) = (clipped.ips(&cases).difference, clipped.doubly_robust(&cases).difference);
    println!(
        "clipped at 1.2: truth {:+.3}, IPS {ips:?}, doubly robust {robust:?}",
        truth(&cases)
    );
    assert!(!holds(ips, truth(&cases)) && holds(robust, truth(&cases)));

    // A coin tossed between places 1 and 6: as if the lawyers had stood at the other's place, with clicks to fit.
    let mut market = Market::new(8);
    for case in &mut cases {
        let swapped = market.draws.uniform() < 0.5;
        for (at, other) in [(0, 6), (5, 1)] {
            let lawyer = &mut case.lawyers[at];
            let own = lawyer.displayed.unwrap();
            let place = if swapped { other } else { own };
            (lawyer.displayed, lawyer.otherwise) = (Some(place), Some(own + other - place));
            let is_clicked = market.draws.uniform() < lawyer.relevance / f64::from(place);
            lawyer.outcome = f64::from(u8::from(is_clicked));
        }
    }
    let (ips, robust) = (estimator.ips(&cases), estimator.doubly_robust(&cases));
    println!(
        "coins: truth {:+.3}, IPS {:?}, doubly robust {:?}",
        truth(&cases),
        ips.difference,
        robust.difference
    );
    assert!(holds(ips.difference, truth(&cases)) && holds(robust.difference, truth(&cases)));
    assert!(width(robust) < width(ips), "{} {}", width(robust), width(ips));
}

#[test]
fn without_a_model_doubly_robust_is_ips_and_a_wrong_model_does_not_bias() {
    let mut cases = log(4, 5_000, 0.1, false, Outcome::Click);
    let true_difference = truth(&cases);
    let set = |cases: &mut [Case], relevance: fn(f64) -> f64| {
        let all = cases.iter_mut().flat_map(|case| &mut case.lawyers);
        all.for_each(|lawyer| lawyer.relevance = relevance(lawyer.relevance));
    };
    set(&mut cases, |right| 0.3 - right / 2.0);
    // Nothing is clipped: clipping is what a wrong model cannot make good.
    let estimator = Estimator {
        clip: 12.0,
        ..Estimator::default()
    };
    assert!(holds(estimator.doubly_robust(&cases).difference, true_difference));
    set(&mut cases, |_| 0.0);
    assert_eq!(estimator.doubly_robust(&cases), estimator.ips(&cases));
    assert_eq!(estimator.ips(&cases).clipping, 0.0);
    let clipped = Estimator { clip: 1.5, ..estimator }.ips(&cases);
    assert!(
        clipped.clipping < 0.0,
        "it takes from the ranking that was not displayed: {}",
        clipped.clipping
    );
}

#[test]
fn bounds_hold_the_truth_and_grow_with_what_is_not_known() {
    let mut cases = log(5, 5_000, 0.05, false, Outcome::Click);
    let estimator = Estimator::default();
    let known = estimator.ips(&cases).difference;
    let bounds = estimator.bounds(&cases, 0.0..=2.0);
    println!("eta known {known:?}, between 0 and 2: {bounds:?}");
    assert!(bounds.worst <= truth(&cases) && truth(&cases) <= bounds.best);
    assert!(bounds.worst <= known.low && known.high <= bounds.best);
    let narrower = estimator.bounds(&cases, 0.9..=1.1);
    assert!(bounds.worst <= narrower.worst && narrower.best < bounds.best);
    // With eta 0 everybody is examined, so both lists would be worth the same.
    assert_eq!(estimator.bounds(&cases, 0.0..=0.0), Bounds { worst: 0.0, best: 0.0 });

    // The last six were not displayed: they may have been worth anything.
    for lawyer in cases.iter_mut().flat_map(|case| &mut case.lawyers) {
        if lawyer.displayed > Some(6) {
            (lawyer.displayed, lawyer.outcome) = (None, 0.0);
        }
    }
    let unseen = estimator.ips(&cases).unseen_top;
    assert!(unseen > 0.05 && unseen < 0.5, "{unseen}");
    let wider = estimator.bounds(&cases, 0.9..=1.1);
    assert!(wider.worst < narrower.worst && wider.best > narrower.best);
    assert!(wider.worst <= truth(&cases) && truth(&cases) <= wider.best);
}

#[test]
fn one_clients_cases_are_not_evidence_from_many() {
    let cases = log(6, 500, 0.1, false, Outcome::Click);
    let mut repeated: Vec<Case> = (0..10).flat_map(|_| cases.clone()).collect();
    let width = |cases: &[Case]| width(Estimator::default().ips(cases));
    assert!((width(&repeated) - width(&cases)).abs() < 1e-9);
    for (client, case) in (0..).zip(&mut repeated) {
        case.client = Uuid::from_u128(client);
    }
    assert!(width(&repeated) < width(&cases) / 3.0);
    let one = Estimator::default().ips(&cases[..1]);
    assert_eq!((one.difference.low, one.difference.high), (f64::MIN, f64::MAX));
    assert_eq!(Estimator::default().ips(&[]), Value::default());
}
