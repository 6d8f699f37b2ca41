//! What `GET /rollout` shows, and how the background refreshes it.

use std::time::{Duration, Instant};

use ranking::decide;
use ranking::release::ledger::Entry;
use ranking::verdict::plan;
use serde_json::{Value, json};
use store::{LedgerRow, Reported, StoreError};

use super::controller::Controller;
use super::courier::measure_owed;
use super::evaluation::{LEASE, level};
use super::outcomes::Outcomes;
use super::reports::{Gathered, Said};

/// Entries of the ledger that are shown.
const HISTORY: u32 = 50;
/// Gateways that were seen within this time are shown.
const SHOWN: Duration = Duration::from_secs(60);

impl Controller {
    /// Reads again what the snapshot shows.
    ///
    /// # Errors
    /// A database that cannot be used; what was read before is shown on.
    pub async fn refresh_snapshot(&self) -> Result<(), StoreError> {
        let gateways = self.store.gateways(SHOWN).await?;
        let holder = self.store.lease_holder(LEASE).await?;
        let outbox = measure_owed(&self.store).await?;
        let version = self.state().map_or(0, |state| state.version);
        let is_new = self.snapshot.0.lock().version != version;
        let history = if is_new {
            Some(self.store.ledger_tail(HISTORY).await?)
        } else {
            None
        };
        self.refresh_evidence().await?;
        self.refresh_examination().await?;
        if let Some(state) = self.state() {
            self.outcomes(&state).await?;
            self.refresh_shown_evidence(&state).await?;
        }
        let named = self.named_versions();
        let mut parts = self.snapshot.0.lock();
        parts.gathered.retain(|version, _| named.contains(version));
        let of_holder = gateways.iter().find(|gateway| Some(gateway.id) == holder);
        parts.holder = of_holder.map(|gateway| gateway.name.clone());
        parts.gateways = gateways.iter().map(shown_gateway).collect();
        parts.outbox = outbox;
        if let Some(history) = history {
            parts.version = version;
            parts.history = history.iter().map(shown_entry).collect();
        }
        Ok(())
    }

    pub(super) fn named_versions(&self) -> Vec<String> {
        let Some(state) = self.state() else {
            return Vec::new();
        };
        let champion = state.champion.map(|champion| champion.model.version);
        let challenger = state.challenger.map(|model| model.version);
        champion.into_iter().chain(challenger).collect()
    }

    /// Reads the evidence that another gateway has gathered since.
    async fn refresh_evidence(&self) -> Result<(), StoreError> {
        let counter = self.store.pulse().await?.evidence;
        if self.known.lock().evidence == counter {
            return Ok(());
        }
        for version in self.named_versions() {
            if let Some(text) = self.store.evidence(&version).await?
                && let Ok(gathered) = serde_json::from_str::<Gathered>(&text)
            {
                self.snapshot.set_gathered(gathered);
            }
        }
        self.known.lock().evidence = counter;
        Ok(())
    }

    /// The members of `GET /rollout`, without the flags. `compared`: the share of the cases that is compared in
    /// shadow.
    pub fn shown_rollout(&self, compared: f64) -> Value {
        let said = self.said();
        let (now, criteria) = (self.now(), &self.config.criteria);
        let known = self.known.lock();
        let parts = self.snapshot.0.lock();
        let state = known.state.as_ref();
        let level = level(criteria, state, now);
        let champion = state.and_then(|state| state.champion.as_ref());
        let champion = champion.map(|champion| &champion.model.version);
        let challenger = state
            .and_then(|state| state.challenger.as_ref())
            .map(|model| &model.version);
        let judged = challenger.or(champion).and_then(|version| parts.gathered.get(version));
        let seen = known.seen.map(|seen| seen.elapsed().as_secs_f64());
        let [trial, relevance] = Outcomes::shown(parts.outcomes.as_ref());
        let is_fresh = seen.is_some_and(|seen| seen < 5.0) && known.problem.is_none();
        json!({
            // What this gateway does: a rollback may act here before it is on record.
            "weight": known.weight(),
            "champion": champion,
            "challenger": challenger,
            "state": state,
            "head": known.head,
            "following": {
                "version": state.map(|state| state.version),
                "serves": if said.serves { "ltr" } else { "legacy" },
                "up_to_date": is_fresh,
                "checked_seconds_ago": seen,
                "problem": known.unreadable.as_ref().or(known.problem.as_ref()).or(known.rewritten.as_ref()),
                "rollback_pending": known.pending.front(),
                "condition": said.condition,
            },
            "fleet": { "holder": parts.holder, "gateways": parts.gateways, "health": parts.health },
            "judged": judged.map(|gathered| &gathered.version),
            "as_of": judged.map(|gathered| gathered.as_of),
            "evidence": judged.map(|gathered| &gathered.evidence),
            "verdict": judged.map(|gathered| decide(&gathered.evidence, criteria, level)),
            "plan": judged.and_then(|gathered| plan(&gathered.evidence, criteria, level, compared)),
            "replacement": parts.guards,
            "trial": trial,
            "relevance": relevance,
            "propensities": parts.examined.as_ref().map(|examined| &examined.shown),
            "outbox": {
                "owed": parts.outbox.owed,
                "oldest_seconds": parts.outbox.oldest.map(|age| age.as_secs_f64()),
                "last_error": parts.outbox.last_error,
            },
            "history": parts.history,
        })
    }

    /// Notes that the record cannot be followed now.
    pub(super) fn note_problem(&self, problem: &str) {
        self.known.lock().problem = Some(problem.to_owned());
    }

    /// Whether the record was seen lately.
    pub(super) fn was_seen_within(&self, time: Duration) -> bool {
        let seen = self.known.lock().seen;
        seen.is_some_and(|seen: Instant| seen.elapsed() <= time)
    }
}

fn shown_gateway(gateway: &Reported) -> Value {
    let said: Option<Said> = serde_json::from_str(&gateway.report).ok();
    let said = said.as_ref();
    json!({
        "name": gateway.name,
        "id": gateway.id,
        "seen_seconds_ago": gateway.age.as_secs_f64(),
        "follows": said.map(|said| said.follows),
        "serves": said.map(|said| if said.serves { "ltr" } else { "legacy" }),
        "rollback_pending": said.is_some_and(|said| said.rollback_pending),
        "problem": said.is_some_and(|said| said.problem),
        "condition": said.map(|said| said.condition),
        "champion": said.map(|said| &said.champion),
        "challenger": said.map(|said| &said.challenger),
    })
}

/// An entry without the state that it led to, which would make fifty of them long.
fn shown_entry(row: &LedgerRow) -> Value {
    match serde_json::from_str::<Entry>(&row.entry) {
        Ok(entry) => json!({
            "seq": entry.seq,
            "ts_utc": entry.ts_utc,
            "action": entry.action,
            "actor": entry.actor,
            "reason": entry.reason,
            "detail": entry.evidence,
            "weight": entry.state.exposure.percent(),
            "hash": row.hash,
        }),
        Err(error) => json!({ "seq": row.seq, "hash": row.hash, "problem": error.to_string() }),
    }
}
