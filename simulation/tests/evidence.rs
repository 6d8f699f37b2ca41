//! What must hold of the rules that decide, in fewer years than `make evidence` simulates.

use simulation::chance::Chance;
use simulation::logs::{Counted, Displayed, ips};
use simulation::market::{Challenger, Client, contracted, hit3_gain, with_gain};
use simulation::shadow::{Plan, Promoted, YEAR, gain_of_pool, year};
use simulation::shares::{quantile, share, years};
use simulation::trials::{Incident, dip_by, trial_of, watched, worse_by, year_of_trials};

const FROM_ABOVE: Client = Client { eta: 1.0, enough: 0.0 };
const CASES_A_DAY: f64 = 430.0;

fn promoted(pool: &[(u16, u16)], contracts_a_day: f64, patience_days: Option<u32>, number: u64) -> Vec<Promoted> {
    let plan = Plan {
        contracts_a_day,
        pool,
        patience_days,
        alpha: 0.05,
    };
    years(number, 11, |chance| year(&plan, chance))
}

#[test]
fn without_an_effect_few_years_see_a_promotion_and_simpler_rules_promote_in_many() {
    let pool = with_gain(0.0, 20_000, 7);
    for contracts_a_day in [3.0, 10.0, 30.0, 300.0] {
        for patience_days in [None, Some(45)] {
            let years = promoted(&pool, contracts_a_day, patience_days, 60);
            let of = |rule: fn(&Promoted) -> Option<u32>| share(years.iter().map(rule), YEAR);
            // 3 of 60 expected at most; two standard deviations above it.
            assert!(
                of(|year| year.verdict) <= 6.0 / 60.0,
                "{contracts_a_day} {patience_days:?}"
            );
            assert!(of(|year| year.naive) > 0.2, "{contracts_a_day} {patience_days:?}");
        }
    }
}

#[test]
fn eight_points_are_found_in_two_weeks_at_300_contracts_a_day_and_in_45_days_at_30() {
    let pool = with_gain(gain_of_pool(0.08), 20_000, 7);
    for patience_days in [None, Some(45)] {
        let by = |contracts_a_day, day| {
            let years = promoted(&pool, contracts_a_day, patience_days, 60);
            share(years.iter().map(|year| year.verdict), day)
        };
        assert!(by(300.0, 14) >= 0.9, "{patience_days:?}");
        assert!(
            by(30.0, 45) >= if patience_days.is_none() { 0.9 } else { 0.75 },
            "{patience_days:?}"
        );
    }
}

#[test]
fn interleaving_promotes_a_better_ranker_whose_raw_figures_are_worse_and_no_other() {
    let run = |challenger| {
        let raw = contracted(challenger, FROM_ABOVE, 20_000, &mut Chance::new(7, 0));
        let ended = years(20, 3, |chance| trial_of(challenger, FROM_ABOVE, CASES_A_DAY, chance));
        let decided: Vec<u64> = ended.iter().map(|ended| ended.decided).collect();
        let promoted = share(ended.iter().map(|ended| ended.promoted), YEAR);
        (hit3_gain(&raw), promoted, quantile(&decided, 0.5))
    };
    let (raw, promoted, contracts) = run(Challenger::Better);
    assert!(
        raw < -0.05 && promoted >= 0.95 && contracts < 700,
        "{raw} {promoted} {contracts}"
    );
    let (raw, promoted, _) = run(Challenger::Equal);
    assert!(raw < -0.15 && promoted <= 0.1, "{raw} {promoted}");
    let (_, promoted, contracts) = run(Challenger::Random);
    assert!(promoted == 0.0 && contracts < 500, "{promoted} {contracts}");
}

#[test]
fn a_year_of_trials_of_equal_rankers_sees_no_promotion_in_nineteen_of_twenty() {
    let run = |challenger| {
        years(40, 9, |chance| {
            year_of_trials(challenger, FROM_ABOVE, CASES_A_DAY / 10.0, chance)
        })
    };
    let equal = run(Challenger::Equal);
    // 2 of 40 expected at most; two standard deviations above it.
    let promoted = equal.iter().filter(|year| year.budgeted.is_some()).count();
    assert!(promoted <= 4, "{promoted} of 40");
    let better = run(Challenger::Better);
    assert!(better.iter().filter(|year| year.budgeted.is_some()).count() >= 36);
}

#[test]
fn on_clicks_equal_rankers_come_out_equal_whichever_was_displayed_and_on_contracts_they_do_not() {
    let value = |displayed, counted| {
        let value = ips(
            Challenger::Equal,
            displayed,
            counted,
            FROM_ABOVE,
            40_000,
            &mut Chance::new(5, 0),
        );
        value.difference
    };
    for displayed in [Displayed::Legacy, Displayed::Ltr] {
        let clicks = value(displayed, Counted::Clicks);
        assert!(clicks.low <= 0.0 && 0.0 <= clicks.high, "{displayed:?}: {clicks:?}");
    }
    assert!(value(Displayed::Legacy, Counted::Contracts).high < 0.0);
    assert!(value(Displayed::Ltr, Counted::Contracts).low > 0.0);
}

#[test]
fn a_fall_is_rolled_back_a_dip_of_the_market_is_not_and_quiet_years_stay_quiet() {
    let live = Challenger::Better;
    let run = |incident| years(20, 5, |chance| watched(incident, live, FROM_ABOVE, CASES_A_DAY, chance));
    let fallen = run(Incident::Falls(worse_by(0.1, live, FROM_ABOVE)));
    let users: Vec<u64> = fallen.iter().filter_map(|year| year.users).collect();
    let days: Vec<u64> = fallen.iter().filter_map(|year| year.days.map(u64::from)).collect();
    assert!(users.len() == 20 && quantile(&users, 0.9) <= 1_250, "{users:?}");
    assert!(quantile(&days, 0.9) <= 10, "{days:?}");
    assert!(fallen.iter().all(|year| year.rolled_back));
    let dipped = run(Incident::Dip(dip_by(0.1, live, FROM_ABOVE)));
    assert!(
        dipped.iter().filter(|year| year.days.is_some()).count() >= 18,
        "{dipped:?}"
    );
    assert!(dipped.iter().filter(|year| year.rolled_back).count() <= 1, "{dipped:?}");
    assert!(run(Incident::None).iter().filter(|year| year.rolled_back).count() <= 2);
    let forced = run(Incident::Forced(Challenger::Random));
    assert!(forced.iter().all(|year| year.rolled_back), "{forced:?}");
}
