//! The operator's switches: the kill switch, and the share of the requests that are compared in
//! shadow.
//!
//! Their values come from the configuration, or from a Redis that the whole fleet shares. A
//! background task polls Redis; requests read the values in force from memory.

pub mod redis;
mod snapshot;
pub mod value;

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use metrics::{counter, gauge};
use parking_lot::Mutex;
use ranking::Sampler;
use serde_json::{Value, json};
use settings::Settings;

use crate::http::clock::wall;
use api::shortened;
use redis::{PATIENCE, RawFlags, Redis};
use snapshot::{FlagSnapshot, SnapshotFile};
use value::{KillSwitch, Refused};

/// The values in force.
pub struct InForce {
    /// The kill switch is on: only legacy answers, and nothing is compared.
    pub killed: bool,
    /// Which requests are compared in shadow.
    pub shadow: Sampler,
}

/// The switches of this gateway. `kill_switch`, `shadow` and `salt` are the configuration's.
pub struct Flags {
    kill_switch: bool,
    shadow: Sampler,
    salt: String,
    in_force: ArcSwap<InForce>,
    /// `None`: no Redis is configured.
    fleet: Option<Mutex<FleetFlags>>,
}

/// The state of the fleet's switches in Redis.
struct FleetFlags {
    /// Whether Redis answered the last poll.
    up: bool,
    /// The last values from Redis; `None`: it has never answered.
    last: Option<FlagSnapshot>,
}

impl Flags {
    /// Reads the switches from Redis, or the last values from `flags.file` if Redis is down. A task
    /// then polls Redis until the switches are dropped.
    ///
    /// # Errors
    /// The folder of `flags.file` cannot be created, or `flags.redis_url` is not a valid URL.
    pub async fn open(settings: &Settings) -> anyhow::Result<Arc<Flags>> {
        let shadow = Sampler::new(&settings.shadow.salt, settings.shadow.fraction)?;
        let mut flags = Flags {
            kill_switch: settings.flags.kill_switch,
            in_force: ArcSwap::from_pointee(InForce {
                killed: settings.flags.kill_switch,
                shadow: shadow.clone(),
            }),
            shadow,
            salt: settings.shadow.salt.clone(),
            fleet: None,
        };
        if settings.flags.redis_url.is_empty() {
            flags.apply(None);
            return Ok(Arc::new(flags));
        }
        let file = SnapshotFile::open(&settings.flags.file)?;
        let last = file.read().unwrap_or_else(|error| {
            counter!("ltr_flags_refused_total", "flag" => "kill_switch").increment(1);
            tracing::error!(
                "{error:#}; the kill switch may have been on in it, so LTR is STOPPED until Redis says off"
            );
            Some(FlagSnapshot {
                kill_switch: Some(true),
                shadow_fraction: None,
                read_at: wall(),
                unclear: Some(shortened(&format!("{error:#}"))),
            })
        });
        flags.apply(last.as_ref());
        flags.fleet = Some(Mutex::new(FleetFlags { up: true, last }));
        let flags = Arc::new(flags);
        let mut poller = Poller {
            redis: Redis::open(&settings.flags)?,
            file,
            raw: RawFlags::default(),
            is_saved: true,
        };
        // Before the first request, so that a new gateway does not serve LTR in a stopped fleet.
        poller.poll(&flags).await;
        tokio::spawn(poller.run(Arc::downgrade(&flags), settings.flags.poll()));
        Ok(flags)
    }

    /// The values in force.
    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    /// The switches with the source of each, for `GET /rollout`.
    pub fn shown(&self) -> Value {
        let fleet = self.with_fleet(|fleet| (fleet.up, fleet.last.clone()));
        let last = fleet.as_ref().and_then(|(_, last)| last.as_ref());
        let source = |by_redis: bool| if by_redis { "redis" } else { "configuration" };
        let in_force = self.in_force();
        let by_redis = !self.kill_switch && last.is_some_and(|last| last.kill_switch.is_some());
        let mut kill_switch = json!({ "value": in_force.killed, "source": source(by_redis) });
        if let Some(unclear) = last.and_then(|last| last.unclear.as_deref()) {
            kill_switch["not_understood"] = json!(unclear);
        }
        let by_redis = last.is_some_and(|last| last.shadow_fraction.is_some());
        let shadow_fraction = json!({ "value": in_force.shadow.fraction(), "source": source(by_redis) });
        let redis = fleet.as_ref().map(|(up, _)| {
            let read_at = last.map(|last| last.read_at);
            let age = read_at.map(|at| (wall() - at).as_seconds_f64().max(0.0));
            json!({ "up": up, "read_at": read_at, "age_seconds": age })
        });
        json!({ "kill_switch": kill_switch, "shadow_fraction": shadow_fraction, "redis": redis })
    }

    /// Puts the values from Redis in force, over the configuration. A kill switch in either of them
    /// stops LTR.
    fn apply(&self, snapshot: Option<&FlagSnapshot>) {
        let killed = self.kill_switch || snapshot.and_then(|snapshot| snapshot.kill_switch).unwrap_or(false);
        let fraction = snapshot.and_then(|snapshot| snapshot.shadow_fraction);
        // The range was checked when the value was read.
        let shadow = fraction.and_then(|fraction| Sampler::new(&self.salt, fraction).ok());
        let shadow = shadow.unwrap_or_else(|| self.shadow.clone());
        gauge!("ltr_kill_switch").set(u8::from(killed));
        gauge!("ltr_shadow_fraction").set(shadow.fraction());
        self.in_force.store(Arc::new(InForce { killed, shadow }));
    }

    /// Records whether Redis answers, and returns whether it did before.
    fn record_up(&self, up: bool) -> bool {
        gauge!("ltr_flags_up").set(u8::from(up));
        self.with_fleet(|fleet| std::mem::replace(&mut fleet.up, up))
            .unwrap_or(up)
    }

    /// The last values from Redis.
    fn last(&self) -> Option<FlagSnapshot> {
        self.with_fleet(|fleet| fleet.last.clone()).flatten()
    }

    fn with_fleet<T>(&self, work: impl FnOnce(&mut FleetFlags) -> T) -> Option<T> {
        Some(work(&mut self.fleet.as_ref()?.lock()))
    }
}

/// The task that polls Redis.
struct Poller {
    redis: Redis,
    file: SnapshotFile,
    /// The texts at the last poll, so that an invalid one is logged once.
    raw: RawFlags,
    /// Whether `file` holds the last values.
    is_saved: bool,
}

impl Poller {
    async fn run(mut self, flags: Weak<Flags>, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let Some(flags) = flags.upgrade() else { return };
            self.poll(&flags).await;
        }
    }

    async fn poll(&mut self, flags: &Flags) {
        let read = tokio::time::timeout(PATIENCE, self.redis.read()).await;
        let problem = match read {
            Ok(Ok(raw)) => return self.update(flags, raw, wall()).await,
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                self.redis.disconnect();
                format!("no answer within {} s", PATIENCE.as_secs())
            }
        };
        if flags.record_up(false) {
            let in_force = match flags.last() {
                Some(last) => format!("its values of {} stay in force", last.read_at.to_rfc3339()),
                None => "it has never answered, so the configuration applies".to_owned(),
            };
            tracing::error!(problem, "flags.redis_url: Redis is down; {in_force}");
        }
    }

    /// Applies the values read from Redis, with these rules for bad ones:
    ///
    /// - An invalid kill switch counts as on, because somebody set it for a reason.
    /// - A kill switch that is on stays on if its value disappears. Only an operator may start LTR
    ///   again, not a Redis that has lost its data.
    /// - An invalid shadow fraction leaves the last valid one in force, or else 0. So never are
    ///   more requests compared than an operator asked for.
    async fn update(&mut self, flags: &Flags, raw: RawFlags, read_at: DateTime<Utc>) {
        let last = flags.last();
        let is_new = self.raw != raw;
        let refuse = |refusal: &Refused, consequence: &str| {
            counter!("ltr_flags_refused_total", "flag" => refusal.flag.name()).increment(1);
            if is_new {
                tracing::error!("flags: {refusal}; {consequence}");
            }
        };
        let stopped = last.as_ref().and_then(|last| last.kill_switch) == Some(true);
        let (kill_switch, unclear) = match KillSwitch::read(raw.kill_switch.as_deref()) {
            Some(KillSwitch::Unclear(refusal)) => {
                refuse(&refusal, "LTR is STOPPED until it is set to off");
                (Some(true), Some(shortened(&refusal.value)))
            }
            Some(read) => (Some(read.stops()), None),
            None if stopped => {
                if is_new {
                    tracing::warn!("flags: kill_switch has lost its value; it stays on until it is set to off");
                }
                (Some(true), last.as_ref().and_then(|last| last.unclear.clone()))
            }
            None => (None, None),
        };
        let shadow_fraction = value::shadow_fraction(raw.shadow_fraction.as_deref()).unwrap_or_else(|refusal| {
            let fallback = last.as_ref().and_then(|last| last.shadow_fraction).unwrap_or(0.0);
            refuse(&refusal, &format!("{fallback} is in force"));
            Some(fallback)
        });
        self.raw = raw;
        let snapshot = FlagSnapshot {
            kill_switch,
            shadow_fraction,
            read_at,
            unclear,
        };
        let changed = last.is_none_or(|last| !last.has_same_values(&snapshot));
        if !flags.record_up(true) {
            tracing::info!("flags.redis_url: Redis is up again");
        }
        if changed {
            flags.apply(Some(&snapshot));
            tracing::info!(
                ?kill_switch,
                ?shadow_fraction,
                "flags: new values from Redis are in force"
            );
        }
        flags.with_fleet(|fleet| fleet.last = Some(snapshot.clone()));
        if changed || !self.is_saved {
            self.save(&snapshot).await;
        }
    }

    async fn save(&mut self, snapshot: &FlagSnapshot) {
        let written = self.file.write(snapshot).await;
        if let Err(error) = &written
            && self.is_saved
        {
            tracing::error!("flags.file: {error:#}; a restart while Redis is down would not know the last values");
        }
        self.is_saved = written.is_ok();
    }
}
