//! The queue of events to post, in the order in which the clients' phones send them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use chrono::{DateTime, SecondsFormat, Utc};
use ranking::ActionKind;
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::Act;
use super::market::{Case, Market};

/// One event and the time at which it is sent.
pub(super) struct Delivery {
    pub at: DateTime<Utc>,
    pub event: Value,
}

/// A queue ordered by delivery time, then by event id.
#[derive(Default)]
pub(super) struct Deliveries {
    queue: BinaryHeap<Reverse<(DateTime<Utc>, Uuid, bool)>>,
    events: std::collections::HashMap<Uuid, Value>,
}

impl Deliveries {
    /// Queues the event of a client's act, and its repetition if there is one.
    pub(super) fn plan(&mut self, market: &Market, case: &Case, act: &Act) {
        let event = json!({
            "event": name(act.kind),
            "event_id": act.event_id,
            "ts_utc": act.ts.to_rfc3339_opts(SecondsFormat::Millis, true),
            "case_id": case.case_id,
            "user_id": case.user_id,
            "lawyer_id": market.lawyers[act.lawyer].id,
            "rank_pos": act.rank_pos,
        });
        self.events.insert(act.event_id, event);
        let last = act.repeated_at.is_none();
        self.queue.push(Reverse((act.delivered_at, act.event_id, last)));
        if let Some(again) = act.repeated_at {
            self.queue.push(Reverse((again, act.event_id, true)));
        }
    }

    /// Removes the next events sent before `end` (`None`: all), at most `limit`, in order.
    pub(super) fn take(&mut self, end: Option<DateTime<Utc>>, limit: usize) -> Vec<Delivery> {
        let mut batch = Vec::new();
        while batch.len() < limit
            && let Some(Reverse((at, id, last))) = self.queue.peek().copied()
            && end.is_none_or(|end| at < end)
        {
            self.queue.pop();
            let event = if last {
                self.events.remove(&id)
            } else {
                self.events.get(&id).cloned()
            };
            batch.extend(event.map(|event| Delivery { at, event }));
        }
        batch
    }
}

/// The event's name on the wire.
pub(super) fn name(kind: ActionKind) -> &'static str {
    match kind {
        ActionKind::ClickProfile => "click_profile",
        ActionKind::ContactMade => "contact_made",
        ActionKind::ContractSigned => "contract_signed",
    }
}
