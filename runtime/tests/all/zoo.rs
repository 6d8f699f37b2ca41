//! The sandbox and every guest of the zoo.

use std::time::Duration;

use evil::When;
use evil::zoo::{GUESTS, Guest, Instance, Outcome};
use runtime::{Engine, Limits, LoadError, Output, Scorer};

use crate::{NAMES, PATIENCE, numbers, rows};

/// Rows of a call that each guest behaves in, if it is loaded at all.
const SMALL: usize = 10;
/// Rows of a call that it turns on.
const LARGE: usize = SMALL + 1;

fn engine() -> Engine {
    let limits = Limits {
        max_describe: Duration::from_millis(300),
        ..Limits::default()
    };
    Engine::new(limits).unwrap()
}

fn load(engine: &Engine, guest: &Guest) -> Result<Scorer, LoadError> {
    engine.load(&guest.bytes(NAMES, When::ValuesOver((SMALL * NAMES.len()) as u32)))
}

#[test]
fn each_guest_that_should_be_refused_is_refused_for_its_own_reason() {
    let engine = engine();
    for guest in GUESTS {
        let Outcome::Refused { code, said } = guest.outcome else {
            continue;
        };
        let refusal = load(&engine, guest).err();
        let refusal = refusal.unwrap_or_else(|| panic!("{} was taken", guest.name));
        assert_eq!(refusal.code(), code, "{}: {refusal}", guest.name);
        assert!(refusal.to_string().contains(said), "{}: {refusal}", guest.name);
    }
    let honest = evil::component(NAMES, evil::Behaviour::Honest);
    engine.load(&honest).expect("an honest component after all of them");
}

#[test]
fn each_guest_that_is_loaded_costs_its_own_call_and_perhaps_its_instance() {
    let engine = engine();
    for guest in GUESTS {
        let name = guest.name;
        let (reason, said, instance) = match guest.outcome {
            Outcome::Refused { .. } => continue,
            Outcome::Fails { reason, said, instance } => (Some(reason), said, instance),
            Outcome::NoNumbers => (None, "", Instance::Kept),
            Outcome::Scores => (None, "", Instance::Dropped),
        };
        let scorer = load(&engine, guest).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        let behaves = |when: &str| {
            let scores = scorer.score(&rows(SMALL), Output::Converted, PATIENCE);
            assert_eq!(scores, Ok(numbers(SMALL)), "{name}, {when}");
        };
        behaves("before");
        let before = scorer.instances();
        let timeout = if guest.spins() {
            Duration::from_millis(50)
        } else {
            PATIENCE
        };
        match (scorer.score(&rows(LARGE), Output::Converted, timeout), reason) {
            (Err(failure), Some(reason)) => {
                assert_eq!(failure.reason(), reason, "{name}: {failure}");
                assert!(failure.to_string().contains(said), "{name}: {failure}");
            }
            (Ok(scores), None) => {
                let numbers = scores.iter().all(|score| score.is_finite());
                assert_eq!(
                    (scores.len(), numbers),
                    (LARGE, guest.outcome == Outcome::Scores),
                    "{name}"
                );
            }
            (outcome, _) => panic!("{name}: {outcome:?}"),
        }
        let dropped = scorer.instances().dropped - before.dropped;
        assert_eq!(dropped, u64::from(instance == Instance::Dropped), "{name}");
        behaves("afterwards");
    }
}

#[test]
fn noise_is_refused_whatever_it_says() {
    let engine = engine();
    for seed in 1..500 {
        for bytes in [evil::raw::noise(2_000, seed), evil::raw::noise_with_header(2_000, seed)] {
            let refusal = engine.load(&bytes).err();
            let code = refusal.unwrap_or_else(|| panic!("noise {seed} was taken")).code();
            assert!(
                ["not_a_component", "too_complex"].contains(&code),
                "noise {seed}: {code}"
            );
        }
    }
}

/// The most memory that this process ever had, in bytes.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn what_passes_the_counts_costs_the_compiler_little() {
    let engine = Engine::new(Limits {
        // The compiler in a test is not an optimised one.
        max_compile: Duration::from_secs(300),
        ..Limits::default()
    });
    let component = evil::bombs::within_limits(NAMES);
    let before = peak_memory();
    engine.unwrap().load(&component).expect("it is within all limits");
    let grown = peak_memory() - before;
    assert!(grown < 512 << 20, "compiling took {} MiB", grown >> 20);
}
