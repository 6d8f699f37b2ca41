//! `/rollout`: everybody can read state, evidence and verdict; an admin can change the rollout.

use chrono::{DateTime, Utc};
use hyper::StatusCode;
use ranking::criterion::failed;
use ranking::{Evidence, Gathering, Verdict, decide};
use serde_json::json;
use store::RolloutState;

use crate::http::auth::Caller;
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::response::{self, Response};
use crate::models::Serving;
use crate::release::{Action, Change, Record};
use crate::state::Gateway;
use crate::telemetry::metrics;

/// Maximum number of history entries shown.
const HISTORY: u32 = 50;

/// `GET /rollout`: the serving models, the evidence so far, each criterion, and the history.
pub(super) async fn status(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let now = gateway.clock.now(&call.head.headers)?;
    let state = gateway.store.rollout().await?;
    let judged = judge(gateway, &state, now).await?;
    Ok(response::json(&json!({
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

/// `POST /rollout/promote`: lets the challenger answer all requests, if the evidence allows it.
pub(super) async fn promote(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let now = gateway.clock.now(&call.head.headers)?;
    // Months of evidence are read before the lock is taken, so that a rollback never waits for
    // them.
    let judged_state = gateway.store.rollout().await?;
    let judged = judge(gateway, &judged_state, now).await?;
    let mut answer = None;
    let promoted = |before: RolloutState, serving: &Serving| {
        if before != judged_state {
            return Err(conflict(
                "changed",
                "the rollout was changed while the evidence was read; check it and retry",
            ));
        }
        let (Some(challenger), Some((version, evidence, verdict))) = (&serving.challenger, judged) else {
            return Err(no_challenger(serving));
        };
        let detail = json!({ "version": version, "evidence": evidence, "verdict": verdict });
        if !verdict.promote {
            let message = format!(
                "the evidence does not allow a promotion; failed: {}",
                failed(&verdict.criteria).join(", ")
            );
            return Err(conflict("verdict", message).with_detail(detail));
        }
        answer = Some(json!({ "weight": 100, "champion": version, "verdict": verdict }));
        Ok(Change {
            record: Some(Record {
                state: RolloutState {
                    weight: 100,
                    champion: Some(version),
                    challenger: None,
                },
                action: Action::Promote,
                actor: call.caller.name().to_owned(),
                detail,
            }),
            serving: Serving {
                weight: 100,
                champion: Some(challenger.clone()),
                ..Serving::default()
            },
        })
    };
    gateway.release.apply(promoted).await?;
    Ok(response::json(&answer))
}

/// `POST /rollout/rollback`: lets legacy answer all requests, at once. The models stay loaded.
pub(super) async fn rollback(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    set_weight(gateway, 0, Action::Rollback, &call.caller).await
}

/// `POST /rollout/weight`: sets the percentage of requests that LTR answers, without a verdict.
pub(super) async fn weight(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let weight = gateway
        .bodies
        .member(call.body, gateway.settings.host.max_json_depth, "weight", |json| {
            json.unsigned(100)
        })
        .await?;
    set_weight(gateway, weight as u8, Action::Weight, &call.caller).await
}

async fn set_weight(gateway: &Gateway, weight: u8, action: Action, caller: &Caller) -> Result<Response, ApiError> {
    let mut answer = None;
    let weighted = |before: RolloutState, serving: &Serving| {
        let detail = json!({ "from": before.weight, "to": weight });
        let state = RolloutState { weight, ..before };
        answer = Some(json!({ "weight": weight, "champion": state.champion, "challenger": state.challenger }));
        Ok::<_, ApiError>(Change {
            record: Some(Record {
                state,
                action,
                actor: caller.name().to_owned(),
                detail,
            }),
            serving: Serving {
                weight,
                ..serving.clone()
            },
        })
    };
    gateway.release.apply(weighted).await?;
    Ok(response::json(&answer))
}

/// The verdict on the challenger, or else on the champion, from the closed cases.
async fn judge(
    gateway: &Gateway,
    state: &RolloutState,
    now: DateTime<Utc>,
) -> Result<Option<(String, Evidence, Verdict)>, ApiError> {
    let Some(version) = state.challenger.clone().or_else(|| state.champion.clone()) else {
        return Ok(None);
    };
    let closed = now - gateway.settings.labels.longest();
    let criteria = gateway.settings.rollout.criteria.clone();
    let mut gathering = Gathering::new(&criteria);
    let mut take = |case| gathering.add(&case);
    let set_aside = gateway.store.each_shadow_case(&version, closed, &mut take).await?;
    metrics::unreadable(&set_aside);
    let judged = tokio::task::spawn_blocking(move || {
        let evidence = gathering.finish();
        let verdict = decide(&evidence, &criteria);
        (evidence, verdict)
    });
    let (evidence, verdict) = judged
        .await
        .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "verdict", e.to_string()))?;
    metrics::evidence(&evidence);
    Ok(Some((version, evidence, verdict)))
}

fn no_challenger(serving: &Serving) -> ApiError {
    let lacking = if serving.challenger.is_none() {
        "loaded"
    } else {
        "recorded"
    };
    conflict(
        "no_challenger",
        format!("no challenger is {lacking}; publish a model first"),
    )
}

fn conflict(code: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, code, message)
}
