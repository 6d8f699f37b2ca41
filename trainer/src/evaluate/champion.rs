//! The champion, the published model that serves, on the test part of tonight's model.
//!
//! Which model serves, the state of the rollout in the database says, as it does to every gateway. Its artefact must
//! pass the checks of a gateway. A champion that does not is not compared, and the evaluation keeps the reason: a night
//! must not depend on an old artefact, nor pass for compared when it was not.

use std::path::Path;

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use ranking::Candidate;
use ranking::release::{ModelId, State};
use runtime::Engine;
use runtime::artefact::{self, KeyRing};
use serde::{Deserialize, Serialize};
use settings::{Database, Settings};
use store::Store;

use super::arm::{Judge, Served};
use super::{Gain, RivalResult, component_scores};
use crate::files::sha256;
use crate::matrix::Case;
use crate::outcome::Permanent;

/// The name that stands for no champion.
const NONE: &str = "none";

/// The champion, and how it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Champion {
    /// The model, with the content that was judged, or else that on record.
    #[serde(flatten)]
    pub model: ModelId,
    /// How it did. It is judged on tonight's test part, whatever it was trained on: if it has learned from cases of
    /// that part, this is in its favour.
    #[serde(flatten)]
    pub result: RivalResult,
}

/// Which champion the model is compared with.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Choice {
    /// Compare with this published version, or with `none`; default: the one that serves, by the rollout's
    /// state in the database
    #[arg(long = "champion", value_name = "VERSION")]
    pub version: Option<String>,
}

impl Choice {
    /// The model to compare with; `None`: `none` was chosen, or no model serves. A SQLite file that is missing is a
    /// rollout that has not begun, and is not made.
    ///
    /// # Errors
    /// A version that no artefact can have; a database that cannot be read, or whose state cannot.
    pub async fn find(&self, settings: &Settings) -> anyhow::Result<Option<ModelId>> {
        match self.version.as_deref() {
            None => serving(&settings.database).await.context(
                "which champion serves is not known; mend the database, or name the champion: --champion VERSION or --champion none",
            ),
            Some(NONE) => Ok(None),
            Some(version) => {
                ensure!(
                    artefact::is_version(version),
                    Permanent::Usage(format!(
                        "--champion: {version:?}; allowed: {NONE}, or a version such as 20261123T021500Z"
                    ))
                );
                Ok(Some(ModelId {
                    version: version.to_owned(),
                    sha256: None,
                }))
            }
        }
    }
}

async fn serving(database: &Database) -> anyhow::Result<Option<ModelId>> {
    if let Some(path) = database.url.expose().strip_prefix("sqlite://")
        && !Path::new(path).try_exists().context("database.url")?
    {
        return Ok(None);
    }
    let store = Store::open_with(database.address(), database.limits()).await?;
    let state = on_record(&store).await;
    store.close().await;
    let state = state?;
    let champion = state.champion.as_ref().filter(|_| state.serves());
    Ok(champion.map(|champion| champion.model.clone()))
}

/// The state of the rollout. Without one: what the table of programs from before the state machine amounts to.
async fn on_record(store: &Store) -> anyhow::Result<State> {
    // Asked first: the first transition may come between the two.
    let has_begun = !store.ledger_tail(1).await?.is_empty();
    if let Some(released) = store.released().await? {
        return serde_json::from_str(&released.state).context("table ltr_release: the state cannot be read");
    }
    ensure!(
        !has_begun,
        "table ltr_release has no row, and the ledger has entries; restore the row from the last one"
    );
    let left = store.rollout().await?;
    let since = DateTime::<Utc>::UNIX_EPOCH;
    Ok(State::taken_over(left.weight, left.champion, left.challenger, since))
}

/// Judges the champion, if there is one, on the test cases as tonight's model is judged. `gain` compares tonight's model
/// with the served order, which is returned, too, if the champion could be judged.
pub(super) fn judged(
    champion: Option<&ModelId>,
    engine: &Engine,
    judge: &Judge,
    cases: &[(&Case, Vec<Candidate>)],
    settings: &Settings,
    gain: impl Fn(&Served) -> Gain,
) -> (Option<Champion>, Option<Served>) {
    let Some(model) = champion else {
        return (None, None);
    };
    match scored(model, engine, cases, settings) {
        Ok((model, scores)) => {
            let served = judge.serve_ltr(&scores);
            let result = RivalResult::Judged {
                arm: Box::new(judge.arm(&served)),
                over: gain(&served),
            };
            (Some(Champion { model, result }), Some(served))
        }
        Err(error) => {
            let reason = format!("{error:#}");
            let result = RivalResult::Failed { reason };
            let model = model.clone();
            (Some(Champion { model, result }), None)
        }
    }
}

/// The champion with the content of its component, and its scores of the cases.
fn scored(
    model: &ModelId,
    engine: &Engine,
    cases: &[(&Case, Vec<Candidate>)],
    settings: &Settings,
) -> anyhow::Result<(ModelId, Vec<Vec<f64>>)> {
    let models = settings.models.dir.join("ltr");
    // A ring that cannot be read trusts nobody, and says why.
    let ring = KeyRing::default()
        .read_again(&settings.models.trusted_keys)
        .allowing_unsigned(settings.models.allow_unsigned);
    let fetched = artefact::fetch(&models, &model.version, engine.limits().max_component_bytes)?;
    let (artefact, component) = fetched.verify(&ring)?;
    let found = ModelId {
        version: model.version.clone(),
        sha256: Some(sha256(&component)),
    };
    ensure!(
        model.is(&found),
        "{}: its component has the SHA-256 {}; on record is {}",
        artefact.dir.display(),
        found.sha256.as_deref().unwrap_or_default(),
        model.sha256.as_deref().unwrap_or_default()
    );
    let scorer = artefact::admit(engine, &artefact, &component)?;
    let scores = component_scores(&scorer, &settings.schema(), cases)?;
    Ok((found, scores))
}

#[cfg(test)]
mod tests;
