//! Clients, lawyers, and two rankings of them.

use crate::chance::Chance;

/// Lawyers of a case.
pub const LAWYERS: usize = 12;
/// How far clients' tastes are apart, where lawyers' appeal has a standard deviation of 1.
const TASTE: f64 = 0.5;
/// How wrong the legacy ranking is, in standard deviations of the appeal.
const LEGACY_ERROR: f64 = 1.0;

/// How good a challenger is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Challenger {
    /// As wrong as the legacy ranking, in other cases.
    Equal,
    /// Half as wrong.
    Better,
    /// It knows nothing.
    Random,
    /// As wrong as said, in standard deviations of the appeal.
    Error(f64),
}

impl Challenger {
    fn error(self) -> f64 {
        match self {
            Challenger::Equal => LEGACY_ERROR,
            Challenger::Better => LEGACY_ERROR / 2.0,
            Challenger::Random => 1e6,
            Challenger::Error(error) => error,
        }
    }
}

/// A case: orders of lawyers, best first.
#[derive(Clone, Debug)]
pub struct Case {
    /// How much each lawyer appeals to clients on average.
    pub appeal: [f64; LAWYERS],
    /// By the legacy ranking.
    pub legacy: [usize; LAWYERS],
    /// By the challenger.
    pub ltr: [usize; LAWYERS],
}

impl Case {
    /// A case with this challenger.
    pub fn draw(challenger: Challenger, chance: &mut Chance) -> Case {
        let appeal: [f64; LAWYERS] = std::array::from_fn(|_| chance.normal());
        let mut order = |error: f64| {
            let scores: [f64; LAWYERS] = std::array::from_fn(|at| appeal[at] + error * chance.normal());
            let mut order: [usize; LAWYERS] = std::array::from_fn(|at| at);
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            order
        };
        let (legacy, ltr) = (order(LEGACY_ERROR), order(challenger.error()));
        Case { appeal, legacy, ltr }
    }
}

/// A client who examines rank k with the probability k^-eta.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// 0: everybody is looked at, wherever they stand.
    pub eta: f64,
    /// A client clicks nobody, and signs with nobody, who appeals less than this.
    pub enough: f64,
}

/// What a client did with a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Lawyers who were clicked.
    pub clicked: Vec<usize>,
    /// The lawyer who was signed with, at most one.
    pub signed: Option<usize>,
}

impl Client {
    /// Looks at a list, clicks whoever appeals, and signs with whoever does so most of those who were looked at.
    pub fn look(self, case: &Case, shown: &[usize], chance: &mut Chance) -> Outcome {
        let mut outcome = Outcome::default();
        let mut best = self.enough;
        for (rank, &lawyer) in (1..).zip(shown) {
            let appeal = case.appeal[lawyer] + TASTE * chance.normal();
            if !chance.happens(f64::powf(f64::from(rank), -self.eta)) {
                continue;
            }
            if appeal > self.enough {
                outcome.clicked.push(lawyer);
            }
            if appeal > best {
                best = appeal;
                outcome.signed = Some(lawyer);
            }
        }
        outcome
    }
}

/// A lawyer's rank in an order, from 1.
pub fn rank_in(order: &[usize], lawyer: usize) -> u16 {
    order
        .iter()
        .position(|&other| other == lawyer)
        .map_or(u16::MAX, |at| at as u16 + 1)
}

/// The ranks of the contracted lawyer by legacy and by LTR, of so many cases with a contract, where the legacy order is
/// displayed.
pub fn contracted(challenger: Challenger, client: Client, contracts: usize, chance: &mut Chance) -> Vec<(u16, u16)> {
    let mut ranks = Vec::with_capacity(contracts);
    while ranks.len() < contracts {
        let case = Case::draw(challenger, chance);
        if let Some(lawyer) = client.look(&case, &case.legacy, chance).signed {
            ranks.push((rank_in(&case.legacy, lawyer), rank_in(&case.ltr, lawyer)));
        }
    }
    ranks
}

/// Gain in Hit@3.
pub fn hit3_gain(ranks: &[(u16, u16)]) -> f64 {
    let hit = |rank: u16| f64::from(u8::from(rank <= 3));
    ranks.iter().map(|&(legacy, ltr)| hit(ltr) - hit(legacy)).sum::<f64>() / ranks.len() as f64
}

/// Ranks of contracted lawyers with this gain in Hit@3 where clients look at everybody: the challenger's error is searched
/// for by halving an interval.
pub fn with_gain(gain: f64, contracts: usize, seed: u64) -> Vec<(u16, u16)> {
    let everybody = Client { eta: 0.0, enough: 0.0 };
    // Of the same draws each time, so that the gain rises without jumps as the error falls.
    let draw = |error| {
        contracted(
            Challenger::Error(error),
            everybody,
            contracts,
            &mut Chance::new(seed, 0),
        )
    };
    let (mut low, mut high) = (0.05, 3.0);
    for _ in 0..20 {
        let middle = f64::midpoint(low, high);
        if hit3_gain(&draw(middle)) > gain {
            low = middle;
        } else {
            high = middle;
        }
    }
    draw(f64::midpoint(low, high))
}

/// The share of cases with a contract where the challenger's order is displayed.
pub fn contract_rate(challenger: Challenger, client: Client, cases: usize, chance: &mut Chance) -> f64 {
    let signs = |_: &usize| {
        let case = Case::draw(challenger, chance);
        client.look(&case, &case.ltr, chance).signed.is_some()
    };
    (0..cases).filter(signs).count() as f64 / cases as f64
}
