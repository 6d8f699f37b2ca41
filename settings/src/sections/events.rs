//! Events: the times that are accepted, and the windows in which an action counts.

use std::time::Duration;

use ranking::Windows;

use crate::section::Rule::Whole;
use crate::section::{HOURS, section, section_of};

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

section_of! {
    /// Attribution windows: how long after an impression an action still counts.
    ["labels"] LABELS: Windows {
        /// Profile opened.
        click_hours, HOURS;
        /// Chat or call started.
        contact_hours, HOURS;
        /// Contract signed.
        contract_hours, HOURS;
    }
}
