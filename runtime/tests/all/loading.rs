//! Which components are taken, and what is said about the others.

use std::time::{Duration, Instant};

use evil::Behaviour;
use runtime::{Engine, Limits, LoadError, inspect};

use crate::{NAMES, engine, load};

#[test]
fn an_honest_component_says_what_it_is() {
    let scorer = load(Behaviour::Honest).unwrap();
    let description = scorer.description();
    assert_eq!(description.feature_names, NAMES);
    assert_eq!(
        (
            description.model_version.as_str(),
            description.contract_version.as_str()
        ),
        ("evil", "1.1.0")
    );
    assert_eq!(
        (description.objective.as_str(), description.trees, description.outputs),
        ("lambdarank", 1, 1)
    );
    assert_eq!(description.training_window, None);
}

#[test]
fn a_description_that_spins_costs_no_more_than_its_time() {
    let limits = Limits {
        max_describe: Duration::from_millis(100),
        ..Limits::default()
    };
    let engine = Engine::new(limits).unwrap();
    let component = evil::component(NAMES, Behaviour::SpinInDescribe);
    let started = Instant::now();
    assert!(matches!(engine.load(&component), Err(LoadError::Timeout(_))));
    assert!(started.elapsed() >= Duration::from_millis(100));
}

#[test]
fn a_component_that_was_cut_short_is_refused() {
    let mut cut = evil::component(NAMES, Behaviour::Honest);
    // Inside a section: what ends between two of them may be a component, of another world.
    cut.pop();
    let refusal = engine().load(&cut).err().unwrap();
    assert_eq!(refusal.code(), "not_a_component", "{refusal}");
}

#[test]
fn no_damaged_byte_brings_the_process_down() {
    let limits = Limits {
        max_describe: Duration::from_millis(20),
        ..Limits::default()
    };
    let engine = Engine::new(limits).unwrap();
    let good = evil::component(NAMES, Behaviour::Honest);
    for at in (0..good.len()).step_by(7) {
        let mut damaged = good.clone();
        damaged[at] ^= 0x5a;
        // Damage in a name or a string may well leave a usable component.
        let _ = engine.load(&damaged);
    }
    engine.load(&good).unwrap();
}

#[test]
fn size_and_complexity_are_bounded() {
    let component = evil::component(NAMES, Behaviour::Honest);
    let code = |limits| Engine::new(limits).unwrap().load(&component).err().unwrap().code();
    assert_eq!(
        code(Limits {
            max_component_bytes: component.len() - 1,
            ..Limits::default()
        }),
        "too_large"
    );
    assert_eq!(
        code(Limits {
            max_code_bytes: 100,
            ..Limits::default()
        }),
        "too_complex"
    );
    assert_eq!(
        code(Limits {
            max_function_bytes: 20,
            ..Limits::default()
        }),
        "too_complex"
    );
    assert_eq!(
        code(Limits {
            max_compile: Duration::ZERO,
            ..Limits::default()
        }),
        "compile_timeout"
    );
}

#[test]
fn inspection_reports_imports_without_refusing_them() {
    let facts = inspect(&evil::component(NAMES, Behaviour::WithImport)).unwrap();
    assert_eq!(facts.imports, ["wasi:clocks/monotonic-clock@0.2.0"]);
    assert_eq!(facts.exports, ["ltr:scorer/scoring@1.1.0"]);
    let honest = evil::component(NAMES, Behaviour::Honest);
    let facts = inspect(&honest).unwrap();
    assert!(facts.imports.is_empty());
    assert_eq!(facts.size_bytes, honest.len());
    assert_eq!(facts.sha256, engine().load(&honest).unwrap().sha256());
}
