//! Sums up comparisons one at a time. A few bytes of each are kept.

use chrono::{DateTime, NaiveDate, Utc};

use super::cases::{Cases, Closed, Contract, Ranks};
use super::days::{self, ContractDay};
use super::latencies::Latencies;
use super::{Criteria, Evidence, ShadowCase};
use crate::bootstrap::mean_intervals;
use crate::labels::Grade;
use crate::metrics::{FairSums, hit_at};
use crate::statistics::mean;

/// Sums up shadow requests whose windows have closed: [`Gathering`] of them all.
pub fn gather(cases: &[ShadowCase], criteria: &Criteria) -> Evidence {
    let mut gathering = Gathering::new(criteria);
    cases.iter().for_each(|case| gathering.add(case));
    gathering.finish(NaiveDate::MAX, &[]).0
}

/// Sums up shadow requests whose windows have closed, as they come; their order changes nothing.
///
/// The unit is the case: where a case was requested more than once, a lawyer's best rank counts, for both arms alike.
/// Hit@3 and MRR are taken over cases with a contract, by the best-ranked contracted lawyer.
/// Where the challenger did not answer, the legacy order counts as its own, because that is what would have been served.
///
/// Memory: 6 bytes a case, 28 with a contract, and a quarter of a megabyte. A million cases, one in four with a contract,
/// are 12 MB. Cases without a contract are told apart by a hash of 48 bits: with a million, `cases` is one too low in one
/// log of 560; with 3,000, in one of 60 million.
#[derive(Clone, Debug)]
pub struct Gathering {
    criteria: Criteria,
    cases: Cases,
    /// The times of the first and the last request.
    span: Option<[DateTime<Utc>; 2]>,
    fallbacks: u64,
    latencies: Latencies,
    /// Of legacy and of LTR.
    fair: FairSums<2>,
}

impl Gathering {
    /// Nothing yet. The criteria say how the intervals are drawn and which groups count.
    pub fn new(criteria: &Criteria) -> Gathering {
        Gathering {
            criteria: criteria.clone(),
            cases: Cases::new(),
            span: None,
            fallbacks: 0,
            latencies: Latencies::default(),
            fair: FairSums::default(),
        }
    }

    /// Adds a request.
    pub fn add(&mut self, case: &ShadowCase) {
        let contract =
            contracted(case).map(|ranks| Contract::new(case.ts_utc, case.user.unwrap_or(case.case_id), ranks));
        self.cases.add(case.case_id, contract);
        let [first, last] = self.span.unwrap_or([case.ts_utc; 2]);
        self.span = Some([first.min(case.ts_utc), last.max(case.ts_utc)]);
        self.fallbacks += u64::from(!case.outcome.is_scored());
        if let Some(micros) = served(case, case.score_us) {
            self.latencies.add(micros);
        }
        for row in &case.rows {
            let ltr = served(case, row.fair_ltr).unwrap_or(row.fair_legacy);
            self.fair.add(&row.groups, [row.fair_legacy, ltr]);
        }
    }

    /// What the requests show, and the days that were counted. Draws the bootstraps: `resamples` times the number of
    /// contracts, a few nanoseconds each.
    ///
    /// Days before `closed` are counted, and each once: those up to the last of `counted` stay as they are there, also if
    /// the log says something else of them by now.
    pub fn finish(self, closed: NaiveDate, counted: &[ContractDay]) -> (Evidence, Vec<ContractDay>) {
        let criteria = self.criteria;
        let [legacy, ltr] = self.fair.gaps(criteria.fair_min_rows);
        let Closed {
            cases,
            contracts,
            firsts,
        } = self.cases.finish();
        let days = days::by_day(firsts.values(), closed, counted);
        let contracts: Vec<Ranks> = contracts.into_iter().map(|contract| contract.ranks).collect();
        let places = Places::up_to(&contracts);
        let (in_legacy, in_ltr) = (|r: &Ranks| places.of(r.legacy), |r: &Ranks| places.of(r.ltr));
        let [hit3_gain, mrr_gap] = mean_intervals(
            contracts.len(),
            criteria.resamples,
            criteria.confidence,
            criteria.seed,
            |case| {
                let (legacy, ltr) = (in_legacy(&contracts[case]), in_ltr(&contracts[case]));
                [ltr.hit - legacy.hit, ltr.reciprocal - legacy.reciprocal]
            },
        );
        let evidence = Evidence {
            cases,
            until: self.span.map(|[_, last]| last),
            days: self.span.map_or(0.0, days_between),
            contracts: contracts.len() as u64,
            users: firsts.len() as u64,
            fallbacks: self.fallbacks,
            hit3_legacy: mean(contracts.iter().map(|ranks| in_legacy(ranks).hit)),
            hit3_ltr: mean(contracts.iter().map(|ranks| in_ltr(ranks).hit)),
            hit3_gain,
            hit3_gain_of_users: mean(
                firsts
                    .values()
                    .map(|first| hit(first.ranks.ltr) - hit(first.ranks.legacy)),
            ),
            mrr_legacy: mean(contracts.iter().map(|ranks| in_legacy(ranks).reciprocal)),
            mrr_ltr: mean(contracts.iter().map(|ranks| in_ltr(ranks).reciprocal)),
            mrr_gap,
            mrr_sequence: days::mrr_gap(&days, criteria.confidence),
            fair_gap_legacy: legacy.gap,
            fair_gap_ltr: ltr.gap,
            latency_p95_ms: self.latencies.quantile_ms(0.95),
        };
        (evidence, days)
    }
}

/// What a place in a ranking is worth, computed once a rank: a bootstrap asks for it once a draw.
struct Places {
    by_rank: Vec<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    hit: f64,
    reciprocal: f64,
}

impl Places {
    fn up_to(ranks: &[Ranks]) -> Places {
        let lowest = ranks.iter().map(|ranks| ranks.legacy.max(ranks.ltr)).max();
        let place = |rank: u16| Place {
            hit: hit(rank),
            reciprocal: 1.0 / f64::from(rank.max(1)),
        };
        Places {
            by_rank: (0..=lowest.unwrap_or(0)).map(place).collect(),
        }
    }

    fn of(&self, rank: u16) -> Place {
        self.by_rank[usize::from(rank)]
    }
}

/// 1 within the first three places, 0 elsewhere.
fn hit(rank: u16) -> f64 {
    f64::from(u8::from(hit_at(3, usize::from(rank))))
}

/// The best ranks of the request's contracted lawyers.
fn contracted(case: &ShadowCase) -> Option<Ranks> {
    let signed = case.rows.iter().filter(|row| {
        let grade = row.label.and_then(|label| Grade::from_label(f64::from(label)));
        grade == Some(Grade::Contracted)
    });
    let ranks = signed.map(|row| Ranks {
        legacy: row.rank_legacy,
        ltr: served(case, row.rank_ltr).unwrap_or(row.rank_legacy),
    });
    ranks.reduce(Ranks::best)
}

/// What the challenger said, if it said anything in this request.
fn served<T>(case: &ShadowCase, said: Option<T>) -> Option<T> {
    said.filter(|_| case.outcome.is_scored())
}

fn days_between([first, last]: [DateTime<Utc>; 2]) -> f64 {
    (last - first).num_milliseconds() as f64 / 86_400_000.0
}
