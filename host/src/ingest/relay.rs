//! Sends what was kept to the event bus, in the order in which it was kept.
//!
//! A record and its place in the queue are written in one transaction, and leave the queue once the brokers have the record.
//! So whatever is in the database gets to the bus, however often either of the two or this program ends half-way. A record
//! that was sent, and whose program ended before it left the queue, is sent again: consumers know it by its id.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bus::{Bus, Message};
use metrics::{counter, gauge};
use store::{Queued, Store};
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use crate::telemetry::scrub;

/// Records that are sent at once.
const BATCH: u32 = 500;
/// How long anybody waits for the bus; the record is in the database by then. Less than callers wait for the writer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause after a failure; it doubles with each further one, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often the queue is looked at when nobody says that there is something new.
const LOOK: Duration = Duration::from_secs(10);

/// What the writer knows of the bus. Clones share it.
#[derive(Clone)]
pub(super) struct Relay {
    /// Whose records these are: of this gateway, also after a restart.
    pub owner: Uuid,
    /// Place of the last record that the bus has.
    sent: watch::Receiver<u64>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Whether the bus or the database is away, or what was kept meanwhile is not sent yet: then nobody waits for the bus.
    is_stalled: AtomicBool,
    new: Notify,
}

struct Task {
    owner: Uuid,
    store: Store,
    bus: Arc<dyn Bus>,
    sent: watch::Sender<u64>,
    shared: Arc<Shared>,
}

impl Relay {
    /// Starts the task, which ends with the last clone of what is returned.
    pub(super) fn start(owner: Uuid, store: Store, bus: Arc<dyn Bus>) -> Relay {
        let (sender, sent) = watch::channel(0);
        let shared: Arc<Shared> = Arc::default();
        let task = Task {
            owner,
            store,
            bus,
            sent: sender,
            shared: shared.clone(),
        };
        gauge!("ltr_bus_up").set(1.0);
        tokio::spawn(task.run());
        Relay { owner, sent, shared }
    }

    /// Says that records were queued.
    pub(super) fn wake(&self) {
        self.shared.new.notify_one();
    }

    /// Waits until the bus has the record at this place, or it would take long.
    pub(super) async fn sent(&self, seq: u64) {
        let mut sent = self.sent.clone();
        let has_it = sent.wait_for(|last| *last >= seq || self.shared.is_stalled.load(Ordering::Relaxed));
        // However it ends, the record is in the queue.
        let _ = tokio::time::timeout(PATIENCE, has_it).await;
    }
}

impl Task {
    async fn run(self) {
        let mut pause = PAUSE;
        // By the clock, however much there is to do, and not for each batch: the one writes, and the other counts.
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wait = match self.send_some().await {
                Ok(0) => LOOK,
                Ok(_) => {
                    pause = PAUSE;
                    Duration::ZERO
                }
                Err(()) => {
                    let wait = pause;
                    pause = (2 * pause).min(LONGEST_PAUSE);
                    wait
                }
            };
            let is_stalled = self.shared.is_stalled.load(Ordering::Relaxed);
            tokio::select! {
                biased;
                () = self.sent.closed() => return,
                _ = look.tick() => {
                    self.adopt().await;
                    self.count().await;
                }
                () = self.shared.new.notified(), if !is_stalled => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Sends the first records of the queue. Returns how many.
    async fn send_some(&self) -> Result<usize, ()> {
        let queued = self.store.queue_first(self.owner, BATCH).await;
        let queued = queued.map_err(|error| self.stall(&error))?;
        let messages: Vec<Message> = queued.iter().map(message).collect();
        if messages.is_empty() {
            self.go_on();
            return Ok(0);
        }
        let refused = self.bus.send(&messages).await;
        let refused = refused.map_err(|error| {
            gauge!("ltr_bus_up").set(0.0);
            self.stall(&error);
        })?;
        gauge!("ltr_bus_up").set(1.0);
        for (at, reason) in &refused {
            counter!("ltr_bus_refused_total").increment(1);
            let (seq, reason) = (queued[*at].seq, scrub(reason));
            tracing::error!(id = %queued[*at].id, reason, "the event bus takes a record in no case; it stays in ltr_bus");
            let noted = self.store.queue_refused(seq, &reason).await;
            noted.map_err(|error| self.stall(&error))?;
        }
        let is_refused = |at: &usize| refused.iter().any(|(other, _)| other == at);
        let there = (0..queued.len()).filter(|at| !is_refused(at));
        let there: Vec<u64> = there.map(|at| queued[at].seq).collect();
        let noted = self.store.queue_sent(&there).await;
        noted.map_err(|error| self.stall(&error))?;
        counter!("ltr_bus_sent_total").increment(there.len() as u64);
        if queued.len() < BATCH as usize {
            self.go_on();
        }
        let last = queued.last().map_or(0, |last| last.seq);
        // Adopted records may have smaller places than what was sent before.
        self.sent.send_modify(|sent| *sent = last.max(*sent));
        Ok(queued.len())
    }

    /// Nothing is left of what was kept.
    fn go_on(&self) {
        if self.shared.is_stalled.swap(false, Ordering::Relaxed) {
            tracing::info!("records get to the event bus again");
        }
    }

    async fn count(&self) {
        if let Ok(facts) = self.store.queue_facts().await {
            gauge!("ltr_bus_waiting").set(facts.waiting as f64);
        }
    }

    fn stall(&self, error: &dyn std::error::Error) {
        if !self.shared.is_stalled.swap(true, Ordering::Relaxed) {
            tracing::error!(
                error = scrub(&error.to_string()),
                "records do not get to the event bus; the database keeps them, and they are sent later"
            );
        }
        // Those who wait look again.
        self.sent.send_modify(|_| {});
    }

    /// Takes over what a gateway that is gone has left.
    async fn adopt(&self) {
        match self.store.queue_adopt(self.owner).await {
            Ok(0) => {}
            Ok(records) => tracing::warn!(
                records,
                "records that another gateway has left are sent to the event bus"
            ),
            // Said where the queue is read.
            Err(_) => {}
        }
    }
}

fn message(queued: &Queued) -> Message {
    Message {
        id: queued.id,
        case_id: queued.case_id,
        json: queued.json.clone(),
    }
}
