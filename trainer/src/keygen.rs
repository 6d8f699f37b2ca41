//! `ltr-trainer keygen`: the pair of keys that publisher and gateways trust each other by.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use clap::Parser;
use runtime::artefact::keys;
use settings::Settings;

use crate::outcome::Outcome;

const EXAMPLES: &str = "Examples:
  ltr-trainer keygen
  LTR_PUBLISH__SIGNING_KEY=/etc/ltr/publish.key LTR_MODELS__VERIFY_KEY=/etc/ltr/publish.pub ltr-trainer keygen";

/// Makes the signing key (publish.signing_key, for its owner's eyes only) and the verifying key
/// (models.verify_key, for every gateway).
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Replace existing keys; gateways then refuse everything signed before
    #[arg(long)]
    pub force: bool,
}

/// Runs the command.
///
/// # Errors
/// An existing key without --force; a file that cannot be written.
pub fn run(args: &Args, settings: &Settings) -> anyhow::Result<Outcome> {
    let (private, public) = (&settings.publish.signing_key, &settings.models.verify_key);
    for path in [private, public] {
        if path.exists() && !args.force {
            bail!("{}: there is a key already; --force replaces it", path.display());
        }
    }
    if args.force {
        remove(private)?;
        remove(public)?;
    }
    let key = keys::generate_key()?;
    keys::write_signing_key(private, &key)?;
    keys::write_verifying_key(public, &key.verifying_key())?;
    println!("signing key   {} (keep it to yourself)", private.display());
    println!("verifying key {}", public.display());
    Ok(Outcome::Done)
}

fn remove(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        fs::remove_file(path).with_context(|| format!("replacing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_private_match_and_are_not_replaced_by_accident() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.publish.signing_key = dir.path().join("keys/a.key");
        settings.models.verify_key = dir.path().join("keys/a.pub");
        run(&Args { force: false }, &settings).unwrap();
        let first = keys::read_signing_key(&settings.publish.signing_key).unwrap();
        let public = keys::read_verifying_key(&settings.models.verify_key).unwrap();
        assert_eq!(first.verifying_key(), public);

        let refused = run(&Args { force: false }, &settings).unwrap_err();
        assert!(refused.to_string().contains("--force"), "{refused}");
        let unchanged = keys::read_signing_key(&settings.publish.signing_key).unwrap();
        assert_eq!(first.to_bytes(), unchanged.to_bytes());

        run(&Args { force: true }, &settings).unwrap();
        let second = keys::read_signing_key(&settings.publish.signing_key).unwrap();
        assert_ne!(first.to_bytes(), second.to_bytes());
    }
}
