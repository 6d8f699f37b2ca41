//! `ltr-host token`: a new bearer token, and what the configuration must know of it.

use anyhow::anyhow;
use clap::Parser;
use settings::{Role, Token};
use sha2::{Digest, Sha256};

/// Make a bearer token, and the entry for access.tokens that lets it in
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  ltr-host token webshop --role rank --role ingest\n  ltr-host token ops --role admin\n\nPrints two lines: the token, which is shown only now, and its entry for access.tokens, which holds only its hash."
)]
pub struct Args {
    /// Whose token it is; logs, errors and the rollout's history say so
    name: String,
    /// What the token allows: ingest (/events), rank (/rank, /ltr/score) or admin (every change); can be repeated
    #[arg(long = "role", required = true, value_name = "ROLE")]
    roles: Vec<Role>,
}

/// Runs the command.
///
/// # Errors
/// No randomness from the operating system.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| anyhow!("no randomness from the operating system: {error}"))?;
    let token = format!("ltr_{}", hex::encode(secret));
    let entry = Token {
        name: args.name,
        roles: args.roles,
        sha256: hex::encode(Sha256::digest(&token)),
    };
    println!("{token}\n{entry}");
    Ok(())
}
