//! The supply side: lawyers, and the cases that retrieval matches with them.
//!
//! Lawyers come in matched sets of six, one for each gender and ethnicity. The lawyers of a set
//! share what clients care about: quality, areas, success, review, price and responsiveness. Every
//! case offers two lawyers of each group. Groups therefore neither matter to clients nor differ by
//! chance, so any fair gap measured on this market is caused by the ranking.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, NaiveDate, Utc};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use super::chance::{normal, sigmoid, stream, uuid};

const AREAS: usize = 8;
const GENDERS: [&str; 2] = ["F", "M"];
const ETHNICITIES: [&str; 3] = ["black", "brown", "white"];
/// Lawyers in a matched set.
const SET: usize = GENDERS.len() * ETHNICITIES.len();
const SETS: usize = 200;
/// Number of different clients.
const CLIENTS: u64 = 5_000;
/// A lawyer practises an area if their strength is above this.
const PRACTISES: f64 = 0.6;

/// The eleven features of `ranking::features::DEFAULT_FEATURES`, in that order; NaN is missing.
pub(super) type Features = [f64; 11];

pub(super) struct Lawyer {
    pub id: String,
    /// What clients notice but no feature measures directly; standard normal over the market.
    pub quality: f64,
    pub capacity: u32,
    /// Cases in the last 30 days from outside this market.
    pub other_cases: u32,
    pub groups: BTreeMap<String, String>,
    areas: [f64; AREAS],
    home: [f64; 2],
    price: f64,
    responsiveness: f64,
    success_rate: f64,
    qualification: f64,
    review: f64,
    soft_skill: f64,
    firm_reputation: f64,
    maturity: f64,
}

pub(super) struct Market {
    pub lawyers: Vec<Lawyer>,
    /// Lawyers who practise an area, by area and then by index in the set (the group).
    practising: Vec<Vec<Vec<usize>>>,
}

/// One lawyer offered for a case.
#[derive(Clone)]
pub(super) struct Offer {
    pub lawyer: usize,
    pub features: Features,
}

#[derive(Clone)]
pub(super) struct Case {
    pub case_id: Uuid,
    pub user_id: Uuid,
    pub request_id: Uuid,
    pub opened_at: DateTime<Utc>,
    pub offers: Vec<Offer>,
}

impl Market {
    /// The market of a seed; the same seed gives the same lawyers.
    pub(super) fn new(seed: u64) -> Market {
        let rng = &mut stream(seed, "lawyers", "", 0);
        let lawyers: Vec<Lawyer> = (0..SETS).flat_map(|set| matched_set(rng, set)).collect();
        let practising = (0..AREAS)
            .map(|area| {
                (0..SET)
                    .map(|place| {
                        let of_place = (place..lawyers.len()).step_by(SET);
                        of_place.filter(|&i| lawyers[i].areas[area] > PRACTISES).collect()
                    })
                    .collect()
            })
            .collect();
        Market { lawyers, practising }
    }

    /// The `index`-th case of a day; independent of earlier draws.
    pub(super) fn case(&self, seed: u64, day: NaiveDate, index: u64) -> Case {
        let rng = &mut stream(seed, "case", &day.to_string(), index);
        let (case_id, request_id) = (uuid(rng), uuid(rng));
        let client = rng.random_range(0..CLIENTS);
        // The mean of two uniform draws, so most cases come in the middle of the day.
        let of_day = (rng.random::<f64>() + rng.random::<f64>()) / 2.0;
        let opened_at =
            day.and_time(chrono::NaiveTime::MIN).and_utc() + Duration::milliseconds((of_day * 86_399_999.0) as i64);
        Case {
            case_id,
            user_id: uuid(&mut stream(seed, "client", "", client)),
            request_id,
            opened_at,
            offers: self.offers(rng),
        }
    }

    /// Two lawyers of each group: one who practises the case's area, and any other.
    fn offers(&self, rng: &mut ChaCha8Rng) -> Vec<Offer> {
        let need = Need::draw(rng);
        let mut chosen = Vec::with_capacity(2 * SET);
        for place in 0..SET {
            let strong = &self.practising[need.area][place];
            let anyone = |rng: &mut ChaCha8Rng| rng.random_range(0..SETS) * SET + place;
            let first = match strong.len() {
                0 => anyone(rng),
                n => strong[rng.random_range(0..n)],
            };
            let mut second = anyone(rng);
            while second == first {
                second = anyone(rng);
            }
            chosen.extend([first, second]);
        }
        // Shuffled, so that the order of a request carries no information.
        for i in (1..chosen.len()).rev() {
            chosen.swap(i, rng.random_range(0..=i));
        }
        let offer = |lawyer| Offer {
            lawyer,
            features: need.features(rng, &self.lawyers[lawyer]),
        };
        chosen.into_iter().map(offer).collect()
    }
}

/// What the client of a case needs.
struct Need {
    area: usize,
    urgent: bool,
    place: [f64; 2],
    /// `None`: the client named no budget.
    budget: Option<f64>,
}

impl Need {
    fn draw(rng: &mut ChaCha8Rng) -> Need {
        Need {
            area: rng.random_range(0..AREAS),
            urgent: rng.random_bool(0.4),
            place: [rng.random(), rng.random()],
            budget: (!rng.random_bool(0.08)).then(|| rng.random()),
        }
    }

    fn features(&self, rng: &mut ChaCha8Rng, lawyer: &Lawyer) -> Features {
        let strength = lawyer.areas[self.area];
        let distance = (lawyer.home[0] - self.place[0]).hypot(lawyer.home[1] - self.place[1]);
        let pace = 0.5 * lawyer.responsiveness;
        let unit = |x: f64| x.clamp(0.0, 1.0);
        [
            unit(strength + 0.05 * normal(rng)),
            unit(0.25 + 0.45 * strength + 0.2 * normal(rng)),
            lawyer.success_rate,
            (-1.6 * distance).exp(),
            lawyer.qualification,
            if self.urgent { 0.5 + pace } else { pace },
            lawyer.review,
            lawyer.soft_skill,
            lawyer.firm_reputation,
            self.budget
                .map_or(f64::NAN, |budget| unit(1.0 - 1.5 * (lawyer.price - budget).abs())),
            lawyer.maturity,
        ]
    }
}

/// Six lawyers, one for each gender and ethnicity, alike in what matters to clients.
fn matched_set(rng: &mut ChaCha8Rng, set: usize) -> Vec<Lawyer> {
    let quality = normal(rng);
    let mut areas: [f64; AREAS] = std::array::from_fn(|_| rng.random::<f64>().powf(2.2));
    areas[rng.random_range(0..AREAS)] = rng.random_range(0.75..1.0);
    let price = rng.random();
    let responsiveness = rng.random();
    let success_rate = sigmoid(0.8 * quality + 0.8 * normal(rng));
    let review = 0.55 + 0.12 * quality + 0.22 * normal(rng);
    let reviewed = !rng.random_bool(0.12);
    let near = |rng: &mut ChaCha8Rng, x: f64| (x + 0.02 * normal(rng)).clamp(0.0, 1.0);
    (0..SET)
        .map(|place| Lawyer {
            id: format!("adv_{:04}", set * SET + place + 1),
            quality,
            capacity: rng.random_range(20..60),
            other_cases: rng.random_range(4..20),
            groups: BTreeMap::from([
                ("gender".into(), GENDERS[place % GENDERS.len()].into()),
                ("ethnicity".into(), ETHNICITIES[place / GENDERS.len()].into()),
            ]),
            areas,
            home: [rng.random(), rng.random()],
            price,
            responsiveness,
            success_rate: near(rng, success_rate),
            qualification: rng.random(),
            review: if reviewed { near(rng, review) } else { f64::NAN },
            soft_skill: if rng.random_bool(0.1) { f64::NAN } else { rng.random() },
            firm_reputation: if rng.random_bool(0.2) {
                f64::NAN
            } else {
                rng.random::<f64>().powi(2)
            },
            maturity: rng.random(),
        })
        .collect()
}
