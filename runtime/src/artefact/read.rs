//! Reading an artefact without believing any of it before it is verified.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use regular_file::Links;
use sha2::{Digest, Sha256};

use super::{
    Artefact, ArtefactError, Distrust, KeyId, KeyRing, MANIFEST, MANIFEST_VERSION, Manifest, SCORER, SIGNATURE,
    is_plain_name, signature,
};

pub(super) const MAX_MANIFEST_BYTES: u64 = 16 << 20;
const MAX_SIGNATURE_BYTES: u64 = 256;
const MAX_FILES: usize = 64;
/// All that a version has beside its component, in components of the largest size: the model as text is a few times as
/// large as the model in the component, and the Envoy filter as large.
const SIDE_FILES: u64 = 8;

/// An artefact's bytes as they were found, none of them believed yet.
pub struct Fetched {
    version: String,
    dir: PathBuf,
    manifest: Vec<u8>,
    /// `None`: nobody signed it.
    signature: Option<Vec<u8>>,
    scorer: Vec<u8>,
    /// Of the other files together.
    max_side_bytes: u64,
}

pub(super) fn fetch(models_dir: &Path, version: &str, max_scorer_bytes: u64) -> Result<Fetched, ArtefactError> {
    if !is_plain_name(version) {
        return Err(ArtefactError::BadVersion {
            version: version.chars().take(100).collect(),
        });
    }
    let dir = models_dir.join(version);
    if !dir.is_dir() {
        return Err(ArtefactError::NotFound {
            version: version.to_owned(),
            dir: models_dir.to_owned(),
        });
    }
    let signature = match read_bounded(&dir.join(SIGNATURE), MAX_SIGNATURE_BYTES) {
        Err(ArtefactError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        signature => Some(signature?),
    };
    let manifest = read_bounded(&dir.join(MANIFEST), MAX_MANIFEST_BYTES)?;
    let path = dir.join(SCORER);
    let file = open(&path)?;
    // Asked first, so that a giant costs neither memory nor time.
    let size = file.metadata().map_err(ArtefactError::io(&path))?.len();
    if size > max_scorer_bytes {
        return Err(ArtefactError::TooLarge {
            size,
            limit: max_scorer_bytes,
        });
    }
    let scorer = regular_file::read_all(&file, max_scorer_bytes).map_err(ArtefactError::io(&path))?;
    Ok(Fetched {
        version: version.to_owned(),
        dir,
        manifest,
        signature,
        scorer,
        max_side_bytes: max_scorer_bytes.saturating_mul(SIDE_FILES),
    })
}

impl Fetched {
    /// Holds the artefact to a signature by a key that `ring` trusts, and to its hashes. Gives the bytes of its component
    /// exactly as they were hashed, so that nothing can change between the check and the use.
    ///
    /// # Errors
    /// The first check that failed: signature, manifest, hash by hash. `Io` where a file that is only hashed cannot
    /// be read.
    pub fn verify(self, ring: &KeyRing) -> Result<(Artefact, Vec<u8>), ArtefactError> {
        let (manifest, signed_by) = self.signed_manifest(ring)?;
        check(&manifest, &self.version)?;
        let others = self.side_files(&manifest)?;
        for (name, expected) in &manifest.files {
            let found = match others.iter().find(|other| other.name == name) {
                None => hex::encode(Sha256::digest(&self.scorer)),
                Some(other) => other.sha256()?,
            };
            if found != *expected {
                return Err(ArtefactError::HashMismatch {
                    file: name.clone(),
                    expected: expected.clone(),
                    found,
                });
            }
        }
        let artefact = Artefact {
            dir: self.dir,
            manifest,
            signed_by,
        };
        Ok((artefact, self.scorer))
    }

    /// The files that are only hashed. What they are and how large is known of all before one is read.
    fn side_files<'m>(&self, manifest: &'m Manifest) -> Result<Vec<SideFile<'m>>, ArtefactError> {
        let mut left = self.max_side_bytes;
        let names = manifest.files.keys().filter(|name| *name != SCORER);
        let opened = names.map(|name| {
            let path = self.dir.join(name);
            let file = open(&path)?;
            let size = file.metadata().map_err(ArtefactError::io(&path))?.len();
            left = left.checked_sub(size).ok_or_else(|| ArtefactError::SideFilesTooLarge {
                file: name.clone(),
                limit: self.max_side_bytes,
            })?;
            Ok(SideFile { name, path, file, size })
        });
        opened.collect()
    }

    /// The manifest, parsed only after its bytes turned out to be signed by a key that the ring trusts.
    fn signed_manifest(&self, ring: &KeyRing) -> Result<(Manifest, Option<KeyId>), ArtefactError> {
        let signed_by = match &self.signature {
            Some(line) => Some(signature::verify(&self.manifest, line, ring)?),
            None => {
                ring.vouches(None)
                    .map_err(|_: Distrust| ArtefactError::Unsigned(self.dir.clone()))?;
                None
            }
        };
        let manifest = serde_json::from_slice(&self.manifest).map_err(|e| ArtefactError::BadManifest(e.to_string()))?;
        Ok((manifest, signed_by))
    }
}

fn check(manifest: &Manifest, version: &str) -> Result<(), ArtefactError> {
    let fault = if manifest.manifest_version != MANIFEST_VERSION {
        format!(
            "manifest_version is {}; allowed: {MANIFEST_VERSION}",
            manifest.manifest_version
        )
    } else if manifest.version != version {
        // A signed artefact under another name would be a way to bring an old model back.
        format!("version is {:?}; the directory says {version:?}", manifest.version)
    } else if !manifest.files.contains_key(SCORER) {
        format!("files does not name {SCORER}")
    } else if manifest.files.len() > MAX_FILES {
        format!(
            "files names {} files; allowed: at most {MAX_FILES}",
            manifest.files.len()
        )
    } else if let Some(name) = manifest.files.keys().find(|name| !is_file_name(name)) {
        format!("files names {name:?}, which is no file name for an artefact")
    } else {
        return Ok(());
    };
    Err(ArtefactError::BadManifest(fault))
}

/// Whether a file of that name can be part of an artefact.
pub(super) fn is_file_name(name: &str) -> bool {
    is_plain_name(name) && name != MANIFEST && name != SIGNATURE
}

/// A file of the version that is not loaded.
struct SideFile<'m> {
    name: &'m str,
    path: PathBuf,
    file: File,
    size: u64,
}

impl SideFile<'_> {
    /// Of as many bytes as it had when it was opened: what grows meanwhile is not what was published.
    fn sha256(&self) -> Result<String, ArtefactError> {
        let mut hasher = Sha256::new();
        let mut bytes = (&self.file).take(self.size);
        io::copy(&mut bytes, &mut HashWriter(&mut hasher)).map_err(ArtefactError::io(&self.path))?;
        Ok(hex::encode(hasher.finalize()))
    }
}

fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, ArtefactError> {
    regular_file::read(path, Links::Refuse, limit).map_err(ArtefactError::io(path))
}

/// A file of a version. Its folder may be a link, as where versions are mounted; the publisher makes none inside.
fn open(path: &Path) -> Result<File, ArtefactError> {
    regular_file::open(path, Links::Refuse).map_err(ArtefactError::io(path))
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
