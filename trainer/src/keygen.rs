//! `ltr-trainer keygen`: makes the key pair that signs models and lets gateways verify them.

use std::path::PathBuf;

use anyhow::{bail, ensure};
use clap::Parser;
use runtime::artefact::{KeyId, REVOKED, TRUSTED, keys};
use settings::Settings;

use crate::outcome::Outcome;

const EXAMPLES: &str = "Examples:
  ltr-trainer keygen
  ltr-trainer keygen --name publish-2027 --rotate
  LTR_PUBLISH__SIGNING_KEY=/etc/ltr/publish.key LTR_MODELS__TRUSTED_KEYS=/etc/ltr/trusted ltr-trainer keygen

To rotate, make a new key with --rotate --name NAME and publish as before. Once no gateway serves
a model signed with the old key, revoke that key:
  mv var/keys/trusted/publish.pub var/keys/trusted/publish.revoked && kill -HUP GATEWAY";

/// Makes a private signing key (publish.signing_key) and its public key, which belongs in every
/// gateway's key ring (models.trusted_keys).
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Name of the public key in the key ring
    #[arg(long, default_value = "publish", value_name = "NAME")]
    pub name: String,
    /// Replace the signing key; all public keys in the ring stay trusted, including the old one
    #[arg(long)]
    pub rotate: bool,
}

impl Default for Args {
    fn default() -> Args {
        Args {
            name: "publish".into(),
            rotate: false,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A name that is taken or invalid, a signing key that exists (without --rotate), or a file that
/// cannot be written.
pub fn run(args: &Args, settings: &Settings) -> anyhow::Result<Outcome> {
    let private = &settings.publish.signing_key;
    if private.exists() && !args.rotate {
        bail!(
            "{}: the signing key exists; replace it with --rotate --name NAME",
            private.display()
        );
    }
    let public = public_file(args, settings)?;
    let key = keys::generate_key()?;
    // The public key comes first: gateways must trust it before anything is signed with it.
    keys::write_verifying_key(&public, &key.verifying_key())?;
    if args.rotate {
        keys::replace_signing_key(private, &key)?;
    } else {
        keys::write_signing_key(private, &key)?;
    }
    println!("key id        {}", KeyId::of(&key.verifying_key()));
    println!("signing key   {} (private, keep it secret)", private.display());
    println!("public key    {} (for every gateway)", public.display());
    Ok(Outcome::Done)
}

/// The path of the new public key. Its name must never have been used, because keys are revoked by
/// name.
fn public_file(args: &Args, settings: &Settings) -> anyhow::Result<PathBuf> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    ensure!(
        (1..=64).contains(&args.name.len()) && args.name.chars().all(plain),
        "--name {:?}; allowed: 1 to 64 of A-Z a-z 0-9 _ -",
        args.name
    );
    let file = |ending: &str| settings.models.trusted_keys.join(format!("{}.{ending}", args.name));
    for taken in [TRUSTED, REVOKED].map(file) {
        ensure!(
            !taken.exists(),
            "{}: this key name is taken; choose another with --name",
            taken.display()
        );
    }
    Ok(file(TRUSTED))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use runtime::artefact::KeyRing;

    #[test]
    fn keys_are_private_match_and_are_not_replaced_by_accident() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.publish.signing_key = dir.path().join("keys/a.key");
        settings.models.trusted_keys = dir.path().join("keys/trusted");
        let args = |name: &str, rotate| Args {
            name: name.into(),
            rotate,
        };
        let signing = || keys::read_signing_key(&settings.publish.signing_key).unwrap();
        let trusts = |id| {
            KeyRing::read(&settings.models.trusted_keys)
                .unwrap()
                .trusted(id)
                .is_ok()
        };
        run(&args("first", false), &settings).unwrap();
        let first = KeyId::of(&signing().verifying_key());
        assert!(trusts(first));

        for (name, rotate, reason) in [
            ("second", false, "--rotate"),
            ("first", true, "--name"),
            ("../up", true, "--name"),
        ] {
            let refused = run(&args(name, rotate), &settings).unwrap_err();
            assert!(refused.to_string().contains(reason), "{refused}");
            assert_eq!(KeyId::of(&signing().verifying_key()), first);
        }

        run(&args("second", true), &settings).unwrap();
        let second = KeyId::of(&signing().verifying_key());
        assert_ne!(first, second);
        assert!(trusts(first) && trusts(second));
        let file = |name: &str| settings.models.trusted_keys.join(name);
        fs::rename(file("first.pub"), file("first.revoked")).unwrap();
        assert!(!trusts(first) && trusts(second));
        let refused = run(&args("first", true), &settings).unwrap_err();
        assert!(refused.to_string().contains("first.revoked"), "{refused}");
    }
}
