//! The models and the rollout over HTTP: state, evidence and verdict for everyone, changes for the admin.

pub mod client;

use std::sync::Arc;

use api::json::{Document, Json};
use api::shortened;
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use ranking::{Evidence, Verdict, decide, gather};
use runtime::artefact;
use serde_json::json;
use store::RolloutState;

use crate::access::Caller;
use crate::answer::{self, Response};
use crate::body::Body;
use crate::errors::{ApiError, Invalid};
use crate::gateway::Gateway;
use crate::models::{Refusal, Serving, Trigger};
use crate::observe;
use crate::routes::Call;

/// Entries of the history that are shown.
const HISTORY: u32 = 50;

/// `GET /models`.
pub fn models(gateway: &Gateway) -> Response {
    let refused = gateway.models.refused().into_iter().map(|(refusal, ts_utc)| {
        json!({ "version": refusal.version, "code": refusal.code, "message": refusal.message, "ts_utc": ts_utc })
    });
    answer::json(&json!({
        "loaded": gateway.models.loaded(),
        "loads": gateway.models.loads(),
        "refused": refused.collect::<Vec<_>>(),
        "skipped": gateway.tried.skipped(),
        "keys": gateway.loader.keys.facts(),
    }))
}

/// `POST /models/notify`: a version was published. Loads it off the serving path; `?wait=1` answers afterwards.
pub async fn notify(gateway: &Arc<Gateway>, call: Call) -> Result<Response, ApiError> {
    let version = member(gateway, call.body, "version", |json| json.string().map(str::to_owned)).await?;
    // No other name is remembered, or looked for.
    if !artefact::is_version(&version) {
        return Err(bad_version(&version));
    }
    let notice = gateway.notices.clone().try_acquire_owned();
    let notice = notice.map_err(|_| ApiError::unavailable("busy", "too many versions wait to be loaded"))?;
    let gateway = gateway.clone();
    let loading = tokio::spawn(async move {
        let _notice = notice;
        let loaded = match gateway.access.is_open() {
            true => gateway.challenge_newer(&version, Trigger::Notify).await,
            false => gateway.challenge(&version, Trigger::Notify).await,
        };
        (loaded, version)
    });
    if call.head.uri.query() != Some("wait=1") {
        let started = answer::json(&json!({ "status": "loading" }));
        return Ok(answer::with_status(StatusCode::ACCEPTED, started));
    }
    match loading.await {
        Ok((Ok(()), version)) => Ok(answer::json(&json!({ "status": "loaded", "version": version }))),
        Ok((Err(Refusal { version, code, message }), _)) => Err(ApiError {
            field: Some("version".into()),
            value: Some(version),
            ..ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
        }),
        Err(error) => Err(ApiError::unavailable("not_loaded", error.to_string())),
    }
}

/// `GET /rollout`: what serves, the evidence so far, each criterion, and what was done before.
pub async fn status(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let now = gateway.clock.now(&call.head.headers)?;
    let state = gateway.store.rollout().await?;
    let judged = judge(gateway, &state, now).await?;
    Ok(answer::json(&json!({
        "weight": state.weight,
        "champion": state.champion,
        "challenger": state.challenger,
        "judged": judged.as_ref().map(|(version, _, _)| version),
        "evidence": judged.as_ref().map(|(_, evidence, _)| evidence),
        "verdict": judged.as_ref().map(|(_, _, verdict)| verdict),
        "flags": gateway.flags.shown(),
        "history": gateway.store.history(HISTORY).await?,
    })))
}

/// `POST /rollout/promote`: the challenger answers everything, if the evidence says so.
pub async fn promote(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let now = gateway.clock.now(&call.head.headers)?;
    // Months of evidence are read before the lock is taken: a rollback waits for nothing.
    let judged_state = gateway.store.rollout().await?;
    let judged = judge(gateway, &judged_state, now).await?;
    let _change = gateway.change.lock().await;
    if gateway.store.rollout().await? != judged_state {
        return Err(conflict(
            "changed",
            "the rollout was changed while the evidence was read; look at it and ask again",
        ));
    }
    let serving = gateway.models.serving();
    let Some(challenger) = serving.challenger.clone() else {
        return Err(conflict(
            "no_challenger",
            "no challenger is loaded; publish a model first",
        ));
    };
    let Some((version, evidence, verdict)) = judged else {
        return Err(conflict(
            "no_challenger",
            "no challenger is recorded; publish a model first",
        ));
    };
    let detail = json!({ "version": version, "evidence": evidence, "verdict": verdict });
    if !verdict.promote {
        let failed: Vec<&str> = verdict.criteria.iter().filter(|c| !c.passed).map(|c| c.name).collect();
        let message = format!("the evidence does not allow it: {}", failed.join(", "));
        return Err(conflict("verdict", message).with_detail(detail));
    }
    let state = RolloutState {
        weight: 100,
        champion: Some(version),
        challenger: None,
    };
    gateway
        .store
        .save_rollout(&state, &gateway.entry("promote", call.caller.name(), detail.clone()))
        .await?;
    gateway.models.swap(Serving {
        weight: 100,
        champion: Some(challenger),
        ..Serving::default()
    });
    Ok(answer::json(
        &json!({ "weight": 100, "champion": state.champion, "verdict": verdict }),
    ))
}

/// `POST /rollout/rollback`: legacy answers everything, at once. The models stay loaded.
pub async fn rollback(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    set_weight(gateway, 0, "rollback", &call.caller).await
}

/// `POST /rollout/weight`: an operator's override, without a verdict.
pub async fn weight(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let weight = member(gateway, call.body, "weight", |json| json.unsigned(100)).await?;
    set_weight(gateway, weight as u8, "weight", &call.caller).await
}

async fn set_weight(gateway: &Gateway, weight: u8, action: &str, caller: &Caller) -> Result<Response, ApiError> {
    let _change = gateway.change.lock().await;
    let before = gateway.store.rollout().await?;
    let detail = json!({ "from": before.weight, "to": weight });
    let state = RolloutState { weight, ..before };
    gateway
        .store
        .save_rollout(&state, &gateway.entry(action, caller.name(), detail))
        .await?;
    gateway.models.swap(Serving {
        weight,
        ..(*gateway.models.serving()).clone()
    });
    Ok(answer::json(
        &json!({ "weight": weight, "champion": state.champion, "challenger": state.challenger }),
    ))
}

/// The verdict on the challenger, or on the champion where there is none, from the cases that are closed.
async fn judge(
    gateway: &Gateway,
    state: &RolloutState,
    now: DateTime<Utc>,
) -> Result<Option<(String, Evidence, Verdict)>, ApiError> {
    let Some(version) = state.challenger.clone().or_else(|| state.champion.clone()) else {
        return Ok(None);
    };
    let closed = now - gateway.settings.labels.longest();
    let cases = gateway.store.shadow_cases(&version, closed).await?;
    observe::unreadable(&cases.unreadable);
    let cases = cases.records;
    let criteria = gateway.settings.rollout.criteria.clone();
    let judged = tokio::task::spawn_blocking(move || {
        let evidence = gather(&cases, &criteria);
        let verdict = decide(&evidence, &criteria);
        (evidence, verdict)
    });
    let (evidence, verdict) = judged
        .await
        .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "verdict", e.to_string()))?;
    observe::evidence(&evidence);
    Ok(Some((version, evidence, verdict)))
}

/// The one member of a body that is an object of one.
async fn member<T>(
    gateway: &Gateway,
    body: Body,
    name: &'static str,
    read: impl FnOnce(Json) -> Result<T, Invalid>,
) -> Result<T, ApiError> {
    let max_depth = gateway.settings.host.max_json_depth;
    let content = gateway.bodies.read(body).await?;
    let read = |text: &[u8]| {
        let document = Document::parse(text, max_depth)?;
        let [member] = document.root().fields(&[name])?;
        Ok(member.read(read)?)
    };
    content.decode(read).await
}

fn bad_version(version: &str) -> ApiError {
    let (version, allowed) = (
        shortened(version),
        "1 to 64 of A-Z a-z 0-9 . _ -, not starting with a dot",
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

fn conflict(code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, code, message)
}
