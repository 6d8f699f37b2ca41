//! `/rollout`: shows the fleet's state, evidence and verdict; an admin can change what serves.

use std::time::Duration;

use api::json::{Document, Field, Json};
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use ranking::release::{Command, ModelId, Order, Phase, Refused, State};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::call::Call;
use crate::http::error::{ApiError, Invalid};
use crate::http::response::{self, Response};
use crate::release::{OrderError, Ordered, PendingRollback, Seen};
use crate::state::Gateway;

/// The header with a command's id, a UUID: a repeated call with the same id changes nothing more.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// What a rollback's key is mixed with, as [`Asked::read`] does with each path.
const ROLLBACK_PATH: &str = "/rollout/rollback";
/// Longest reason, in characters.
const MAX_REASON: usize = 500;
/// How long a rollback waits for the database; it acts before.
const RECORDING: Duration = Duration::from_secs(2);
/// How long a rollback waits for the rest of its body, which only has the reason.
const REASON: Duration = Duration::from_millis(50);
/// Longest delay of a drill.
const MAX_DRILL_MS: u64 = 10_000;
/// How long a call waits for the controller, if the clock is injected.
const STEPPING: Duration = Duration::from_secs(60);

/// `GET /rollout`: the state on record, who follows it, the evidence so far, each criterion, and the
/// latest entries of the ledger. Everything comes from memory.
pub(super) async fn status(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let now = gateway.clock.now(&call.head.headers)?;
    gateway.release.step_to(now, STEPPING).await;
    let mut shown = gateway
        .release
        .shown_rollout(gateway.flags.in_force().shadow.fraction());
    shown["flags"] = json!(gateway.flags.shown());
    Ok(response::json(&shown))
}

/// `GET /rollout/evidence`: what is shown beside the verdict: values, exposure, coverage and samplers. From memory, too.
pub(super) async fn evidence(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let now = gateway.clock.now(&call.head.headers)?;
    gateway.release.step_to(now, STEPPING).await;
    Ok(response::json(&gateway.release.shown_evidence()))
}

/// `POST /rollout/promote`: lets the challenger serve, if the evidence allows it.
pub(super) async fn promote(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let now = gateway.clock.now(&call.head.headers)?;
    let asked = Asked::read(gateway, call, [], |[]| Ok(())).await?;
    if let Some(ordered) = gateway.release.repeated(asked.command).await? {
        return Ok(response::json(&answer(&ordered)));
    }
    gateway.release.look().await?;
    let challenger = gateway.release.state().and_then(|state| state.challenger);
    let Some(challenger) = challenger else {
        return Err(OrderError::from(Refused::NoChallenger).into());
    };
    // Before the order, so that a rollback never waits for months of evidence.
    let judgement = gateway.release.judge(&challenger, now).await?;
    let detail = judgement.evidence.clone();
    let order = |_: &State| Ok(asked.order(Command::Promote(judgement.clone())));
    let ordered = gateway.release.order(asked.command, now, &asked.seen, order).await;
    let ordered = ordered.map_err(|error| ApiError::from(error).with_detail(detail.clone()))?;
    let mut answer = answer(&ordered);
    answer["verdict"] = detail["verdict"].clone();
    Ok(response::json(&answer))
}

/// `POST /rollout/rollback`: lets legacy answer all requests, here at once, and everywhere once it is
/// on record. The models stay loaded.
pub(super) async fn rollback(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let seen = gateway.release.seen().rewrites;
    // A call without a usable time must not keep LTR serving.
    let at = decided_at(gateway, &call.head.headers);
    let (actor, headers) = (call.caller.name().to_owned(), call.head.headers.clone());
    let asked = tokio::time::timeout(REASON, Asked::read(gateway, call, [], |[]| Ok(()))).await;
    let (command, reason) = match asked {
        Ok(Ok(asked)) => (asked.command, asked.reason),
        Ok(Err(error)) => (rollback_id(&headers), unread(&error.message)),
        Err(_) => (rollback_id(&headers), unread("it did not arrive in time")),
    };
    let pending = PendingRollback {
        command,
        actor,
        reason,
        at,
        seen: Some(seen),
    };
    let ordered = gateway.release.rollback(pending, RECORDING).await;
    let status = if ordered.recorded {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok(response::with_status(status, response::json(&answer(&ordered))))
}

/// The id of a rollback whose body could not be read; an unusable key counts as none.
fn rollback_id(headers: &hyper::HeaderMap) -> Uuid {
    let key = command_id(headers).unwrap_or_else(|_| Uuid::new_v4());
    Uuid::new_v5(&key, ROLLBACK_PATH.as_bytes())
}

fn unread(problem: &str) -> String {
    format!("(the reason could not be read: {problem})")
}

/// `POST /rollout/hold`: stops promotions by themselves, or lets them go on.
pub(super) async fn hold(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let on = |[on]: [Field<'_>; 1]| on.read(boolean);
    let asked = Asked::read(gateway, call, ["on"], on).await?;
    asked.carry_out(gateway, |_, on| Ok(Command::Hold(*on))).await
}

/// `POST /rollout/pin`: serves a model to all users, by name.
pub(super) async fn pin(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let version = |[version]: [Field<'_>; 1]| version.read(|json| json.string().map(str::to_owned));
    let asked = Asked::read(gateway, call, ["version"], version).await?;
    let pin = |state: &State, version: &String| Ok(Command::Pin(named(state, version)));
    asked.carry_out(gateway, pin).await
}

/// `POST /rollout/weight`: sets the percentage of users whom LTR answers, without a verdict.
pub(super) async fn weight(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    let read = |[weight, version]: [Field<'_>; 2]| {
        let percent = weight.read(|json| json.unsigned(100))? as u8;
        let version = version.read_optional(|json| json.string().map(str::to_owned))?;
        Ok((percent, version))
    };
    let asked = Asked::read(gateway, call, ["weight", "version"], read).await?;
    let weight = |state: &State, (percent, version): &(u8, Option<String>)| {
        Ok(Command::Weight {
            percent: *percent,
            model: version.as_ref().map(|version| named(state, version)),
        })
    };
    asked.carry_out(gateway, weight).await
}

/// `POST /rollout/drill`: makes every scoring for `/rank` slower, or wrong, on this gateway, to see the
/// watches at work. Only where the clock is injected, which no gateway with real users has.
pub(super) async fn drill(gateway: &Gateway, call: Call) -> Result<Response, ApiError> {
    if gateway.settings.host.clock != settings::Clock::Header {
        let message = "drills are for simulations; allowed: with host.clock = \"header\"";
        return Err(ApiError::new(StatusCode::CONFLICT, "no_simulation", message));
    }
    let read = |[delay, reversed]: [Field<'_>; 2]| {
        let delay_ms = delay.read(|json| json.unsigned(MAX_DRILL_MS))?;
        Ok((delay_ms, reversed.read_optional(boolean)?.unwrap_or(false)))
    };
    let asked = Asked::read(gateway, call, ["delay_ms", "reversed"], read).await?;
    let (delay_ms, reversed) = asked.what;
    gateway.models().set_drill(Duration::from_millis(delay_ms), reversed);
    tracing::warn!(
        actor = asked.actor,
        delay_ms,
        reversed,
        "drill: scoring is made slower, or turned around, on this gateway"
    );
    Ok(response::json(&json!({ "delay_ms": delay_ms, "reversed": reversed })))
}

/// The model on record under this version, or one that is not there.
fn named(state: &State, version: &str) -> ModelId {
    let unknown = || ModelId {
        version: api::shortened(version),
        sha256: None,
    };
    state.named(version).cloned().unwrap_or_else(unknown)
}

/// What an operator asks for.
struct Asked<T> {
    command: Uuid,
    actor: String,
    reason: String,
    now: DateTime<Utc>,
    /// What this gateway knew when the order arrived.
    seen: Seen,
    what: T,
}

impl<T: Send + Sync> Asked<T> {
    /// Reads a call whose body has these members, and an optional `reason`. A body without members may
    /// be empty.
    async fn read<const N: usize>(
        gateway: &Gateway,
        call: Call,
        names: [&'static str; N],
        read: impl FnOnce([Field<'_>; N]) -> Result<T, Invalid>,
    ) -> Result<Asked<T>, ApiError> {
        let now = decided_at(gateway, &call.head.headers);
        let seen = gateway.release.seen();
        let key = command_id(&call.head.headers)?;
        let path = call.head.uri.path().to_owned();
        let content = gateway.bodies.read(call.body).await?;
        let max_depth = gateway.settings.host.max_json_depth;
        let decode = |text: &[u8]| {
            let text = if text.is_empty() && N == 0 { b"{}" } else { text };
            let document = Document::parse(text, max_depth)?;
            let (members, reason) = members(document.root(), names)?;
            let reason = reason.read_optional(bounded_reason)?;
            // A key that was used for another order is not this one. A rollback has its key, whatever
            // its body says, because it acts also without one.
            let of = if path == ROLLBACK_PATH { &[][..] } else { text };
            let command = Uuid::new_v5(&key, &[path.as_bytes(), of].concat());
            Ok::<_, ApiError>((read(members)?, reason.unwrap_or_default(), command))
        };
        let (what, reason, command) = content.decode(decode).await?;
        Ok(Asked {
            command,
            actor: call.caller.name().to_owned(),
            reason,
            now,
            seen,
            what,
        })
    }

    fn order(&self, command: Command) -> Order {
        Order {
            command,
            actor: self.actor.clone(),
            reason: self.reason.clone(),
        }
    }

    /// Carries out the command that `decide` makes from the state on record.
    async fn carry_out(
        &self,
        gateway: &Gateway,
        decide: impl Fn(&State, &T) -> Result<Command, Refused> + Send + Sync,
    ) -> Result<Response, ApiError> {
        let order = |state: &State| Ok(self.order(decide(state, &self.what)?));
        let ordered = gateway.release.order(self.command, self.now, &self.seen, order).await?;
        Ok(response::json(&answer(&ordered)))
    }
}

/// The members of an object, and its `reason`.
fn members<'d, const N: usize>(
    json: Json<'d>,
    names: [&'static str; N],
) -> Result<([Field<'d>; N], Field<'d>), Invalid> {
    let mut all = vec!["reason"];
    all.extend(names);
    let mut fields = json.fields_of(&all)?.into_iter();
    let reason = fields.next().expect("one field per name");
    let members: Vec<Field<'d>> = fields.collect();
    let members = <[Field<'d>; N]>::try_from(members).ok().expect("one field per name");
    Ok((members, reason))
}

fn bounded_reason(json: Json<'_>) -> Result<String, Invalid> {
    let text = json.string()?;
    if text.chars().count() > MAX_REASON || text.chars().any(char::is_control) {
        let allowed = format!("a text of at most {MAX_REASON} characters without control characters");
        return Err(Invalid::new(api::shortened(text), allowed));
    }
    Ok(text.to_owned())
}

fn boolean(json: Json<'_>) -> Result<bool, Invalid> {
    match json.to_value() {
        Value::Bool(value) => Ok(value),
        other => Err(Invalid::new(api::shortened(&other.to_string()), "true or false")),
    }
}

/// The time of an order. A call without a usable time has the latest one that was seen.
fn decided_at(gateway: &Gateway, headers: &hyper::HeaderMap) -> DateTime<Utc> {
    let now = gateway.clock.now(headers);
    now.unwrap_or_else(|_| gateway.release.now())
}

/// The id of the command: the caller's, or a new one.
fn command_id(headers: &hyper::HeaderMap) -> Result<Uuid, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(Uuid::new_v4());
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    text.parse().map_err(|_| ApiError {
        field: Some("Idempotency-Key".into()),
        value: Some(api::shortened(&text)),
        allowed: Some("a UUID".into()),
        ..ApiError::malformed("bad_idempotency_key", "the header Idempotency-Key is not a UUID")
    })
}

/// What an order led to.
fn answer(ordered: &Ordered) -> Value {
    let state = ordered.state.as_ref();
    let champion = state.and_then(|state| state.champion.as_ref());
    let challenger = state.and_then(|state| state.challenger.as_ref());
    json!({
        "weight": ordered.weight,
        "phase": state.map(|state| state.phase.name()),
        "until": state.and_then(|state| match state.phase {
            Phase::RolledBack { until } => Some(until),
            _ => None,
        }),
        "champion": champion.map(|champion| &champion.model.version),
        "challenger": challenger.map(|model| &model.version),
        "state": state,
        "head": ordered.head,
        "recorded": ordered.recorded,
    })
}

impl From<OrderError> for ApiError {
    fn from(error: OrderError) -> ApiError {
        let message = error.to_string();
        match error {
            OrderError::Refused(refused) => ApiError::new(StatusCode::CONFLICT, refused.code(), message),
            OrderError::Replaced => ApiError::new(StatusCode::CONFLICT, "record_replaced", message),
            OrderError::RollbackPending => ApiError::new(StatusCode::CONFLICT, "rollback_pending", message),
            OrderError::Store(error) => error.into(),
            OrderError::Contended => ApiError::unavailable("contended", message),
            OrderError::LeaseLost => ApiError::unavailable("lease_lost", message),
            OrderError::Unreadable(_) => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable_state", message),
        }
    }
}
