//! What a scorer that goes bad in service costs: its own call, and nothing else.

use std::time::{Duration, Instant};

use evil::{Behaviour, Fault, When};
use runtime::{Output, ScoreError};

use crate::{NAMES, PATIENCE, engine, first_alone, load, numbers, rows};

/// Behaves for batches of up to 10 rows of three values.
const BIG: When = When::ValuesOver(30);

fn fails(fault: Fault) -> ScoreError {
    let scorer = load(Behaviour::Faulty(fault, BIG)).unwrap();
    assert_eq!(
        scorer.score(&rows(10), Output::Converted, PATIENCE),
        Ok(numbers(10)),
        "{fault:?}"
    );
    let timeout = if fault == Fault::Spin {
        Duration::from_millis(50)
    } else {
        PATIENCE
    };
    let failure = scorer
        .score(&rows(11), Output::Converted, timeout)
        .expect_err("the fault shows");
    assert_eq!(
        scorer.score(&rows(10), Output::Raw, PATIENCE),
        Ok(numbers(10)),
        "after {fault:?}"
    );
    failure
}

#[test]
fn a_trap_is_reported_as_one() {
    let ScoreError::Trap(what) = fails(Fault::Trap) else {
        panic!()
    };
    assert!(what.contains("unreachable"), "{what}");
}

#[test]
fn a_stack_overflow_is_a_trap() {
    let ScoreError::Trap(what) = fails(Fault::StackOverflow) else {
        panic!()
    };
    assert!(what.contains("stack"), "{what}");
}

#[test]
fn allocating_for_ever_ends_at_the_limit() {
    assert!(matches!(fails(Fault::AllocateForever), ScoreError::Trap(_)));
}

#[test]
fn spinning_ends_at_the_deadline() {
    assert_eq!(fails(Fault::Spin), ScoreError::Timeout);
}

#[test]
fn a_wrong_number_of_scores_is_bad_output() {
    use ScoreError::BadOutput;
    let BadOutput(few) = fails(Fault::TooFew) else { panic!() };
    assert!(few.contains("10 scores; expected 11"), "{few}");
    let BadOutput(many) = fails(Fault::TooMany) else {
        panic!()
    };
    assert!(many.contains("12 scores; expected 11"), "{many}");
    assert!(matches!(fails(Fault::FarTooMany), BadOutput(_)));
}

#[test]
fn scores_outside_of_the_memory_are_bad_output() {
    assert!(matches!(fails(Fault::LieAboutLengths), ScoreError::BadOutput(_)));
}

#[test]
fn a_refusal_carries_the_components_words_up_to_a_bound() {
    assert_eq!(fails(Fault::Refuse), ScoreError::Refused("no".into()));
    assert!(matches!(fails(Fault::RefuseAtLength), ScoreError::BadOutput(_)));
}

/// As [`fails`], in `explain`.
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
fn nan_scores_are_passed_on_for_the_caller_to_judge() {
    let scorer = load(Behaviour::Faulty(Fault::NanScores, When::Always)).unwrap();
    let scores = scorer.score(&rows(3), Output::Converted, PATIENCE).unwrap();
    assert!(scores.len() == 3 && scores.iter().all(|score| score.is_nan()));
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
