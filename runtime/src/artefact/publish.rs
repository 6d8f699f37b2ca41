//! Writing an artefact so that it is there in full or not at all, power cuts included.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};

use super::{ArtefactError, MANIFEST, MANIFEST_VERSION, Manifest, SIGNATURE, is_plain_name, read, signature};

/// Writes `{models_dir}/{manifest.version}/` with these files, the manifest (its `files` filled in here) and
/// its signature. Everything is written to a hidden sibling, flushed to the disk, and moved into place by one
/// rename: a reader, or a crash half-way, sees no artefact or the whole of it.
///
/// # Errors
/// `Exists` when the version is there already, `BadVersion` and `BadFileName`, `BadManifest` when the manifest
/// cannot be written as JSON that reads back the same (a golden score that is not finite), and `Io`.
pub fn publish(
    models_dir: &Path,
    files: &[(&str, &[u8])],
    mut manifest: Manifest,
    key: &SigningKey,
) -> Result<PathBuf, ArtefactError> {
    if !is_plain_name(&manifest.version) {
        return Err(ArtefactError::BadVersion {
            version: manifest.version,
        });
    }
    manifest.manifest_version = MANIFEST_VERSION;
    manifest.files.clear();
    for (name, bytes) in files {
        let fresh = manifest
            .files
            .insert((*name).to_owned(), hex::encode(Sha256::digest(bytes)))
            .is_none();
        if !fresh || !read::is_file_name(name) {
            return Err(ArtefactError::BadFileName {
                name: (*name).to_owned(),
            });
        }
    }
    let manifest_bytes = to_json(&manifest)?;
    let signature = signature::sign(&manifest_bytes, key);

    let target = models_dir.join(&manifest.version);
    fs::create_dir_all(models_dir).map_err(ArtefactError::io(models_dir))?;
    // Only for the clear message; the rename below is what decides between two publishers.
    if target.exists() {
        return Err(ArtefactError::Exists(target));
    }
    let draft = Draft::new(models_dir, &manifest.version)?;
    for (name, bytes) in files {
        draft.write(name, bytes)?;
    }
    draft.write(MANIFEST, &manifest_bytes)?;
    draft.write(SIGNATURE, signature.as_bytes())?;
    draft.move_to(&target)?;
    Ok(target)
}

fn to_json(manifest: &Manifest) -> Result<Vec<u8>, ArtefactError> {
    if let Some(score) = manifest.golden.scores.iter().find(|score| !score.is_finite()) {
        return Err(ArtefactError::BadManifest(format!(
            "golden score {score} is not finite"
        )));
    }
    if let Some(value) = manifest
        .golden
        .rows
        .iter()
        .flatten()
        .flatten()
        .find(|value| !value.is_finite())
    {
        return Err(ArtefactError::BadManifest(format!(
            "golden row value {value} is neither finite nor missing"
        )));
    }
    let mut bytes = serde_json::to_vec_pretty(manifest).map_err(|e| ArtefactError::BadManifest(e.to_string()))?;
    bytes.push(b'\n');
    if bytes.len() as u64 > read::MAX_MANIFEST_BYTES {
        Err(ArtefactError::BadManifest(format!(
            "more than {} bytes",
            read::MAX_MANIFEST_BYTES
        )))
    } else {
        Ok(bytes)
    }
}

/// A directory in the making, beside its final place and hidden from [`super::versions`]; removed on drop.
struct Draft {
    dir: PathBuf,
}

impl Draft {
    fn new(models_dir: &Path, version: &str) -> Result<Draft, ArtefactError> {
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let dir = models_dir.join(format!(".{version}.{}.{number}.draft", std::process::id()));
        // A draft of that name can only be left over from a process that is gone.
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(ArtefactError::io(&dir)(e)),
            _ => {}
        }
        fs::create_dir(&dir).map_err(ArtefactError::io(&dir))?;
        Ok(Draft { dir })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ArtefactError> {
        let path = self.dir.join(name);
        let written = File::create_new(&path).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.map_err(ArtefactError::io(&path))
    }

    fn move_to(self, target: &Path) -> Result<(), ArtefactError> {
        sync_dir(&self.dir)?;
        fs::rename(&self.dir, target).map_err(|e| match e.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => ArtefactError::Exists(target.to_owned()),
            _ => ArtefactError::io(target)(e),
        })?;
        sync_dir(target.parent().unwrap_or(Path::new(".")))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already after the rename; otherwise a leftover that no reader looks at.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn sync_dir(dir: &Path) -> Result<(), ArtefactError> {
    regular_file::sync_folder(dir).map_err(ArtefactError::io(dir))
}
