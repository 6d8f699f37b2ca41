//! Reads the Envoy filter of a version. The gateway does not run it; it offers it to Envoys.

use regular_file::Links;
use runtime::artefact::{self, ArtefactError, EDGE_FILTER};
use sha2::{Digest, Sha256};

use super::loader::Loader;

/// The largest filter, in components of the largest size: it holds the same model, and a little more
/// code.
const MAX_COMPONENTS: u64 = 2;

impl Loader {
    /// The bytes of the filter of a version in `dir`, held to a manifest that a trusted key signed.
    /// `None`: the version has no filter.
    ///
    /// # Errors
    /// The first check of the version that failed, or a filter that cannot be read.
    pub async fn edge_filter(&self, version: &str) -> Result<Option<Vec<u8>>, ArtefactError> {
        let (loader, named) = (self.clone(), version.to_owned());
        let reading = tokio::task::spawn_blocking(move || loader.read_edge_filter(&named));
        reading.await.unwrap_or_else(|panicked| {
            Err(ArtefactError::Io {
                path: self.dir.join(version).join(EDGE_FILTER),
                source: panicked.into(),
            })
        })
    }

    fn read_edge_filter(&self, version: &str) -> Result<Option<Vec<u8>>, ArtefactError> {
        let most = self.engine.limits().max_component_bytes;
        let ring = self.keys.read();
        let (artefact, _) = artefact::fetch(&self.dir, version, most)?.verify(&ring)?;
        let Some(expected) = artefact.manifest.files.get(EDGE_FILTER) else {
            return Ok(None);
        };
        let path = artefact.dir.join(EDGE_FILTER);
        let limit = (most as u64).saturating_mul(MAX_COMPONENTS);
        let bytes = regular_file::read(&path, Links::Refuse, limit);
        let bytes = bytes.map_err(|source| ArtefactError::Io { path, source })?;
        // The file may have changed since all files were verified.
        let found = hex::encode(Sha256::digest(&bytes));
        if found == *expected {
            Ok(Some(bytes))
        } else {
            Err(ArtefactError::HashMismatch {
                file: EDGE_FILTER.to_owned(),
                expected: expected.clone(),
                found,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use runtime::artefact::{Golden, SCORER};
    use runtime::{Engine, Limits};
    use tempfile::TempDir;
    use testkit_gateway::Publisher;

    use super::*;
    use crate::models::Keys;

    const VERSION: &str = "20261001T021500Z";

    /// A loader, and the folder of a version with these files beside its component.
    fn published(files: &[(&str, &[u8])]) -> (TempDir, Loader, PathBuf) {
        let site = tempfile::tempdir().unwrap();
        let (models, trusted) = (site.path().join("models"), site.path().join("trusted"));
        let golden = Golden {
            rows: vec![vec![Some(0.5)]],
            scores: vec![0.5],
        };
        let publisher = Publisher::new(&models, &trusted);
        let folder = publisher.publish(VERSION, &["x"], b"component", files, golden).unwrap();
        let loader = Loader {
            engine: Engine::new(Limits::default()).unwrap(),
            dir: models.join("ltr"),
            source: None,
            keys: Keys::new(&trusted, false),
            any_time: true,
            schema: ranking::Schema::new(["x"]).unwrap(),
            warm_instances: 1,
        };
        (site, loader, folder)
    }

    #[tokio::test]
    async fn a_filter_is_read_as_it_was_published() {
        let (_site, loader, _) = published(&[(EDGE_FILTER, b"filter")]);
        assert_eq!(loader.edge_filter(VERSION).await.unwrap(), Some(b"filter".to_vec()));
        let (_site, loader, _) = published(&[]);
        assert_eq!(loader.edge_filter(VERSION).await.unwrap(), None);
        for (version, code) in [("20261002T021500Z", "not_found"), ("../ltr", "bad_version")] {
            assert_eq!(loader.edge_filter(version).await.unwrap_err().code(), code);
        }
    }

    #[tokio::test]
    async fn a_filter_of_a_version_that_is_not_as_it_was_signed_is_refused() {
        for (file, bytes, code) in [
            (EDGE_FILTER, b"other".as_slice(), "hash_mismatch"),
            (SCORER, b"other", "hash_mismatch"),
            (artefact::MANIFEST, b"{}", "bad_signature"),
            (artefact::SIGNATURE, b"", "bad_signature"),
        ] {
            let (_site, loader, folder) = published(&[(EDGE_FILTER, b"filter")]);
            fs::write(folder.join(file), bytes).unwrap();
            assert_eq!(loader.edge_filter(VERSION).await.unwrap_err().code(), code, "{file}");
        }
        let (site, loader, _) = published(&[(EDGE_FILTER, b"filter")]);
        let key = |name: &str| site.path().join("trusted").join(name);
        fs::rename(key("publish.pub"), key("publish.revoked")).unwrap();
        assert!(loader.edge_filter(VERSION).await.is_err());
    }

    #[tokio::test]
    async fn a_link_in_the_place_of_a_filter_is_not_followed() {
        let (site, loader, folder) = published(&[(EDGE_FILTER, b"filter")]);
        let elsewhere = site.path().join("elsewhere.wasm");
        fs::rename(folder.join(EDGE_FILTER), &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, folder.join(EDGE_FILTER)).unwrap();
        assert_eq!(loader.edge_filter(VERSION).await.unwrap_err().code(), "io");
    }
}
