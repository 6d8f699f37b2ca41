use chrono::{Days, NaiveDate};

use super::*;
use crate::events::Coin;
use crate::statistics::simulated::Market;

/// As wide as four standard errors of 0.2, about.
const RULES: ExaminationRules = ExaminationRules {
    width: 0.8,
    confidence: 0.95,
    share: 0.1,
    pairs: Vec::new(),
};

fn rules(share: f64) -> ExaminationRules {
    ExaminationRules {
        share,
        pairs: vec![Pair::FIRST],
        ..RULES
    }
}

fn date(day: usize) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 10, 1).unwrap() + Days::new(day as u64)
}

/// Days of so many users whom a good ranking is shown, and of so many for whom its first two are swapped by a coin.
fn days(market: &mut Market, users: u64, tosses: usize, days: usize) -> Vec<OutcomeDay> {
    let day = |at| {
        let mut day = OutcomeDay::new(date(at));
        let mut show = |swapped: Option<bool>| {
            let relevance = market.case();
            let mut displayed = market.ranked(&relevance, 0.1);
            if swapped == Some(true) {
                displayed.swap(0, 1);
            }
            market.clicks(&relevance, &displayed)
        };
        for _ in 0..users {
            let clicked = show(None);
            let places = PlaceClicks {
                users: 1,
                clicks: clicked.iter().copied().map(u64::from).collect(),
            };
            day.places.merge(&places);
        }
        for toss in 0..tosses {
            let coin = Coin {
                pair: [1, 2],
                swapped: toss % 2 == 0,
                probability: 0.5,
            };
            let clicked = show(Some(coin.swapped));
            day.swaps.add(&coin, |place| clicked[place as usize - 1]).unwrap();
        }
        day
    };
    (0..days).map(day).collect()
}

#[test]
fn the_plan_before_the_first_toss_comes_true() {
    let mut market = Market::new(1);
    let before = days(&mut market, 100, 0, 7);
    let plan = examination(&before, &rules(0.2));
    assert_eq!((plan.eta, plan.identified, plan.swaps), (None, false, 0));
    assert_eq!(plan.reason, "no coin was tossed yet");
    let planned = plan.days_missing.unwrap() as usize;
    // The share that was planned with, tossed.
    let tossed = days(&mut market, 80, 20, 2 * planned);
    let known = (1..=tossed.len()).find(|n| examination(&tossed[..*n], &rules(0.2)).identified);
    let known = known.expect("twice the plan is enough");
    println!("planned {planned} days, known after {known}");
    assert!(
        (planned / 2..=planned + planned / 2).contains(&known),
        "{known}, planned {planned}"
    );
    let all = examination(&tossed, &rules(0.2));
    assert!(all.eta.is_some_and(|eta| eta.low <= 1.0 && 1.0 <= eta.high), "{all:?}");
    assert_eq!((all.days_missing, all.swaps), (Some(0), 40 * planned as u64));
    assert!(all.reason.ends_with("below swaps.width, 0.8"), "{}", all.reason);
    // Ten times the share is known in a tenth of the time.
    let tenth = examination(&before, &rules(0.02)).days_missing.unwrap() as usize;
    assert!((10 * planned - 10..=10 * planned).contains(&tenth), "{tenth}");
}

#[test]
fn on_the_way_it_says_how_many_days_are_missing() {
    let mut market = Market::new(2);
    let half = days(&mut market, 80, 20, 8);
    let now = examination(&half, &rules(0.2));
    assert!(now.eta.is_some() && !now.identified, "{now:?}");
    let missing = now.days_missing.unwrap();
    assert!((3..=60).contains(&missing), "{missing}");
    assert!(now.reason.ends_with("not below swaps.width, 0.8"), "{}", now.reason);
    // Nothing was tossed lately, so that no day brings it nearer.
    let stopped = [half, days(&mut market, 100, 0, 7)].concat();
    assert_eq!(examination(&stopped, &rules(0.0)).days_missing, None);
}

#[test]
fn coins_of_drafts_say_the_same_as_swaps() {
    let mut market = Market::new(3);
    let swapped = days(&mut market, 0, 40, 30);
    let drafted: Vec<OutcomeDay> = swapped
        .iter()
        .map(|day| OutcomeDay {
            drafts: day.swaps.clone(),
            ..OutcomeDay::new(day.date)
        })
        .collect();
    let (one, other) = (examination(&swapped, &rules(0.2)), examination(&drafted, &rules(0.2)));
    assert_eq!((one.swaps, one.drafts, other.swaps, other.drafts), (1_200, 0, 0, 1_200));
    assert_eq!((one.eta, one.pairs), (other.eta, other.pairs));
}

#[test]
fn what_is_not_known_has_its_reason() {
    let said = |days: &[OutcomeDay], share| {
        let examination = examination(days, &rules(share));
        assert!(!examination.identified && examination.eta.is_none());
        (examination.reason, examination.days_missing)
    };
    let quiet = [OutcomeDay::new(date(0))];
    assert_eq!(said(&[], 0.5), ("no day is closed yet".to_owned(), None));
    assert_eq!(
        said(&quiet, 0.0),
        ("no coin is tossed; swaps.share is 0".to_owned(), None)
    );
    assert_eq!(said(&quiet, 0.5), ("no coin was tossed yet".to_owned(), None));
    let mut tossed = OutcomeDay::new(date(1));
    let coin = Coin {
        pair: [1, 2],
        swapped: true,
        probability: 0.5,
    };
    tossed.swaps.add(&coin, |_| false).unwrap();
    let no_clicks = "no click at a coin-tossed place in 1 tosses".to_owned();
    assert_eq!(said(&[tossed], 0.5), (no_clicks, None));
}
