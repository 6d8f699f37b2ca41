//! Run records: each step of the nightly run says in OpenLineage events when it began, what it read and
//! wrote, and how it ended. A catalogue (Marquez, DataHub, OpenMetadata) reads them, or `jq`.
//!
//! [`recorded`] wraps a step; the step tells its [`Record`] of its files. A record that cannot be
//! delivered is a warning: it must never cost a model.

mod dataset;
mod event;
mod target;

use std::time::Instant;

use settings::Settings;

pub use dataset::Dataset;

use crate::outcome::{self, Outcome};
use event::{Event, Parent, Run, State};
use target::Targets;

/// What a step read and wrote.
#[derive(Debug, Default)]
pub struct Record {
    inputs: Vec<Dataset>,
    outputs: Vec<Dataset>,
}

impl Record {
    /// The step reads this. Said again of the same dataset, it adds what is known by then.
    pub fn read(&mut self, dataset: Dataset) {
        self.inputs.retain(|input| !input.is_same(&dataset));
        self.inputs.push(dataset);
    }

    /// The step has written this.
    pub fn wrote(&mut self, dataset: Dataset) {
        self.outputs.push(dataset);
    }
}

/// Runs the step `job`, and sends START before it, and COMPLETE or FAIL after it, to the targets of
/// `[lineage]`. `parent`: the run that this one is part of, as `NAMESPACE/JOB/RUN-ID`.
///
/// # Errors
/// Those of the step.
pub async fn recorded(
    job: &'static str,
    settings: &Settings,
    parent: Option<&str>,
    step: impl AsyncFnOnce(&mut Record) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    let mut record = Record::default();
    let Some(targets) = Targets::of(settings) else {
        return step(&mut record).await;
    };
    let run = Run::new(job, &settings.lineage.namespace, Parent::parse(parent));
    targets.send(&Event::new(&run, State::Start, &record).to_json()).await;
    let started = Instant::now();
    let result = step(&mut record).await;
    let reason = match &result {
        Ok(Outcome::Done) => None,
        Ok(Outcome::Refused) => Some("refused; the step's outputs and its log say why".to_owned()),
        Err(error) => Some(format!("{error:#}")),
    };
    let ended = State::Ended {
        reason,
        exit_code: outcome::exit_code(&result),
        duration: started.elapsed(),
    };
    targets.send(&Event::new(&run, ended, &record).to_json()).await;
    result
}

#[cfg(test)]
mod tests;
