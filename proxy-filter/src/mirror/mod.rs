//! Copies of chosen requests for a shadow cluster. Nobody waits for them: they are made of what passes, sent from
//! outside of the request, and their answers are counted and dropped.

mod draft;
mod personal;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

pub(crate) use draft::Draft;
pub(crate) use personal::{Personal, Pointer};

use crate::proxy::{Call, Counter, Gauge, Proxy};

/// What copies are made of, and where they go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) cluster: String,
    pub(crate) authority: String,
    /// The headers that are copied, beside those that describe the body.
    pub(crate) headers: Vec<String>,
    /// Of one copy; a larger one is dropped.
    pub(crate) max_body_bytes: usize,
    /// Copies of one worker that are being made, wait, or wait for their answer; more are dropped.
    pub(crate) max_in_flight: u32,
    pub(crate) timeout: Duration,
    pub(crate) personal: Personal,
}

/// The copies of one worker.
#[derive(Debug)]
pub(crate) struct Mirror {
    settings: Settings,
    in_flight: Cell<u32>,
    /// Complete, and to be sent at the next tick: a call belongs to whoever makes it, and one that a request makes ends
    /// with the request.
    waiting: RefCell<VecDeque<Draft>>,
    /// Sent and not answered yet.
    sent: Cell<u32>,
    /// The configuration was replaced: nobody will call again.
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

    /// Begins a copy of the request whose headers are passing, if there is room for one more.
    pub(crate) fn begin(&self, proxy: &impl Proxy) -> Option<Draft> {
        let draft = match self.in_flight.get() < self.settings.max_in_flight {
            true => Draft::of(proxy, &self.settings),
            false => Err(Counter::MirrorBusy),
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

    /// A copy is complete.
    pub(crate) fn enqueue(&self, proxy: &impl Proxy, draft: Draft) {
        if self.left.get() {
            return self.end(proxy, Counter::MirrorLost);
        }
        // Asked again, Envoy would begin to wait anew.
        if self.waiting.borrow().is_empty() {
            proxy.tick_soon();
        }
        self.waiting.borrow_mut().push_back(draft);
    }

    /// A copy comes to its end.
    pub(crate) fn end(&self, proxy: &impl Proxy, outcome: Counter) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        proxy.gauge(Gauge::InFlight, -1);
        proxy.count(outcome);
    }

    /// Sends what waits.
    pub(crate) fn tick(&self, proxy: &impl Proxy) {
        loop {
            // Not borrowed while the proxy is called.
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
        match proxy.send(&call) {
            true => {
                self.sent.set(self.sent.get().saturating_add(1));
                proxy.count(Counter::MirrorSent);
            }
            false => self.end(proxy, Counter::MirrorUnsent),
        }
    }

    /// A copy was answered, or never will be.
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

    /// Settles what is complete or sent: its end will not be heard of.
    pub(crate) fn leave(&self, proxy: &impl Proxy) {
        self.left.set(true);
        let waiting = self.waiting.take().into_iter().map(drop);
        let sent = (0..self.sent.take()).map(drop);
        waiting.chain(sent).for_each(|()| self.end(proxy, Counter::MirrorLost));
    }

    /// Of one copy.
    pub(crate) fn max_body_bytes(&self) -> usize {
        self.settings.max_body_bytes
    }
}
