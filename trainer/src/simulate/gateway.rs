//! An HTTP client for the gateway that sends the simulated time in a header.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use settings::Secret;
use uuid::Uuid;

/// Timeout of a call; it ends the run.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Characters of an unexpected body that are shown.
const MAX_SHOWN: usize = 2_000;

#[derive(Clone)]
pub(super) struct Gateway {
    client: reqwest::Client,
    url: Url,
    token: Secret,
}

#[derive(Deserialize)]
pub(super) struct Ranking {
    pub source: String,
    pub fallback: Option<String>,
    pub ranking: Vec<Ranked>,
    /// Time from the request to the response, measured here.
    #[serde(skip)]
    pub took: Duration,
}

#[derive(Deserialize)]
pub(super) struct Ranked {
    pub lawyer_id: String,
    pub rank_pos: u32,
}

#[derive(Deserialize)]
pub(super) struct Receipt {
    pub accepted: u64,
    pub duplicates: u64,
}

impl Gateway {
    pub(super) fn new(url: &str, caller: &settings::Client) -> anyhow::Result<Gateway> {
        let url: Url = url
            .parse()
            .with_context(|| format!("--url {url:?}: not a URL; allowed: e.g. http://127.0.0.1:8080"))?;
        if !matches!(url.scheme(), "http" | "https") {
            bail!("--url {url}: scheme {:?}; allowed: http or https", url.scheme());
        }
        let client = client::builder(url.as_str(), &caller.ca_file)?;
        let client = client.timeout(TIMEOUT).no_proxy().build()?;
        Ok(Gateway {
            client,
            url,
            token: caller.token.clone(),
        })
    }

    /// Requests a ranking.
    ///
    /// # Errors
    /// No response, a status other than 200 (with the body), or a body that is not a ranking.
    pub(super) async fn rank(
        &self,
        request_id: Uuid,
        now: DateTime<Utc>,
        shadow: bool,
        body: String,
    ) -> anyhow::Result<Ranking> {
        let mut request = self.post("rank", now).header("x-request-id", request_id.to_string());
        if shadow {
            request = request.header("X-Shadow-LTR", "1");
        }
        let request = request.header("content-type", "application/json").body(body);
        let start = Instant::now();
        let answer = text("POST /rank", request).await?;
        let took = start.elapsed();
        let ranking: Ranking =
            serde_json::from_str(&answer).with_context(|| format!("POST /rank answered {}", cut(&answer)))?;
        Ok(Ranking { took, ..ranking })
    }

    /// Posts events, as NDJSON (`lines`) or as a JSON array.
    ///
    /// # Errors
    /// No response, a status other than 200 (with the body), or a body that is not a receipt.
    pub(super) async fn events(&self, now: DateTime<Utc>, events: &[Value], lines: bool) -> anyhow::Result<Receipt> {
        let (media, body) = if lines {
            let lines: Vec<String> = events.iter().map(Value::to_string).collect();
            ("application/x-ndjson", lines.join("\n"))
        } else {
            ("application/json", serde_json::to_string(events)?)
        };
        let request = self.post("events", now).header("content-type", media).body(body);
        let answer = text("POST /events", request).await?;
        serde_json::from_str(&answer).with_context(|| format!("POST /events answered {}", cut(&answer)))
    }

    /// Number of shadow scorings so far, over all outcomes, from the gateway's metrics.
    ///
    /// # Errors
    /// No response, or a status other than 200.
    pub(super) async fn shadow_scored(&self) -> anyhow::Result<u64> {
        let page = text("GET /metrics", self.client.get(self.endpoint("metrics"))).await?;
        let counts = page.lines().filter(|line| line.starts_with("ltr_shadow_total"));
        Ok(counts
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>() as u64)
    }

    /// Steps the gateway's release controller to `now`, and waits until it has evaluated: what it decides
    /// then is decided for every later request. Without the role for it nothing is stepped, and the
    /// controller follows the requests' times by itself.
    ///
    /// # Errors
    /// No response, or a status other than 200, 401 and 403.
    pub(super) async fn step(&self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let request = self.at(self.client.get(self.endpoint("rollout")), now);
        let answer = request
            .send()
            .await
            .context("GET /rollout: no response; is the gateway running?")?;
        let may_not = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&answer.status());
        if !may_not && answer.status() != StatusCode::OK {
            bail!("GET /rollout answered {}", answer.status());
        }
        Ok(())
    }

    fn post(&self, path: &str, now: DateTime<Utc>) -> RequestBuilder {
        self.at(self.client.post(self.endpoint(path)), now)
    }

    fn at(&self, request: RequestBuilder, now: DateTime<Utc>) -> RequestBuilder {
        let request = request.header("X-LTR-Time", now.to_rfc3339_opts(SecondsFormat::Millis, true));
        if self.token.is_empty() {
            request
        } else {
            request.bearer_auth(self.token.expose())
        }
    }

    fn endpoint(&self, path: &str) -> String {
        format!("{}/{path}", self.url.as_str().trim_end_matches('/'))
    }
}

async fn text(what: &str, request: RequestBuilder) -> anyhow::Result<String> {
    let answer = request
        .send()
        .await
        .with_context(|| format!("{what}: no response; is the gateway running?"))?;
    let status = answer.status();
    let body = answer
        .text()
        .await
        .with_context(|| format!("{what}: the response was cut off"))?;
    if status != StatusCode::OK {
        bail!("{what} answered {status}: {}", cut(&body));
    }
    Ok(body)
}

fn cut(body: &str) -> String {
    body.chars().take(MAX_SHOWN).collect()
}
