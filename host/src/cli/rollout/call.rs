//! Calls to a gateway's rollout routes. Orders are retried; a command id keeps a retry from counting
//! twice.

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use crate::http::clock::TIME_HEADER;

/// The request header with the command id.
const COMMAND_HEADER: &str = "idempotency-key";
/// How often an order is sent again.
const RETRIES: u32 = 3;
/// The pause before the first retry; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// What a call of a gateway needs.
pub(super) struct Caller {
    pub(super) client: Client,
    /// URL of the gateway.
    pub(super) url: String,
    /// Empty: none.
    pub(super) token: String,
    /// Time of the call, for a gateway whose clock is the header.
    pub(super) as_of: Option<DateTime<Utc>>,
}

/// An answer in JSON.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

/// An answer as it came.
struct Raw {
    status: StatusCode,
    body: Vec<u8>,
}

impl Caller {
    /// `GET /rollout`, once.
    ///
    /// # Errors
    /// No answer within `patience`, or none in JSON.
    pub(super) async fn status(&self, patience: Duration) -> anyhow::Result<Answer> {
        self.get("", patience).await
    }

    /// `GET /rollout` and `path`, once.
    ///
    /// # Errors
    /// No answer within `patience`, or none in JSON.
    pub(super) async fn get(&self, path: &str, patience: Duration) -> anyhow::Result<Answer> {
        let request = self.signed(self.client.get(self.route(path))).timeout(patience);
        let raw = receive(request).await.map_err(|error| self.unanswered(error))?;
        self.read(raw)
    }

    /// `POST /rollout` and `path`. It is sent again if the connection broke or the gateway cannot
    /// answer now, always with the same command id. It is not if no answer came in time.
    ///
    /// # Errors
    /// No answer, or none in JSON.
    pub(super) async fn order(&self, path: &str, body: &Value, patience: Duration) -> anyhow::Result<Answer> {
        let command = Uuid::new_v4().to_string();
        let mut pause = FIRST_PAUSE;
        for _ in 0..RETRIES {
            match self.send(path, body, patience, &command).await {
                Ok(raw) if !is_temporary(raw.status) => return self.read(raw),
                Err(error) if !is_broken(&error) => return Err(self.unanswered(error)),
                Ok(_) | Err(_) => {}
            }
            sleep(pause).await;
            pause *= 2;
        }
        let last = self.send(path, body, patience, &command).await;
        self.read(last.map_err(|error| self.unanswered(error))?)
    }

    async fn send(&self, path: &str, body: &Value, patience: Duration, command: &str) -> reqwest::Result<Raw> {
        let request = self.client.post(self.route(path)).json(body);
        let request = request.header(COMMAND_HEADER, command).timeout(patience);
        receive(self.signed(request)).await
    }

    fn route(&self, path: &str) -> String {
        format!("{}/rollout{path}", self.url.trim_end_matches('/'))
    }

    fn signed(&self, mut request: RequestBuilder) -> RequestBuilder {
        if let Some(time) = self.as_of {
            request = request.header(TIME_HEADER, time.to_rfc3339());
        }
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        request
    }

    fn read(&self, raw: Raw) -> anyhow::Result<Answer> {
        let Raw { status, body } = raw;
        let body = serde_json::from_slice(&body)
            .with_context(|| format!("{} answered {status}, but not in JSON", self.url))?;
        Ok(Answer { status, body })
    }

    fn unanswered(&self, error: reqwest::Error) -> anyhow::Error {
        let what = if error.is_timeout() {
            format!(
                "no answer from {} in time; an order may have been carried out: check `ltr-host rollout status`",
                self.url
            )
        } else {
            format!("cannot call {}; is the gateway running there?", self.url)
        };
        anyhow::Error::new(error).context(what)
    }
}

async fn receive(request: RequestBuilder) -> reqwest::Result<Raw> {
    let response = request.send().await?;
    Ok(Raw {
        status: response.status(),
        body: response.bytes().await?.into(),
    })
}

/// Whether the gateway, or a proxy before it, may answer a moment later.
fn is_temporary(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Whether the connection could not be made, or broke.
fn is_broken(error: &reqwest::Error) -> bool {
    !error.is_timeout() && !error.is_builder()
}
