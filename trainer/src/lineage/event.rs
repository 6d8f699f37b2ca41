//! OpenLineage run events, by version 2-0-2 of its specification.

use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Dataset, Record};

const EVENT: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
/// The schema of a facet of our own: what every run facet has.
const RUN_FACET: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunFacet";
const PARENT: &str = "1-0-1/ParentRunFacet";
const ERROR: &str = "1-0-1/ErrorMessageRunFacet";
const JOB_TYPE: &str = "2-0-3/JobTypeJobFacet";
const VERSION: &str = "1-0-1/DatasetVersionDatasetFacet";
const INPUT: &str = "1-0-0/InputStatisticsInputDatasetFacet";
const OUTPUT: &str = "1-0-2/OutputStatisticsOutputDatasetFacet";
const PRODUCER: &str = concat!("urn:ltr-trainer:", env!("CARGO_PKG_VERSION"));
/// Longer reasons are cut: catalogues refuse large events.
const MAX_REASON: usize = 8_000;

/// The run that a run is part of, for example a task of Airflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parent {
    namespace: String,
    job: String,
    run: Uuid,
}

impl Parent {
    /// Reads `NAMESPACE/JOB/RUN-ID`. Another text is a warning, and no parent: it comes from the
    /// orchestrator and decides nothing.
    pub(super) fn parse(text: Option<&str>) -> Option<Parent> {
        let text = text.filter(|text| !text.is_empty())?;
        let parent = text.rsplit_once('/').and_then(|(job, run)| {
            let (namespace, job) = job.split_once('/')?;
            let run = Uuid::parse_str(run).ok()?;
            let is_named = !namespace.is_empty() && !job.is_empty();
            is_named.then(|| Parent {
                namespace: namespace.to_owned(),
                job: job.to_owned(),
                run,
            })
        });
        if parent.is_none() {
            tracing::warn!("OPENLINEAGE_PARENT_ID: {text:?}; allowed: NAMESPACE/JOB/RUN-ID with a UUID; ignored");
        }
        parent
    }
}

/// One run of a step.
pub(super) struct Run {
    id: Uuid,
    namespace: String,
    job: &'static str,
    parent: Option<Parent>,
}

impl Run {
    pub(super) fn new(job: &'static str, namespace: &str, parent: Option<Parent>) -> Run {
        Run {
            id: Uuid::now_v7(),
            namespace: namespace.to_owned(),
            job,
            parent,
        }
    }
}

/// How far a run is.
pub(super) enum State {
    Start,
    Ended {
        /// Why it failed; `None`: it did not.
        reason: Option<String>,
        exit_code: u8,
        duration: Duration,
    },
}

/// An event of a run.
pub(super) struct Event<'a> {
    run: &'a Run,
    state: State,
    record: &'a Record,
}

impl<'a> Event<'a> {
    pub(super) fn new(run: &'a Run, state: State, record: &'a Record) -> Event<'a> {
        Event { run, state, record }
    }

    pub(super) fn to_json(&self) -> Value {
        let kind = match &self.state {
            State::Start => "START",
            State::Ended { reason: None, .. } => "COMPLETE",
            State::Ended { reason: Some(_), .. } => "FAIL",
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "an event carries the time at which it happened"
        )]
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let job_type = json!({ "processingType": "BATCH", "integration": "LTR", "jobType": "COMMAND" });
        let outputs = &self.record.outputs;
        // What a run made itself is no input of it.
        let is_made = |input: &&Dataset| !outputs.iter().any(|output| output.is_same(input));
        let inputs = self.record.inputs.iter().filter(is_made);
        json!({
            "eventType": kind,
            "eventTime": now,
            "producer": PRODUCER,
            "schemaURL": EVENT,
            "run": { "runId": self.run.id, "facets": self.run_facets() },
            "job": {
                "namespace": self.run.namespace,
                "name": self.run.job,
                "facets": { "jobType": facet(JOB_TYPE, job_type) },
            },
            "inputs": inputs.map(|input| dataset(input, "inputFacets", "inputStatistics", INPUT)).collect::<Value>(),
            "outputs": outputs.iter().map(|output| dataset(output, "outputFacets", "outputStatistics", OUTPUT)).collect::<Value>(),
        })
    }

    fn run_facets(&self) -> Value {
        let mut facets = Map::new();
        if let Some(parent) = &self.run.parent {
            let job = json!({ "namespace": parent.namespace, "name": parent.job });
            let of = json!({ "run": { "runId": parent.run }, "job": job });
            facets.insert("parent".to_owned(), facet(PARENT, of));
        }
        if let State::Ended {
            reason,
            exit_code,
            duration,
        } = &self.state
        {
            let end = json!({
                "_producer": PRODUCER,
                "_schemaURL": RUN_FACET,
                "durationSeconds": duration.as_secs_f64(),
                "exitCode": exit_code,
            });
            facets.insert("ltr_end".to_owned(), end);
            if let Some(reason) = reason {
                let message: String = reason.chars().take(MAX_REASON).collect();
                let error = json!({ "message": message, "programmingLanguage": "rust" });
                facets.insert("errorMessage".to_owned(), facet(ERROR, error));
            }
        }
        facets.into()
    }
}

/// A facet with what every facet has: who made it, and its schema.
fn facet(schema: &str, mut fields: Value) -> Value {
    let name = schema.rsplit('/').next().unwrap_or(schema);
    fields["_producer"] = PRODUCER.into();
    fields["_schemaURL"] = format!("https://openlineage.io/spec/facets/{schema}.json#/$defs/{name}").into();
    fields
}

fn dataset(of: &Dataset, facets: &str, statistics: &str, schema: &str) -> Value {
    let mut json = json!({ "namespace": of.namespace, "name": of.name, "facets": {}, facets: {} });
    if let Some(hash) = of.hash() {
        json["facets"]["version"] = facet(VERSION, json!({ "datasetVersion": format!("sha256:{hash}") }));
    }
    if let Some(rows) = of.rows {
        json[facets][statistics] = facet(schema, json!({ "rowCount": rows }));
    }
    json
}
