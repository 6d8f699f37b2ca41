//! Days of a town whose clients are shown what the rollout says: cases in, counted outcomes out.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use ranking::interleaving::{Coins, Draft, draft};
use ranking::outcomes::{Arm, Displayed, OutcomeDay, REST_DAYS, count_day};
use ranking::{Candidate, Grade, Policy, Source};
use uuid::Uuid;

use crate::chance::Chance;
use crate::market::{Case, Challenger, Client, LAWYERS};

/// How much busier some days are than others: standard deviation of the logarithm.
const BUSY: f64 = 0.3;
/// How much more clients ask of a lawyer on some days than on others, in standard deviations of the appeal: the share of
/// cases with a contract differs by a point and a half from day to day.
const MOOD: f64 = 0.04;
/// Share of the cases of users who came before.
const REPEATED: f64 = 0.2;
/// Users who may come again.
const RECENT: usize = 200;

/// What users get to see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Exposure {
    /// Legacy, all of them.
    Legacy,
    /// LTR, but for those who are held out.
    Live {
        /// Their share.
        hold_out: f64,
    },
    /// Both rankings in turn, a share of those who are not held out; legacy, the rest.
    Interleaved {
        /// The share.
        share: f64,
        /// Share of the users who are held out.
        hold_out: f64,
    },
}

/// A town.
pub struct Town {
    /// The ranker that is not the legacy one.
    pub challenger: Challenger,
    /// How clients look at lists.
    pub client: Client,
    /// Cases a day, in the mean.
    pub cases_a_day: f64,
    candidates: Vec<Candidate>,
    recent: Vec<Uuid>,
    next: u128,
    date: NaiveDate,
    /// On which day each user was last displayed a ranking of an arm.
    displayed: HashMap<(Uuid, Arm), NaiveDate>,
}

impl Town {
    /// A town on its first day.
    pub fn new(challenger: Challenger, client: Client, cases_a_day: f64) -> Town {
        let candidate = |at: usize| Candidate {
            lawyer_id: at.to_string(),
            features: Vec::new(),
            groups: BTreeMap::new(),
            cases_30d: 0,
            monthly_capacity: 1,
            last_offered_at: None,
        };
        Town {
            challenger,
            client,
            cases_a_day,
            candidates: (0..LAWYERS).map(candidate).collect(),
            recent: Vec::new(),
            next: 0,
            date: NaiveDate::from_ymd_opt(2027, 1, 1).unwrap_or_default(),
            displayed: HashMap::new(),
        }
    }

    /// The next day, closed.
    pub fn day(&mut self, exposure: Exposure, chance: &mut Chance) -> OutcomeDay {
        let date = self.date;
        self.date = date.succ_opt().unwrap_or(date);
        let mean = self.cases_a_day * chance.shock(BUSY);
        let client = Client {
            enough: self.client.enough + MOOD * chance.normal(),
            ..self.client
        };
        let number = chance.poisson(mean);
        let start = date.and_time(chrono::NaiveTime::MIN).and_utc();
        let case = |at: u64| start + TimeDelta::seconds(at as i64);
        let mut cases: Vec<Displayed> = (0..number)
            .map(|at| self.case(case(at), exposure, client, chance))
            .collect();
        self.note(date, &mut cases);
        count_day(date, &cases)
    }

    /// Says of each case whether its user came before, and remembers them.
    fn note(&mut self, date: NaiveDate, cases: &mut [Displayed]) {
        for case in &mut *cases {
            let last = case.arm().and_then(|arm| self.displayed.get(&(case.user, arm)));
            case.came_before = last.is_some_and(|last| (date - *last).num_days().unsigned_abs() <= REST_DAYS);
        }
        for case in cases {
            self.displayed.extend(case.arm().map(|arm| ((case.user, arm), date)));
        }
    }

    fn case(&mut self, ts_utc: DateTime<Utc>, exposure: Exposure, client: Client, chance: &mut Chance) -> Displayed {
        let user = self.user(chance);
        self.next += 1;
        let case_id = Uuid::from_u128(self.next);
        let case = Case::draw(self.challenger, chance);
        let (policy, source) = shown(exposure, chance);
        let (order, drafted_by) = match source {
            Source::Legacy => (case.legacy.to_vec(), Vec::new()),
            Source::Ltr => (case.ltr.to_vec(), Vec::new()),
            Source::Interleaved => {
                let mut coins = Coins::new(b"simulation", case_id, case_id);
                match draft(&self.candidates, &case.legacy, &case.ltr, &mut coins) {
                    Some(Draft { order, drafted_by }) => (order, drafted_by),
                    // Nobody here has a group that could be lost.
                    None => (case.legacy.to_vec(), Vec::new()),
                }
            }
        };
        let outcome = client.look(&case, &order, chance);
        let place = |lawyer: usize| {
            order
                .iter()
                .position(|&other| other == lawyer)
                .map_or(0, |at| at as u32 + 1)
        };
        let clicked = outcome.clicked.iter().map(|&lawyer| (place(lawyer), Grade::Clicked));
        let signed = outcome.signed.map(|lawyer| (place(lawyer), Grade::Contracted));
        Displayed {
            case_id,
            user,
            ts_utc,
            policy,
            source,
            model_version: Some("ltr".to_owned()),
            drafted_by,
            coin: None,
            acted: clicked.chain(signed).collect(),
            came_before: false,
        }
    }

    fn user(&mut self, chance: &mut Chance) -> Uuid {
        if !self.recent.is_empty() && chance.happens(REPEATED) {
            return self.recent[chance.below(self.recent.len())];
        }
        self.next += 1;
        let user = Uuid::from_u128(1 << 100 | self.next);
        if self.recent.len() == RECENT {
            self.recent.swap_remove(chance.below(RECENT));
        }
        self.recent.push(user);
        user
    }
}

fn shown(exposure: Exposure, chance: &mut Chance) -> (Policy, Source) {
    match exposure {
        Exposure::Legacy => (Policy::None, Source::Legacy),
        Exposure::Live { hold_out } if chance.happens(hold_out) => (Policy::HoldOut, Source::Legacy),
        Exposure::Live { .. } => (Policy::None, Source::Ltr),
        Exposure::Interleaved { hold_out, .. } if chance.happens(hold_out) => (Policy::HoldOut, Source::Legacy),
        Exposure::Interleaved { share, .. } if chance.happens(share) => (Policy::Interleaved, Source::Interleaved),
        Exposure::Interleaved { .. } => (Policy::Rung, Source::Legacy),
    }
}
