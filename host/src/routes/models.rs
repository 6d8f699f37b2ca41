//! `/models`: shows the loaded models, and accepts notice of a publication.

use std::sync::Arc;

use api::shortened;
use hyper::StatusCode;
use runtime::artefact;
use serde_json::json;

use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::response::{self, Response};
use crate::models::Trigger;
use crate::state::Gateway;

/// `GET /models`: the loaded models, the refused versions and the key ring.
pub(super) fn show(gateway: &Gateway) -> Response {
    let refused = gateway.models().refused().into_iter().map(|(refusal, ts_utc)| {
        json!({ "version": refusal.version, "code": refusal.code, "message": refusal.message, "ts_utc": ts_utc })
    });
    let (skipped, keys) = gateway.release.shown();
    response::json(&json!({
        "loaded": gateway.models().loaded(),
        "loads": gateway.models().loads(),
        "refused": refused.collect::<Vec<_>>(),
        "skipped": skipped,
        "keys": keys,
    }))
}

/// `POST /models/notify`: a version was published. Loads it in the background; `?wait=1` answers
/// after the load.
pub(super) async fn notify(gateway: &Arc<Gateway>, call: Call) -> Result<Response, ApiError> {
    let version = gateway
        .bodies
        .member(call.body, gateway.settings.host.max_json_depth, "version", |json| {
            json.string().map(str::to_owned)
        })
        .await?;
    // An invalid name is neither searched for nor remembered.
    if !artefact::is_version(&version) {
        return Err(bad_version(&version));
    }
    let notice = gateway.release.admit_notice();
    let notice = notice.ok_or_else(|| ApiError::unavailable("busy", "too many versions wait to be loaded"))?;
    let gateway = gateway.clone();
    let loading = tokio::spawn(async move {
        let _notice = notice;
        let loaded = if gateway.access.is_open() {
            gateway.release.challenge_newer(&version, Trigger::Notify).await
        } else {
            gateway.release.challenge(&version, Trigger::Notify).await
        };
        (loaded, version)
    });
    if call.head.uri.query() != Some("wait=1") {
        let started = response::json(&json!({ "status": "loading" }));
        return Ok(response::with_status(StatusCode::ACCEPTED, started));
    }
    match loading.await {
        Ok((Ok(()), version)) => Ok(response::json(&json!({ "status": "loaded", "version": version }))),
        Ok((Err(refusal), _)) => Err(ApiError {
            field: Some("version".into()),
            value: Some(refusal.version),
            ..ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, refusal.code, refusal.message)
        }),
        Err(error) => Err(ApiError::unavailable("not_loaded", error.to_string())),
    }
}

fn bad_version(version: &str) -> ApiError {
    let (version, allowed) = (
        shortened(version),
        "1 to 64 characters of A-Z a-z 0-9 . _ -, not starting with a dot",
    );
    ApiError {
        field: Some("version".into()),
        value: Some(version.clone()),
        allowed: Some(allowed.into()),
        ..ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_version",
            format!("version is {version:?}; allowed: {allowed}"),
        )
    }
}
