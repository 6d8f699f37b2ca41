//! The source of the current time, so that replays and tests can set it.

use api::shortened;
use chrono::{DateTime, Utc};
use hyper::HeaderMap;

use super::error::ApiError;

/// The request header that carries the time in header mode.
pub const TIME_HEADER: &str = "x-ltr-time";

/// The source of "now" (`host.clock`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The clock of this machine.
    System,
    /// The header `X-LTR-Time` of each request: for simulations and replays.
    Header,
}

impl From<settings::Clock> for Clock {
    fn from(configured: settings::Clock) -> Clock {
        match configured {
            settings::Clock::System => Clock::System,
            settings::Clock::Header => Clock::Header,
        }
    }
}

impl Clock {
    /// The current time.
    ///
    /// # Errors
    /// In header mode, 400 if the header is absent or not RFC 3339.
    pub fn now(self, headers: &HeaderMap) -> Result<DateTime<Utc>, ApiError> {
        match self {
            Clock::System => Ok(wall()),
            Clock::Header => from_header(headers),
        }
    }

    /// The current time for calls that may lack the header: the system's time if the header is not
    /// usable.
    pub fn now_or_system(self, headers: &HeaderMap) -> DateTime<Utc> {
        self.now(headers).unwrap_or_else(|_| wall())
    }
}

/// The system's time, to be shown or logged. Decisions use [`Clock::now`].
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn wall() -> DateTime<Utc> {
    Utc::now()
}

fn from_header(headers: &HeaderMap) -> Result<DateTime<Utc>, ApiError> {
    let found = headers
        .get(TIME_HEADER)
        .map(|value| shortened(&String::from_utf8_lossy(value.as_bytes())));
    let value = found.as_deref().unwrap_or("absent");
    grammar::instant(value).ok_or_else(|| ApiError {
        field: Some("X-LTR-Time".into()),
        value: Some(value.into()),
        allowed: Some(grammar::INSTANT.into()),
        ..ApiError::malformed(
            "missing_time",
            format!("header X-LTR-Time is {value}; with host.clock = \"header\" every request must carry an RFC 3339 time there"),
        )
    })
}
