//! What a scorer that goes bad in service costs: its own call, and nothing else.

use std::time::{Duration, Instant};

use evil::{Behaviour, Fault, When};
use runtime::{Output, ScoreError};

use crate::{NAMES, PATIENCE, engine, first_alone, load, numbers, rows};

/// Behaves for batches of up to 10 rows of three values.
const BIG: When = When::ValuesOver(30);

/// What `explain` says once the fault shows, on an otherwise healthy scorer.
fn fails_to_explain(fault: Fault) -> ScoreError {
    let scorer = load(Behaviour::Faulty(fault, BIG)).unwrap();
    assert_eq!(scorer.explain(&rows(10), PATIENCE), Ok(first_alone(10)), "{fault:?}");
    let timeout = match fault {
        Fault::Spin => Duration::from_millis(50),
        _ => PATIENCE,
    };
    let failure = scorer.explain(&rows(11), timeout).expect_err("the fault shows");
    assert_eq!(
        scorer.explain(&rows(10), PATIENCE),
        Ok(first_alone(10)),
        "after {fault:?}"
    );
    failure
}

#[test]
fn explaining_fails_in_the_ways_of_scoring() {
    for fault in [Fault::Trap, Fault::StackOverflow, Fault::AllocateForever] {
        let failure = fails_to_explain(fault);
        assert!(matches!(failure, ScoreError::Trap(_)), "{fault:?}: {failure}");
    }
    assert_eq!(fails_to_explain(Fault::Spin), ScoreError::Timeout);
    assert_eq!(fails_to_explain(Fault::Refuse), ScoreError::Refused("no".into()));
    for (fault, said) in [
        (Fault::TooFew, "43 contributions; expected 44"),
        (Fault::TooMany, "45 contributions; expected 44"),
        (Fault::NanScores, "a contribution is NaN; expected finite numbers"),
        (Fault::FarTooMany, ""),
        (Fault::LieAboutLengths, ""),
        (Fault::RefuseAtLength, ""),
    ] {
        let failure = fails_to_explain(fault);
        assert!(
            matches!(&failure, ScoreError::BadOutput(what) if what.contains(said)),
            "{fault:?}: {failure}"
        );
    }
}

#[test]
fn a_failed_instance_is_replaced_by_a_fresh_one() {
    let scorer = load(Behaviour::Faulty(Fault::Trap, When::AfterCalls(2))).unwrap();
    let one = || scorer.score(&rows(1), Output::Converted, PATIENCE).is_ok();
    let outcomes: Vec<bool> = (0..6).map(|_| one()).collect();
    assert_eq!(outcomes, [true, true, false, true, true, false]);
}

#[test]
fn a_spinning_scorer_does_not_hold_up_another() {
    let engine = engine();
    let spinning = engine
        .load(&evil::component(NAMES, Behaviour::Faulty(Fault::Spin, When::Always)))
        .unwrap();
    let honest = engine.load(&evil::component(NAMES, Behaviour::Honest)).unwrap();
    std::thread::scope(|scope| {
        let spin = scope.spawn(|| spinning.score(&rows(1), Output::Converted, Duration::from_secs(2)));
        let started = Instant::now();
        let mut calls = 0;
        while started.elapsed() < Duration::from_millis(500) {
            assert_eq!(honest.score(&rows(5), Output::Converted, PATIENCE), Ok(numbers(5)));
            calls += 1;
        }
        assert!(calls > 100, "{calls} calls in half a second");
        assert!(!spin.is_finished());
        assert_eq!(spin.join().unwrap(), Err(ScoreError::Timeout));
    });
}
