//! What a host relies on, whatever component it is given.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests make, read and time what they like"
)]

mod artefacts;
mod cache;
mod hostile;
mod loading;
mod pool;
mod strangers;
mod zoo;

use evil::Behaviour;
use runtime::{Engine, Limits, LoadError, Scorer};
use testkit::PATIENCE;

const NAMES: &[&str] = &["area_match", "similarity", "geo"];

fn engine() -> Engine {
    Engine::new(Limits::default()).unwrap()
}

fn load(behaviour: Behaviour) -> Result<Scorer, LoadError> {
    engine().load(&evil::component(NAMES, behaviour))
}

/// Rows whose first feature is their number.
fn rows(count: usize) -> Vec<f64> {
    (0..count).flat_map(|row| [row as f64, 0.5, f64::NAN]).collect()
}

fn numbers(count: usize) -> Vec<f64> {
    (0..count).map(|row| row as f64).collect()
}

/// What explains [`rows`]: the first feature alone contributes, and nothing is expected.
fn first_alone(count: usize) -> Vec<f64> {
    (0..count).flat_map(|row| [row as f64, 0.0, 0.0, 0.0]).collect()
}
