//! Events: the times that are accepted, the windows in which an action counts, and for which impression.

use std::time::Duration;

use ranking::{Attribution, Windows};

use crate::section::Rule::{OneOf, Whole};
use crate::section::{HOURS, section};

section! {
    /// Limits of /events for the time of an event.
    ["events"] Events {
        /// How far an event's time may lie after the gateway's; 422 beyond; 0: no limit, for replays.
        max_ahead_seconds: u32 = 600, Whole(0, 31_536_000);
        /// How far an event's time may lie before the gateway's; 422 beyond; 0: no limit, for replays.
        max_age_hours: u32 = 90 * 24, Whole(0, 1_000_000);
    }
}

impl Events {
    /// How far an event's time may lie after the gateway's; `None`: no limit.
    pub fn max_ahead(&self) -> Option<Duration> {
        (self.max_ahead_seconds > 0).then(|| Duration::from_secs(self.max_ahead_seconds.into()))
    }

    /// How far an event's time may lie before the gateway's; `None`: no limit.
    pub fn max_age(&self) -> Option<Duration> {
        (self.max_age_hours > 0).then(|| Duration::from_secs(u64::from(self.max_age_hours) * 3600))
    }
}

section! {
    /// From actions to labels: how long after an impression an action still counts, and for which impression.
    ["labels"] Labels {
        /// Profile opened.
        click_hours: u32 = Windows::default().click_hours, HOURS;
        /// Chat or call started.
        contact_hours: u32 = Windows::default().contact_hours, HOURS;
        /// Contract signed.
        contract_hours: u32 = Windows::default().contract_hours, HOURS;
        /// first_impression: an action counts for the case's first impression, and a case is closed after the
        /// longest window. last_touch: for the latest impression before it, up to the longest window after the
        /// first, that showed that lawyer at that place; a case is closed after twice the longest window.
        attribution: Attribution = Attribution::FirstImpression, OneOf(Attribution::NAMES);
    }
}

impl Labels {
    /// The attribution windows.
    pub fn windows(&self) -> Windows {
        Windows {
            click_hours: self.click_hours,
            contact_hours: self.contact_hours,
            contract_hours: self.contract_hours,
        }
    }

    /// How long after a case's first impression its labels can change.
    pub fn closed_after(&self) -> chrono::Duration {
        self.attribution.closed_after(&self.windows())
    }
}
