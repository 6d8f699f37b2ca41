//! The operator's switches: whether LTR may answer at all, and which share of the requests is compared in shadow. The
//! configuration has them, or a Redis that the whole fleet asks. A task of its own asks it; requests read what it found.

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

use api::shortened;
use redis::{PATIENCE, RawFlags, Redis};
use snapshot::{FlagSnapshot, SnapshotFile};
use value::{KillSwitch, Refused};

/// What counts for a request.
pub struct InForce {
    /// The kill switch: legacy alone answers, and nothing is compared.
    pub killed: bool,
    /// Which requests are compared in shadow.
    pub shadow: Sampler,
}

/// The switches of this gateway.
pub struct Flags {
    kill_switch: bool,
    shadow: Sampler,
    salt: String,
    in_force: ArcSwap<InForce>,
    /// `None`: there is no Redis to ask.
    fleet: Option<Mutex<Fleet>>,
}

/// What is known of the fleet's switches.
struct Fleet {
    up: bool,
    /// `None`: Redis has never said anything.
    heard: Option<FlagSnapshot>,
}

impl Flags {
    /// The switches as they are: what Redis says, or what it said last where it is away. From here on they follow it,
    /// for as long as they are in use.
    ///
    /// # Errors
    /// The folder of `flags.file` that cannot be made, or `flags.redis_url` that is no URL.
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
        let kept = SnapshotFile::open(&settings.flags.file)?;
        let heard = kept.read().unwrap_or_else(|error| {
            counter!("ltr_flags_refused_total", "flag" => "kill_switch").increment(1);
            tracing::error!(
                "{error:#}; it may have said that LTR must not serve, so LTR is STOPPED until Redis says off"
            );
            Some(FlagSnapshot {
                kill_switch: Some(true),
                shadow_fraction: None,
                read_at: Utc::now(),
                unclear: Some(shortened(&format!("{error:#}"))),
            })
        });
        flags.apply(heard.as_ref());
        flags.fleet = Some(Mutex::new(Fleet { up: true, heard }));
        let flags = Arc::new(flags);
        let mut follower = Follower {
            redis: Redis::open(&settings.flags)?,
            kept,
            said: RawFlags::default(),
            is_kept: true,
        };
        // Before any request: a fleet that was stopped is not started by a new gateway.
        follower.look(&flags).await;
        tokio::spawn(follower.follow(Arc::downgrade(&flags), settings.flags.poll()));
        Ok(flags)
    }

    /// What counts for a request.
    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    /// The switches with where each comes from, for `GET /rollout`.
    pub fn shown(&self) -> Value {
        let fleet = self.with_fleet(|fleet| (fleet.up, fleet.heard.clone()));
        let heard = fleet.as_ref().and_then(|(_, heard)| heard.as_ref());
        let source = |by_redis: bool| if by_redis { "redis" } else { "configuration" };
        let in_force = self.in_force();
        let by_redis = !self.kill_switch && heard.is_some_and(|heard| heard.kill_switch.is_some());
        let mut kill_switch = json!({ "value": in_force.killed, "source": source(by_redis) });
        if let Some(unclear) = heard.and_then(|heard| heard.unclear.as_deref()) {
            kill_switch["not_understood"] = json!(unclear);
        }
        let by_redis = heard.is_some_and(|heard| heard.shadow_fraction.is_some());
        let shadow_fraction = json!({ "value": in_force.shadow.fraction(), "source": source(by_redis) });
        let redis = fleet.as_ref().map(|(up, _)| {
            let read_at = heard.map(|heard| heard.read_at);
            let age = read_at.map(|at| (Utc::now() - at).as_seconds_f64().max(0.0));
            json!({ "up": up, "read_at": read_at, "age_seconds": age })
        });
        json!({ "kill_switch": kill_switch, "shadow_fraction": shadow_fraction, "redis": redis })
    }

    /// Puts in force what Redis said, over the configuration. Either of the two can stop LTR.
    fn apply(&self, heard: Option<&FlagSnapshot>) {
        let killed = self.kill_switch || heard.and_then(|heard| heard.kill_switch).unwrap_or(false);
        let fraction = heard.and_then(|heard| heard.shadow_fraction);
        // Its range was checked where it was read.
        let shadow = fraction.and_then(|fraction| Sampler::new(&self.salt, fraction).ok());
        let shadow = shadow.unwrap_or_else(|| self.shadow.clone());
        gauge!("ltr_kill_switch").set(u8::from(killed));
        gauge!("ltr_shadow_fraction").set(shadow.fraction());
        self.in_force.store(Arc::new(InForce { killed, shadow }));
    }

    /// Notes whether Redis answers; whether it did before.
    fn note(&self, up: bool) -> bool {
        gauge!("ltr_flags_up").set(u8::from(up));
        self.with_fleet(|fleet| std::mem::replace(&mut fleet.up, up))
            .unwrap_or(up)
    }

    fn last_heard(&self) -> Option<FlagSnapshot> {
        self.with_fleet(|fleet| fleet.heard.clone()).flatten()
    }

    fn with_fleet<T>(&self, work: impl FnOnce(&mut Fleet) -> T) -> Option<T> {
        Some(work(&mut self.fleet.as_ref()?.lock()))
    }
}

/// The task that asks Redis.
struct Follower {
    redis: Redis,
    kept: SnapshotFile,
    /// At the last look, so that what is wrong with it is logged once.
    said: RawFlags,
    /// Whether `kept` has what was heard last.
    is_kept: bool,
}

impl Follower {
    async fn follow(mut self, flags: Weak<Flags>, pause: Duration) {
        loop {
            tokio::time::sleep(pause).await;
            let Some(flags) = flags.upgrade() else { return };
            self.look(&flags).await;
        }
    }

    async fn look(&mut self, flags: &Flags) {
        let said = tokio::time::timeout(PATIENCE, self.redis.read()).await;
        let problem = match said {
            Ok(Ok(said)) => return self.heard(flags, said, Utc::now()).await,
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                self.redis.hang_up();
                format!("no answer within {} s", PATIENCE.as_secs())
            }
        };
        if flags.note(false) {
            let since = match flags.last_heard() {
                Some(heard) => format!("what it said at {} goes on to count", heard.read_at.to_rfc3339()),
                None => "it has never said anything, so the configuration counts".to_owned(),
            };
            tracing::error!(problem, "flags.redis_url: Redis is away; {since}");
        }
    }

    /// Takes over what Redis says. A kill switch whose value is not understood is on: somebody wanted something. One that
    /// is on stays so when its value is gone: only the word of an operator lets LTR serve again, not a Redis that has lost
    /// its data. Of a shadow fraction that is not understood, the last good one stays, or else 0: never is more compared
    /// than was asked for.
    async fn heard(&mut self, flags: &Flags, said: RawFlags, read_at: DateTime<Utc>) {
        let last = flags.last_heard();
        let news = self.said != said;
        let refuse = |refusal: &Refused, then: &str| {
            counter!("ltr_flags_refused_total", "flag" => refusal.flag.name()).increment(1);
            if news {
                tracing::error!("flags: {refusal}; {then}");
            }
        };
        let stopped = last.as_ref().and_then(|last| last.kill_switch) == Some(true);
        let (kill_switch, unclear) = match KillSwitch::read(said.kill_switch.as_deref()) {
            Some(KillSwitch::Unclear(refusal)) => {
                refuse(&refusal, "LTR is STOPPED until it is set to off");
                (Some(true), Some(shortened(&refusal.value)))
            }
            Some(read) => (Some(read.stops()), None),
            None if stopped => {
                if news {
                    tracing::warn!("flags: kill_switch has no value any more; it stays on until it is set to off");
                }
                (Some(true), last.as_ref().and_then(|last| last.unclear.clone()))
            }
            None => (None, None),
        };
        let shadow_fraction = value::shadow_fraction(said.shadow_fraction.as_deref()).unwrap_or_else(|refusal| {
            let stays = last.as_ref().and_then(|last| last.shadow_fraction).unwrap_or(0.0);
            refuse(&refusal, &format!("{stays} counts"));
            Some(stays)
        });
        self.said = said;
        let heard = FlagSnapshot {
            kill_switch,
            shadow_fraction,
            read_at,
            unclear,
        };
        let changed = last.is_none_or(|last| !last.says_the_same(&heard));
        if !flags.note(true) {
            tracing::info!("flags.redis_url: Redis is back");
        }
        if changed {
            flags.apply(Some(&heard));
            tracing::info!(?kill_switch, ?shadow_fraction, "flags: this is what Redis says now");
        }
        flags.with_fleet(|fleet| fleet.heard = Some(heard.clone()));
        if changed || !self.is_kept {
            self.keep(&heard).await;
        }
    }

    async fn keep(&mut self, heard: &FlagSnapshot) {
        let written = self.kept.write(heard).await;
        if let Err(error) = &written
            && self.is_kept
        {
            tracing::error!("flags.file: {error:#}; a start while Redis is away would not know of this");
        }
        self.is_kept = written.is_ok();
    }
}
