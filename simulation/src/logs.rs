//! What logs alone say of two rankings, where clients look at lists from above.

use ranking::counterfactual::{Case as Logged, Estimator, Lawyer, Value};
use uuid::Uuid;

use crate::chance::Chance;
use crate::market::{Case, Challenger, Client, LAWYERS, rank_in};

/// Which ranking was displayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Displayed {
    /// The legacy ranking.
    Legacy,
    /// LTR's.
    Ltr,
}

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Counted {
    /// Each lawyer who was clicked.
    Clicks,
    /// The lawyer who was signed with.
    Contracts,
}

/// The value of both rankings by inverse propensities, from so many cases.
pub fn ips(
    challenger: Challenger,
    displayed: Displayed,
    counted: Counted,
    client: Client,
    cases: usize,
    chance: &mut Chance,
) -> Value {
    let logged = |number: usize| {
        let case = Case::draw(challenger, chance);
        let shown = match displayed {
            Displayed::Legacy => case.legacy,
            Displayed::Ltr => case.ltr,
        };
        let outcome = client.look(&case, &shown, chance);
        let counts = |lawyer: usize| match counted {
            Counted::Clicks => outcome.clicked.contains(&lawyer),
            Counted::Contracts => outcome.signed == Some(lawyer),
        };
        let lawyer = |lawyer: usize| Lawyer {
            displayed: Some(rank_in(&shown, lawyer).into()),
            otherwise: None,
            legacy: Some(rank_in(&case.legacy, lawyer).into()),
            ltr: Some(rank_in(&case.ltr, lawyer).into()),
            outcome: f64::from(u8::from(counts(lawyer))),
            relevance: 0.0,
        };
        Logged {
            client: Uuid::from_u128(number as u128),
            lawyers: (0..LAWYERS).map(lawyer).collect(),
        }
    };
    let logged: Vec<Logged> = (0..cases).map(logged).collect();
    let estimator = Estimator {
        eta: client.eta,
        // Nothing is clipped: the bias that is left is that of the method.
        clip: f64::from(LAWYERS as u32),
        ..Estimator::default()
    };
    estimator.ips(&logged)
}
