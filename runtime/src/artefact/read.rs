//! Reading an artefact without believing any of it before it is verified.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{
    Artefact, ArtefactError, Distrust, KeyId, KeyRing, MANIFEST, MANIFEST_VERSION, Manifest, SCORER, SIGNATURE,
    is_plain_name, signature,
};

pub(super) const MAX_MANIFEST_BYTES: u64 = 16 << 20;
const MAX_SIGNATURE_BYTES: u64 = 256;
const MAX_FILES: usize = 64;

/// An artefact's bytes as they were found, none of them believed yet.
pub struct Fetched {
    version: String,
    dir: PathBuf,
    manifest: Vec<u8>,
    /// `None`: nobody signed it.
    signature: Option<Vec<u8>>,
    scorer: Vec<u8>,
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
    // Asked first, so that a giant costs neither memory nor time.
    let size = open_regular(&path)?.metadata().map_err(ArtefactError::io(&path))?.len();
    if size > max_scorer_bytes {
        return Err(ArtefactError::TooLarge {
            size,
            limit: max_scorer_bytes,
        });
    }
    let scorer = read_bounded(&path, max_scorer_bytes)?;
    Ok(Fetched {
        version: version.to_owned(),
        dir,
        manifest,
        signature,
        scorer,
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
        for (name, expected) in &manifest.files {
            let path = self.dir.join(name);
            let mut hasher = Sha256::new();
            if name == SCORER {
                hasher.update(&self.scorer);
            } else {
                io::copy(&mut open_regular(&path)?, &mut HashWriter(&mut hasher)).map_err(ArtefactError::io(&path))?;
            }
            let found = hex::encode(hasher.finalize());
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

fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, ArtefactError> {
    let mut bytes = Vec::new();
    open_regular(path)?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(ArtefactError::io(path))?;
    if bytes.len() as u64 > limit {
        let source = io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {limit} bytes"));
        return Err(ArtefactError::io(path)(source));
    }
    Ok(bytes)
}

/// Opens a file, and nothing that would make reading wait (a pipe) or lead elsewhere (a link).
fn open_regular(path: &Path) -> Result<File, ArtefactError> {
    let kind = fs::symlink_metadata(path).map_err(ArtefactError::io(path))?;
    match kind.is_file() {
        true => File::open(path).map_err(ArtefactError::io(path)),
        false => Err(ArtefactError::io(path)(io::Error::other("not a regular file"))),
    }
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
