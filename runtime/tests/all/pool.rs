//! Many callers, one scorer.

use std::time::{Duration, Instant};

use evil::{Behaviour, Fault, When};
use runtime::{Engine, Limits, Output, ScoreError, Scorer};

use crate::{NAMES, PATIENCE, first_alone, load, numbers, rows};

fn load_with(limits: Limits, behaviour: Behaviour) -> Scorer {
    Engine::new(limits)
        .unwrap()
        .load(&evil::component(NAMES, behaviour))
        .unwrap()
}

#[test]
fn callers_in_parallel_get_their_own_scores() {
    let scorer = load(Behaviour::Honest).unwrap();
    std::thread::scope(|scope| {
        for caller in 0..16 {
            let scorer = scorer.clone();
            scope.spawn(move || {
                for call in 0..50 {
                    let count = (caller * 7 + call) % 90;
                    assert_eq!(
                        scorer.score(&rows(count), Output::Converted, PATIENCE),
                        Ok(numbers(count))
                    );
                }
            });
        }
    });
}

#[test]
fn failures_among_parallel_callers_stay_their_own() {
    let scorer = load(Behaviour::Faulty(Fault::Trap, When::ValuesOver(30))).unwrap();
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let scorer = scorer.clone();
            scope.spawn(move || {
                for call in 0..40 {
                    let count = if (caller + call) % 3 == 0 { 20 } else { 10 };
                    let scores = scorer.score(&rows(count), Output::Converted, PATIENCE);
                    assert_eq!(scores.is_ok(), count == 10);
                }
            });
        }
    });
}

#[test]
fn a_call_beyond_the_last_instance_waits_and_then_gives_up() {
    let limits = Limits {
        max_instances: 1,
        ..Limits::default()
    };
    let scorer = load_with(limits, Behaviour::Faulty(Fault::Spin, When::ValuesOver(30)));
    std::thread::scope(|scope| {
        let spin = scope.spawn(|| scorer.score(&rows(20), Output::Converted, Duration::from_secs(1)));
        std::thread::sleep(Duration::from_millis(200));
        let started = Instant::now();
        let busy = scorer.score(&rows(1), Output::Converted, Duration::from_millis(100));
        assert_eq!(busy, Err(ScoreError::Busy));
        assert!(started.elapsed() >= Duration::from_millis(100));
        // Waits until the spinning call has been ended, then takes its place.
        assert_eq!(scorer.score(&rows(1), Output::Converted, PATIENCE), Ok(numbers(1)));
        assert_eq!(spin.join().unwrap(), Err(ScoreError::Timeout));
    });
}

#[test]
fn dropping_a_scorer_while_it_is_used_is_safe() {
    for _ in 0..20 {
        let scorer = load(Behaviour::Honest).unwrap();
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let scorer = scorer.clone();
                std::thread::spawn(move || scorer.score(&rows(100), Output::Converted, PATIENCE))
            })
            .collect();
        drop(scorer);
        for call in calls {
            assert_eq!(call.join().unwrap(), Ok(numbers(100)));
        }
    }
}

#[test]
fn a_scorer_outlives_the_engine_that_made_it_and_keeps_its_deadlines() {
    let scorer = load(Behaviour::Faulty(Fault::Spin, When::Always)).unwrap();
    let spun = scorer.score(&rows(1), Output::Converted, Duration::from_millis(30));
    assert_eq!(spun, Err(ScoreError::Timeout));
}

#[test]
fn rows_that_are_not_whole_are_refused_before_the_component_sees_them() {
    let scorer = load(Behaviour::Faulty(Fault::Trap, When::Always)).unwrap();
    let refusal = scorer
        .score(&[1.0, 2.0, 3.0, 4.0], Output::Converted, PATIENCE)
        .unwrap_err();
    assert_eq!(refusal, ScoreError::Refused("4 values are not whole rows of 3".into()));
    assert_eq!(scorer.explain(&[1.0, 2.0, 3.0, 4.0], PATIENCE), Err(refusal));
}

#[test]
fn big_batches_are_cut_between_rows() {
    let limits = Limits {
        max_values_per_call: 32,
        ..Limits::default()
    };
    // Would trap if it ever saw more than ten rows at once.
    let scorer = load_with(limits, Behaviour::Faulty(Fault::Trap, When::ValuesOver(30)));
    assert_eq!(
        scorer.score(&rows(1003), Output::Converted, PATIENCE),
        Ok(numbers(1003))
    );
    assert_eq!(scorer.explain(&rows(1003), PATIENCE), Ok(first_alone(1003)));
    assert_eq!(scorer.explain(&[], PATIENCE), Ok(vec![]));
}

#[test]
fn an_instance_that_hoards_memory_is_not_kept() {
    // Takes 64 MiB more in every call: the fourth in one instance would end at 256 MiB.
    let scorer = load(Behaviour::Faulty(Fault::Hoard, When::Always)).unwrap();
    for _ in 0..20 {
        assert_eq!(scorer.score(&rows(2), Output::Converted, PATIENCE), Ok(numbers(2)));
    }
    assert!(resident_bytes() < 256 << 20);
}

/// This process's memory, from the kernel.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn a_scorer_without_time_gives_up_at_once() {
    let scorer = load(Behaviour::Faulty(Fault::Spin, When::Always)).unwrap();
    assert_eq!(
        scorer.score(&rows(1), Output::Converted, Duration::ZERO),
        Err(ScoreError::Timeout)
    );
}

#[test]
fn warm_instances_are_there_before_the_first_call() {
    let scorer = load(Behaviour::Honest).unwrap();
    assert_eq!(scorer.instances().idle, 1);
    scorer.warm(&rows(1), 3, PATIENCE).unwrap();
    assert_eq!(scorer.instances().idle, 3);
    scorer.warm(&rows(1), 1_000, PATIENCE).unwrap();
    assert_eq!(scorer.instances().idle, Limits::default().max_instances);
    let trapping = load(Behaviour::Faulty(Fault::Trap, When::Always)).unwrap();
    assert_eq!(trapping.warm(&rows(1), 2, PATIENCE).unwrap_err().reason(), "trap");
}
