//! The signature file: which key signed the manifest, and the signature.

use ed25519_dalek::{Signature, Signer, SigningKey};

use super::{ArtefactError, KeyId, KeyRing};

const ALGORITHM: &str = "ed25519";

/// The file's content for a manifest.
pub(super) fn sign(manifest: &[u8], key: &SigningKey) -> String {
    line(KeyId::of(&key.verifying_key()), &key.sign(manifest))
}

/// The key that signed the manifest, which the ring trusts.
pub(super) fn verify(manifest: &[u8], file: &[u8], ring: &KeyRing) -> Result<KeyId, ArtefactError> {
    let (id, signature) = parse(file).ok_or(ArtefactError::MalformedSignature)?;
    let key = ring.trusted(id)?;
    key.verify_strict(manifest, &signature)
        .map_err(|_| ArtefactError::BadSignature(id))?;
    Ok(id)
}

fn parse(file: &[u8]) -> Option<(KeyId, Signature)> {
    let mut words = file.trim_ascii_end().split(|&byte| byte == b' ');
    let (_, id, signature) = (words.next()?, KeyId::parse(words.next()?)?, words.next()?);
    let mut raw = [0; Signature::BYTE_SIZE];
    hex::decode_to_slice(signature, &mut raw).ok()?;
    let signature = Signature::from_bytes(&raw);
    // One way to write it: what reads the same but is not the same was changed on the way.
    (line(id, &signature).as_bytes() == file).then_some((id, signature))
}

fn line(id: KeyId, signature: &Signature) -> String {
    format!("{ALGORITHM} {id} {}\n", hex::encode(signature.to_bytes()))
}
