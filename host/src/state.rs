//! The shared state of the gateway, which every request can use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ranking::release::Shares;
use ranking::swaps::Design;
use ranking::{Event, Presets, Schema};
use settings::Settings;
use store::Store;
use uuid::Uuid;

use crate::flags::Flags;
use crate::http::auth::Access;
use crate::http::body::Bodies;
use crate::http::clock::Clock;
use crate::http::rate_limit::Rate;
use crate::ingest::Writer;
use crate::models::Models;
use crate::release::Controller;
use crate::telemetry::Traces;

/// The parts of a gateway. [`crate::server::bootstrap::open`] creates it.
pub struct Gateway {
    /// The validated settings.
    pub settings: Settings,
    /// The feature names, in the order of every row.
    pub schema: Schema,
    /// The named weights that requests choose from.
    pub presets: Presets,
    /// The source of the current time.
    pub clock: Clock,
    /// The database.
    pub store: Store,
    /// Writes records to the database in the background, through the spool on disk.
    pub writer: Writer,
    /// Changes the loaded models and the rollout.
    pub release: Arc<Controller>,
    /// Who gets which ranking.
    pub shares: Shares,
    /// For whom a coin decides on two neighbours of the ranking.
    pub swaps: Design,
    /// The configured tokens and edges.
    pub access: Access,
    /// The rate limit per client.
    pub rate: Rate,
    /// Reads request bodies within their limits.
    pub bodies: Bodies,
    /// The kill switch and the shadow fraction in force.
    pub flags: Arc<Flags>,
    /// `None` while no traces are exported.
    pub traces: Option<Traces>,
    /// The salt of the pseudonyms, and where they are used.
    pub pseudonyms: Pseudonyms,
    /// What `/readyz` reports.
    pub readiness: Readiness,
}

impl Gateway {
    /// The loaded models.
    pub fn models(&self) -> &Models {
        &self.release.models
    }
}

/// How user ids become pseudonyms.
pub struct Pseudonyms {
    /// The key of the pseudonyms (HMAC-SHA-256).
    pub salt: Vec<u8>,
    /// The salt's id, stored beside each pseudonym.
    pub salt_id: Uuid,
    /// Whether events hold pseudonyms (`privacy.pseudonymise_events`). Comparisons always do.
    pub in_events: bool,
}

impl Pseudonyms {
    /// Replaces the user's id by the pseudonym, if events hold pseudonyms.
    pub fn apply(&self, event: &mut Event) {
        if self.in_events {
            event.user_id = ranking::pseudonym(&self.salt, event.user_id);
            event.salt_id = Some(self.salt_id);
        }
    }
}

/// Whether a load balancer should send requests here.
#[derive(Default)]
pub struct Readiness {
    ready: AtomicBool,
    draining: AtomicBool,
}

impl Readiness {
    /// Makes `/readyz` report ready.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Makes `/readyz` report draining. Requests that still arrive are answered.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether [`Readiness::set_ready`] was called.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Whether [`Readiness::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}
