//! From actions to labels: what an impression led to, within the attribution windows.

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

use crate::events::ActionKind;

/// Attribution windows, in hours from the impression. An action counts from the impression's own instant up
/// to, and not including, the end of its window; a window is closed at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Windows {
    /// Window of [`ActionKind::ClickProfile`]; 24 by default.
    pub click_hours: u32,
    /// Window of [`ActionKind::ContactMade`]; 72 by default.
    pub contact_hours: u32,
    /// Window of [`ActionKind::ContractSigned`]; 168, a week, by default.
    pub contract_hours: u32,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows {
            click_hours: 24,
            contact_hours: 72,
            contract_hours: 168,
        }
    }
}

impl Windows {
    /// The window of one kind of action.
    pub fn of(&self, kind: ActionKind) -> Duration {
        let hours = match kind {
            ActionKind::ClickProfile => self.click_hours,
            ActionKind::ContactMade => self.contact_hours,
            ActionKind::ContractSigned => self.contract_hours,
        };
        Duration::hours(i64::from(hours))
    }

    /// After this long no action can count for an impression.
    pub fn longest(&self) -> Duration {
        let hours = self.click_hours.max(self.contact_hours).max(self.contract_hours);
        Duration::hours(i64::from(hours))
    }
}

/// Which impression of a case an action counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribution {
    /// The case's first one.
    #[default]
    FirstImpression,
    /// The latest one, up to the action, that showed the user the lawyer at that place.
    LastTouch,
}

impl Attribution {
    /// The names, as they are configured.
    pub const NAMES: &[&str] = &["first_impression", "last_touch"];

    /// How long after a case's first impression its labels can change. Impressions within the longest window of the
    /// first are the case's; with the last touch, each of them has the windows of its own.
    pub fn closed_after(self, windows: &Windows) -> Duration {
        match self {
            Attribution::FirstImpression => windows.longest(),
            Attribution::LastTouch => windows.longest() * 2,
        }
    }
}

/// How far a client went with one shown lawyer. The integer is what LambdaMART trains on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Grade {
    /// No action inside its window; label 0.
    Shown = 0,
    /// The profile was opened; label 0.3.
    Clicked = 1,
    /// A chat or call was started; label 0.6.
    Contacted = 2,
    /// A contract was signed; label 1.
    Contracted = 3,
}

impl Grade {
    /// All grades, weakest first: `ALL[g.value()] == g`.
    pub const ALL: [Grade; 4] = [Grade::Shown, Grade::Clicked, Grade::Contacted, Grade::Contracted];

    /// LightGBM's `label_gain` for the grades 0 to 3: ten times the labels, so that gains are proportional to them.
    pub const GAINS: [f64; 4] = [0.0, 3.0, 6.0, 10.0];

    /// The grade as an integer, 0 to 3.
    pub fn value(self) -> u8 {
        self as u8
    }

    /// The grade of an integer 0 to 3.
    pub fn from_value(value: u8) -> Option<Grade> {
        Grade::ALL.get(usize::from(value)).copied()
    }

    /// The label: 0, 0.3, 0.6 or 1.
    pub fn label(self) -> f64 {
        [0.0, 0.3, 0.6, 1.0][usize::from(self.value())]
    }

    /// The grade of a label, compared at `f32` precision because tables store `REAL`; `None`: not one of the four.
    pub fn from_label(label: f64) -> Option<Grade> {
        Grade::ALL.into_iter().find(|g| g.label() as f32 == label as f32)
    }

    /// What a row of this grade is worth in nDCG; see [`Grade::GAINS`].
    pub fn gain(self) -> f64 {
        Grade::GAINS[usize::from(self.value())]
    }
}

impl From<ActionKind> for Grade {
    fn from(kind: ActionKind) -> Grade {
        match kind {
            ActionKind::ClickProfile => Grade::Clicked,
            ActionKind::ContactMade => Grade::Contacted,
            ActionKind::ContractSigned => Grade::Contracted,
        }
    }
}

/// The strongest action inside its own window after the impression; [`Grade::Shown`] if there is none.
/// Event time decides, not the order of arrival.
pub fn grade(
    impression_ts: DateTime<Utc>,
    actions: impl Iterator<Item = (ActionKind, DateTime<Utc>)>,
    windows: &Windows,
) -> Grade {
    actions
        .filter(|(kind, ts)| {
            let after = *ts - impression_ts;
            after >= Duration::zero() && after < windows.of(*kind)
        })
        .map(|(kind, _)| Grade::from(kind))
        .max()
        .unwrap_or(Grade::Shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ActionKind::{ClickProfile, ContactMade, ContractSigned};

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_225_600 + seconds, 0).unwrap()
    }

    fn graded(actions: &[(ActionKind, i64)]) -> Grade {
        let actions = actions.iter().map(|(kind, s)| (*kind, at(*s)));
        grade(at(0), actions, &Windows::default())
    }

    #[test]
    fn an_action_counts_from_the_impression_until_its_own_window_ends() {
        for (kind, hours, full) in [
            (ClickProfile, 24, Grade::Clicked),
            (ContactMade, 72, Grade::Contacted),
            (ContractSigned, 168, Grade::Contracted),
        ] {
            assert_eq!(graded(&[(kind, -1)]), Grade::Shown);
            assert_eq!(graded(&[(kind, 0)]), full);
            assert_eq!(graded(&[(kind, hours * 3600 - 1)]), full);
            assert_eq!(graded(&[(kind, hours * 3600)]), Grade::Shown);
        }
    }

    #[test]
    fn the_strongest_action_wins_in_any_order_and_however_often_it_came() {
        let hour = 3600;
        let late_contract = (ContractSigned, 168 * hour);
        let actions = [(ContactMade, 50 * hour), (ClickProfile, hour), late_contract];
        assert_eq!(graded(&actions), Grade::Contacted);
        let reversed = [late_contract, actions[1], actions[0], actions[0]];
        assert_eq!(graded(&reversed), Grade::Contacted);
        assert_eq!(graded(&[]), Grade::Shown);
    }

    #[test]
    fn gains_are_proportional_to_labels() {
        for grade in Grade::ALL {
            assert!((grade.gain() - 10.0 * grade.label()).abs() < 1e-12);
            assert_eq!(Grade::from_value(grade.value()), Some(grade));
            assert_eq!(Grade::from_label(f64::from(grade.label() as f32)), Some(grade));
        }
        assert_eq!(Grade::from_label(0.5), None);
        assert_eq!(Grade::from_value(4), None);
    }

    #[test]
    fn an_attribution_is_written_by_its_name() {
        for (attribution, name) in [Attribution::FirstImpression, Attribution::LastTouch]
            .into_iter()
            .zip(Attribution::NAMES)
        {
            assert_eq!(serde_json::to_value(attribution).unwrap(), *name);
        }
    }

    #[test]
    fn no_window_outlasts_the_longest() {
        let windows = Windows {
            click_hours: 500,
            ..Windows::default()
        };
        assert_eq!(windows.longest(), Duration::hours(500));
        assert_eq!(Windows::default().longest(), Duration::hours(168));
    }
}
