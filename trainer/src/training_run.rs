//! Opens a training's output directory and checks that its files belong together.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use forest::Model;
use ranking::Schema;
use runtime::artefact;
use settings::Objective;

use crate::compile;
use crate::feature_map::FeatureMap;
use crate::files::{self, sha256};
use crate::outcome::Permanent;
use crate::train::{MatrixFacts, TRAINING, Training};

/// A model trained on a matrix, with its feature map and report, all checked to belong together.
#[derive(Debug)]
pub struct TrainingRun {
    /// The directory.
    pub dir: PathBuf,
    /// Content of `ltr_model.txt`.
    pub model: Vec<u8>,
    /// Content of `feature_map.json`.
    pub feature_map_json: Vec<u8>,
    /// `feature_map.json`, parsed.
    pub feature_map: FeatureMap,
    /// `training.json`.
    pub training: Training,
    /// `matrix` in `training.json`.
    pub matrix: MatrixFacts,
}

impl TrainingRun {
    /// Reads `ltr_model.txt`, `feature_map.json` and `training.json` in `dir`.
    ///
    /// # Errors
    /// A file that is missing, damaged or not the one that `training.json` describes; an objective
    /// that a matrix cannot be trained with; features other than `schema`'s.
    pub fn open(dir: &Path, schema: &Schema) -> anyhow::Result<TrainingRun> {
        let training: Training = files::read_json(&dir.join(TRAINING))?;
        let Some(matrix) = training.matrix.clone() else {
            bail!(
                "{}: trained on SVMlight files; allowed: a model trained with --matrix, which has a feature map and a test part",
                dir.join(TRAINING).display()
            );
        };
        let model = files::read(&dir.join(artefact::MODEL))?;
        let feature_map_json = files::read(&dir.join(artefact::FEATURE_MAP))?;
        check_model(&model, schema).with_context(|| format!("model {}", dir.join(artefact::MODEL).display()))?;
        let feature_map = FeatureMap::parse(&feature_map_json)
            .with_context(|| format!("feature map {}", dir.join(artefact::FEATURE_MAP).display()))?;
        ensure!(
            feature_map.names() == schema.names(),
            "feature map {}: features {:?}; allowed: ranking.features of the configuration, {:?}",
            dir.join(artefact::FEATURE_MAP).display(),
            feature_map.names(),
            schema.names()
        );
        for (name, bytes, expected) in [
            (artefact::MODEL, &model, &training.model_sha256),
            (artefact::FEATURE_MAP, &feature_map_json, &matrix.feature_map_sha256),
        ] {
            let found = sha256(bytes);
            ensure!(
                found == *expected,
                Permanent::Refused(format!(
                    "{}: SHA-256 {found}; allowed: {expected}, as recorded in {TRAINING} beside it",
                    dir.join(name).display()
                ))
            );
        }
        Ok(TrainingRun {
            dir: dir.to_owned(),
            model,
            feature_map_json,
            feature_map,
            training,
            matrix,
        })
    }

    /// Compiles the model and its feature map into a component named `version`.
    ///
    /// # Errors
    /// As [`compile::compile`].
    pub fn compile(&self, version: &str) -> anyhow::Result<Vec<u8>> {
        let window = self.training_window();
        let request = compile::Request {
            model: &self.model,
            feature_map: Some(&self.feature_map),
            model_version: version,
            training_window: Some((&window.start, &window.end)),
        };
        compile::compile(&request).context("compiling the model")
    }

    /// Times of the first and the last case in the training part, RFC 3339.
    pub fn training_window(&self) -> runtime::Window {
        runtime::Window {
            start: self.matrix.train.start.to_rfc3339(),
            end: self.matrix.train.end.to_rfc3339(),
        }
    }
}

fn check_model(text: &[u8], schema: &Schema) -> anyhow::Result<()> {
    let model = Model::parse(text)?;
    let objective = model.objective().split_whitespace().next().unwrap_or("");
    ensure!(
        // The scores of other objectives do not order the lawyers of a case.
        Objective::from_name(objective).is_some(),
        "objective: {:?}; allowed: lambdarank, rank_xendcg or regression",
        model.objective()
    );
    ensure!(
        model.feature_names() == schema.names(),
        "feature_names: {:?}; allowed: ranking.features of the configuration, {:?}",
        model.feature_names(),
        schema.names()
    );
    Ok(())
}
