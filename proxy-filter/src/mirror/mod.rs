//! Copies of sampled requests for a shadow cluster.
//!
//! Requests never wait for copies. A copy is made while the request passes and is sent outside of
//! the request. Its answer is counted and dropped.

mod draft;
mod personal;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

pub(crate) use draft::Draft;
pub(crate) use personal::{Personal, Pointer};

use crate::proxy::{Call, Counter, Gauge, Proxy};

/// The contents and the destination of copies.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) cluster: String,
    pub(crate) authority: String,
    /// Headers to copy, besides those that describe the body.
    pub(crate) headers: Vec<String>,
    /// Per copy; a larger copy is dropped.
    pub(crate) max_body_bytes: usize,
    /// Per worker, from the first byte of a copy to its answer; further copies are dropped.
    pub(crate) max_in_flight: u32,
    pub(crate) timeout: Duration,
    pub(crate) personal: Personal,
}

/// The copies of one worker.
#[derive(Debug)]
pub(crate) struct Mirror {
    settings: Settings,
    in_flight: Cell<u32>,
    /// Complete copies, to be sent at the next tick. Envoy cancels a call with the context that
    /// made it, so a request cannot send its own copy.
    waiting: RefCell<VecDeque<Draft>>,
    /// Number of copies that wait for their answer.
    sent: Cell<u32>,
    /// The configuration was replaced: there will be no tick and no answer.
    left: Cell<bool>,
}

impl Mirror {
    pub(crate) fn new(settings: Settings) -> Mirror {
        Mirror {
            settings,
            in_flight: Cell::new(0),
            waiting: RefCell::default(),
            sent: Cell::new(0),
            left: Cell::new(false),
        }
    }

    /// Starts a copy of the current request, unless there are too many copies.
    pub(crate) fn begin(&self, proxy: &impl Proxy) -> Option<Draft> {
        let draft = if self.in_flight.get() < self.settings.max_in_flight {
            Draft::of(proxy, &self.settings)
        } else {
            Err(Counter::MirrorBusy)
        };
        match draft {
            Ok(draft) => {
                self.in_flight.set(self.in_flight.get().saturating_add(1));
                proxy.gauge(Gauge::InFlight, 1);
                Some(draft)
            }
            Err(reason) => {
                proxy.count(reason);
                None
            }
        }
    }

    /// Queues a complete copy.
    pub(crate) fn enqueue(&self, proxy: &impl Proxy, draft: Draft) {
        if self.left.get() {
            return self.end(proxy, Counter::MirrorLost);
        }
        // A second call would restart Envoy's timer.
        if self.waiting.borrow().is_empty() {
            proxy.tick_soon();
        }
        self.waiting.borrow_mut().push_back(draft);
    }

    /// Counts the outcome of a copy.
    pub(crate) fn end(&self, proxy: &impl Proxy, outcome: Counter) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        proxy.gauge(Gauge::InFlight, -1);
        proxy.count(outcome);
    }

    /// Sends all complete copies.
    pub(crate) fn tick(&self, proxy: &impl Proxy) {
        loop {
            // The borrow must end before the proxy is called.
            let Some(draft) = self.waiting.borrow_mut().pop_front() else {
                return;
            };
            self.send(proxy, draft);
        }
    }

    fn send(&self, proxy: &impl Proxy, draft: Draft) {
        let Some(copy) = draft.into_copy(&self.settings) else {
            return self.end(proxy, Counter::MirrorUnreadable);
        };
        let headers: Vec<(&str, &str)> = copy
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let call = Call {
            cluster: &self.settings.cluster,
            headers: &headers,
            body: &copy.body,
            timeout: self.settings.timeout,
        };
        if proxy.send(&call) {
            self.sent.set(self.sent.get().saturating_add(1));
            proxy.count(Counter::MirrorSent);
        } else {
            self.end(proxy, Counter::MirrorUnsent)
        }
    }

    /// A copy was answered, or its call failed (`None`).
    pub(crate) fn answered(&self, proxy: &impl Proxy, status: Option<u16>) {
        let Some(sent) = self.sent.get().checked_sub(1) else {
            return;
        };
        self.sent.set(sent);
        self.end(
            proxy,
            match status {
                Some(200..=299) => Counter::MirrorAnswered,
                Some(400..=499) => Counter::MirrorRefused,
                _ => Counter::MirrorFailed,
            },
        );
    }

    /// Counts complete and sent copies as lost: Envoy will not report their answers.
    pub(crate) fn leave(&self, proxy: &impl Proxy) {
        self.left.set(true);
        let waiting = self.waiting.take().into_iter().map(drop);
        let sent = (0..self.sent.take()).map(drop);
        waiting.chain(sent).for_each(|()| self.end(proxy, Counter::MirrorLost));
    }

    /// Per copy.
    pub(crate) fn max_body_bytes(&self) -> usize {
        self.settings.max_body_bytes
    }
}
