//! Trains on a matrix together with other machines.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use settings::Settings;
use sha2::{Digest, Sha256};

use super::Training;
use super::configured;
use super::from_matrix::train_on;
use crate::files;
use crate::lightgbm::{Network, Parameters};
use crate::machines::{Machines, Mesh};

/// As [`super::train_matrix`], together with the other machines, which were given the same arguments.
/// Every machine writes the model. `timeout` is the longest wait for another machine.
///
/// # Errors
/// A machine that does not come, trains something else, or goes away; nothing is written then. LightGBM
/// cannot be interrupted, so the thread that trains is then left behind, asleep.
pub fn train_together(
    machines: Machines,
    timeout: Duration,
    path: &Path,
    parameters: Option<Parameters>,
    settings: &Settings,
    out: &Path,
) -> anyhow::Result<Training> {
    let parameters = match parameters {
        Some(parameters) => parameters,
        None => configured(settings)?,
    };
    let fingerprint = fingerprint(&machines, path, &parameters, settings)?;
    let mesh = Mesh::connect(machines, fingerprint, timeout)?;
    tracing::info!("connected with all of {} machines", mesh.machines());
    let (path, out, settings) = (path.to_owned(), out.to_owned(), settings.clone());
    let (lost, is_lost) = mpsc::channel();
    let training = thread::Builder::new().name("train".to_owned()).spawn(move || {
        let network = Network::new(mesh, lost);
        train_on(&path, parameters, &settings, &out, Some(&network))
    });
    let training = training.context("starting a thread")?;
    // The other end is dropped once the thread is done.
    match is_lost.recv() {
        Ok(error) => Err(error.into()),
        Err(mpsc::RecvError) => training
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the training panicked"))),
    }
}

/// What is trained. Two machines with the same fingerprint grow the same trees.
fn fingerprint(
    machines: &Machines,
    path: &Path,
    parameters: &Parameters,
    settings: &Settings,
) -> anyhow::Result<[u8; 32]> {
    let train = &settings.train;
    let data = files::hash(path).with_context(|| format!("reading {}", path.display()))?;
    let facts = [
        env!("CARGO_PKG_VERSION").to_owned(),
        machines.addresses.join(","),
        data,
        parameters.to_string(),
        format!("{} {}", train.objective.name(), train.position_bias),
        format!("{} {}", train.window_days, train.max_rounds),
        format!("{} {}", train.valid_fraction, train.test_fraction),
        settings.schema().names().join(","),
    ];
    Ok(Sha256::digest(facts.join("\n")).into())
}
