//! From a published folder to a model that may serve: signature, hashes, contract, golden rows, features.

use std::path::PathBuf;

use ranking::Schema;
use runtime::Engine;
use runtime::artefact::{self, KeyRing};
use serde::Serialize;

use super::Model;

/// A version that was not loaded, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refusal {
    pub version: String,
    /// Short, snake_case.
    pub code: &'static str,
    pub message: String,
}

/// What loading needs.
#[derive(Clone)]
pub struct Loader {
    pub engine: Engine,
    /// The folder that holds one folder a version.
    pub dir: PathBuf,
    /// The directory of the keys that may sign.
    pub trusted_keys: PathBuf,
    /// Whether what nobody signed is loaded too.
    pub allow_unsigned: bool,
    pub schema: Schema,
}

impl Loader {
    /// Loads one version. Compiles, so it takes a while and the processor: never call it on the reactor.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn load(&self, version: &str) -> Result<Model, Refusal> {
        let refuse = |code, message: String| Refusal {
            version: version.to_owned(),
            code,
            message,
        };
        let ring = self
            .ring()
            .map_err(|error| refuse("unreadable_keys", format!("models.trusted_keys: {error}")))?;
        let (opened, wasm) = artefact::open(&self.dir, version, &ring).map_err(|e| refuse(e.code(), e.to_string()))?;
        if opened.signed_by.is_none() {
            tracing::warn!(
                version,
                "loading a model that NOBODY SIGNED, because models.allow_unsigned is true; never in production"
            );
        }
        let scorer = artefact::admit(&self.engine, &opened, &wasm).map_err(|e| refuse(e.code(), e.to_string()))?;
        let description = scorer.description();
        if description.outputs != 1 {
            return Err(refuse(
                "wrong_outputs",
                format!("{} scores a row; allowed: 1", description.outputs),
            ));
        }
        let columns = description.feature_names.iter().map(|name| {
            self.schema.index_of(name).ok_or_else(|| {
                refuse(
                    "feature_mismatch",
                    format!(
                        "feature {name:?}; allowed: ranking.features, {}",
                        self.schema.names().join(", ")
                    ),
                )
            })
        });
        let columns = columns.collect::<Result<_, _>>()?;
        Ok(Model {
            signed_by: opened.signed_by,
            ..Model::new(version.to_owned(), scorer, columns)
        })
    }

    /// The keys as they are now.
    ///
    /// # Errors
    /// A directory or a file that cannot be read.
    pub fn ring(&self) -> Result<KeyRing, artefact::keys::KeyError> {
        Ok(KeyRing::read(&self.trusted_keys)?.allowing_unsigned(self.allow_unsigned))
    }

    /// The newest published version.
    pub fn newest(&self) -> Option<String> {
        artefact::versions(&self.dir).ok()?.pop()
    }
}
