//! The publish webhook: tells the gateway about a new version.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;
use settings::Secret;

/// Delays between attempts.
const WAITS: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
];
const TIMEOUT: Duration = Duration::from_secs(30);

/// POSTs `{"version": version}` to `url`. Retries after connection failures and responses other
/// than 2xx and 4xx; a 4xx response is final.
pub(super) async fn notify(url: &str, caller: &settings::Client, version: &str) -> anyhow::Result<()> {
    let client = client::builder(url, &caller.ca_file)?.timeout(TIMEOUT).build()?;
    let mut waits = WAITS.iter();
    loop {
        let error = match post(&client, url, &caller.token, version).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let wait = waits.next().filter(|_| !error.is::<Rejection>());
        let Some(wait) = wait else {
            return Err(error);
        };
        tracing::warn!("notifying the gateway failed: {error:#}; retrying in {wait:?}");
        tokio::time::sleep(*wait).await;
    }
}

/// A 4xx response.
#[derive(Debug, thiserror::Error)]
#[error("{url} answered {status}: {body}")]
struct Rejection {
    url: String,
    status: u16,
    body: String,
}

async fn post(client: &reqwest::Client, url: &str, token: &Secret, version: &str) -> anyhow::Result<()> {
    let mut request = client.post(url).json(&json!({ "version": version }));
    if !token.is_empty() {
        request = request.bearer_auth(token.expose());
    }
    let answer = request.send().await.with_context(|| format!("POST {url}"))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let body = answer.text().await.unwrap_or_default();
    if status.is_client_error() {
        return Err(Rejection {
            url: url.to_owned(),
            status: status.as_u16(),
            body,
        }
        .into());
    }
    bail!("{url} answered {status}: {body}");
}
