//! `ltr-host token`: makes a bearer token and its entry for the configuration.

use anyhow::anyhow;
use clap::Parser;
use settings::{Role, Token};
use sha2::{Digest, Sha256};

/// Make a bearer token and its entry for access.tokens
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  ltr-host token webshop --role rank --role ingest\n  ltr-host token ops --role admin\n\nPrints two lines: the token, which is shown only this once, and its entry for access.tokens, which holds only the hash."
)]
pub struct Args {
    /// Name of the token's owner in logs, errors and the rollout's history
    name: String,
    /// Role of the token: ingest (/events), rank (/rank, /ltr/score) or admin (every change); can
    /// be repeated
    #[arg(long = "role", required = true, value_name = "ROLE")]
    roles: Vec<Role>,
}

/// Runs the command.
///
/// # Errors
/// The operating system provides no randomness.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| anyhow!("the operating system provides no randomness: {error}"))?;
    let token = format!("ltr_{}", hex::encode(secret));
    let entry = Token {
        name: args.name,
        roles: args.roles,
        sha256: hex::encode(Sha256::digest(&token)),
    };
    println!("{token}\n{entry}");
    Ok(())
}
