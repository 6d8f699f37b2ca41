//! What makes a market harder to judge than independent days of one truth. All of it is off by default, and each part has
//! random streams of its own: switched on, it changes what it is about and no other draw.

use std::f64::consts::TAU;

use chrono::{DateTime, Datelike, Days, Duration, NaiveDate, Utc};
use rand::RngExt;
use serde::Serialize;
use uuid::Uuid;

use super::chance::{exponential, normal, sigmoid, stream, uuid};
use super::client::{Act, Drift, SIGNS};

/// Cases a day, and the seed of everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub seed: u64,
    pub cases_per_day: u32,
}

const REPEAT_DAYS: f64 = 14.0;
const LATE_HOURS: f64 = 72.0;
/// The longest delay of a late event, days: older ones are refused by default (`events.max_age_hours`).
const LATEST: i64 = 60;
/// A weight comes back to where it was after so many days, each weight after another number of them.
const PERIODS: std::ops::Range<f64> = 120.0..240.0;

/// How days, clients and labels differ from the simplest market.
#[derive(clap::Args, Clone, Debug, Serialize)]
pub struct Conditions {
    /// Standard deviation of a day's shock to the probability that a client signs, in logits: 0.5 makes 0.8 a 0.71 on
    /// one day in six or worse
    #[arg(long, value_name = "SD", default_value_t = 0.0, value_parser = number::<0, 5>)]
    pub day_shocks: f64,
    /// Share of the cases whose client had one on an earlier day; without it, clients are drawn from 5,000
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub repeat_users: Option<f64>,
    /// Days between two such cases, in the mean
    #[arg(long, value_name = "DAYS", default_value_t = REPEAT_DAYS, value_parser = number::<1, 365>)]
    pub repeat_days: f64,
    /// Share of the events that arrive late; without it, 4 % come up to 36 hours late
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub late_labels: Option<f64>,
    /// Mean delay of the late events, in hours; the delay is exponential, and 60 days at most
    #[arg(long, value_name = "HOURS", default_value_t = LATE_HOURS, value_parser = number::<1, 240>)]
    pub late_hours: f64,
    /// How far what clients want moves over the months: each weight of the truth goes up and down by this share of it
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = number::<0, 1>)]
    pub drift: f64,
}

impl Default for Conditions {
    fn default() -> Conditions {
        Conditions {
            day_shocks: 0.0,
            repeat_users: None,
            repeat_days: REPEAT_DAYS,
            late_labels: None,
            late_hours: LATE_HOURS,
            drift: 0.0,
        }
    }
}

impl Conditions {
    /// The probability that a client who made contact signs on this day.
    pub(super) fn signs(&self, seed: u64, day: NaiveDate) -> f64 {
        if self.day_shocks == 0.0 {
            return SIGNS;
        }
        let shock = self.day_shocks * normal(&mut stream(seed, "mood", &day.to_string(), 0));
        sigmoid((SIGNS / (1.0 - SIGNS)).ln() + shock)
    }

    /// Whose case it is; `None`: clients are drawn from a fixed number of them.
    ///
    /// A client comes again by the case of an earlier day, whichever run simulated that day. So clients return across runs
    /// of the same seed and size.
    pub(super) fn user(&self, scale: Scale, day: NaiveDate, index: u64) -> Option<Uuid> {
        let share = self.repeat_users?;
        let (mut day, mut index) = (day, index);
        while let Some(earlier) = self.earlier(share, scale, day, index) {
            (day, index) = earlier;
        }
        Some(uuid(&mut stream(scale.seed, "new client", &day.to_string(), index)))
    }

    /// The case of an earlier day whose client comes again with this one; `None`: a new client.
    fn earlier(&self, share: f64, scale: Scale, day: NaiveDate, index: u64) -> Option<(NaiveDate, u64)> {
        let rng = &mut stream(scale.seed, "comes again", &day.to_string(), index);
        if !rng.random_bool(share) {
            return None;
        }
        // Rounded up from a mean that is half a day less: at least a day, and the mean that was asked for.
        let days = exponential(rng, (self.repeat_days - 0.5).max(0.5)).ceil().max(1.0);
        let earlier = day.checked_sub_days(Days::new(days as u64))?;
        Some((earlier, rng.random_range(0..u64::from(scale.cases_per_day))))
    }

    /// Says when the events of these actions reach the gateway, where it is not as usual. A repetition keeps its distance.
    pub(super) fn delay(&self, seed: u64, acts: &mut [Act]) {
        let Some(share) = self.late_labels else { return };
        for act in acts {
            let rng = &mut stream(seed, "delay", &act.event_id.to_string(), 0);
            let after = act.repeated_at.map(|again| again - act.delivered_at);
            act.delivered_at = act.ts + self.late_by(rng.random_bool(share), rng);
            act.repeated_at = after.map(|after| act.delivered_at + after);
        }
    }

    fn late_by(&self, is_late: bool, rng: &mut rand_chacha::ChaCha8Rng) -> Duration {
        let hours = if is_late {
            exponential(rng, self.late_hours)
        } else {
            0.0
        };
        Duration::milliseconds((hours * 3_600_000.0) as i64).min(Duration::days(LATEST))
    }

    /// By which factors the truth's weights are multiplied at this time.
    pub(super) fn drift(&self, seed: u64, at: DateTime<Utc>) -> Drift {
        let day = f64::from(at.num_days_from_ce());
        Drift(std::array::from_fn(|weight| {
            let rng = &mut stream(seed, "drift", "", weight as u64);
            let (period, phase) = (rng.random_range(PERIODS), TAU * rng.random::<f64>());
            1.0 + self.drift * (TAU * day / period + phase).sin()
        }))
    }
}

/// A share below 1: of clients who all had earlier cases nobody would be the first.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "allowed: 0 to below 1".to_owned())
}

/// A number within bounds.
fn number<const LEAST: u16, const MOST: u16>(text: &str) -> Result<f64, String> {
    let allowed = f64::from(LEAST)..=f64::from(MOST);
    let number = text.parse::<f64>().ok().filter(|number| allowed.contains(number));
    number.ok_or_else(|| format!("allowed: {LEAST} to {MOST}"))
}

#[cfg(test)]
mod tests;
