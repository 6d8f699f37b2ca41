use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Criteria, Evidence, ShadowCase};
use crate::bootstrap::mean_interval;
use crate::labels::Grade;
use crate::metrics::{fair_gap, hit_at};
use crate::statistics::{mean, quantile};

/// Sums up shadow requests whose windows have closed.
///
/// The unit is the case: where a case was requested more than once, a lawyer's best rank counts, for both arms alike.
/// Hit@3 and MRR are taken over cases with a contract, by the best-ranked contracted lawyer.
/// Where the challenger did not answer, the legacy order counts as its own, because that is what would have been served.
pub fn gather(cases: &[ShadowCase], criteria: &Criteria) -> Evidence {
    let pairs = contracted(cases);
    let hit = |rank: u16| f64::from(u8::from(hit_at(3, usize::from(rank))));
    let reciprocal = |rank: u16| 1.0 / f64::from(rank.max(1));
    let gain: Vec<f64> = pairs.iter().map(|p| hit(p.ltr) - hit(p.legacy)).collect();
    let gap: Vec<f64> = pairs.iter().map(|p| reciprocal(p.ltr) - reciprocal(p.legacy)).collect();
    let interval = |values: &[f64]| mean_interval(values, criteria.resamples, criteria.confidence, criteria.seed);
    let (fair_gap_legacy, fair_gap_ltr) = fair_gaps(cases, criteria.fair_min_rows);
    Evidence {
        cases: distinct_cases(cases),
        days: days(cases),
        contracts: pairs.len() as u64,
        fallbacks: cases.iter().filter(|c| !c.outcome.is_scored()).count() as u64,
        hit3_legacy: mean(pairs.iter().map(|p| hit(p.legacy))),
        hit3_ltr: mean(pairs.iter().map(|p| hit(p.ltr))),
        hit3_gain: interval(&gain),
        mrr_legacy: mean(pairs.iter().map(|p| reciprocal(p.legacy))),
        mrr_ltr: mean(pairs.iter().map(|p| reciprocal(p.ltr))),
        mrr_gap: interval(&gap),
        fair_gap_legacy,
        fair_gap_ltr,
        latency_p95_ms: latency_p95_ms(cases),
    }
}

/// Where each ranking put the contracted lawyer of a case; 1-based.
struct Pair {
    legacy: u16,
    ltr: u16,
}

fn contracted(cases: &[ShadowCase]) -> Vec<Pair> {
    // Sorted by case id, so that the bootstrap does not depend on the order rows come back in.
    let mut best: BTreeMap<Uuid, Pair> = BTreeMap::new();
    for case in cases {
        for row in &case.rows {
            let label = row.label.and_then(|l| Grade::from_label(f64::from(l)));
            if label != Some(Grade::Contracted) {
                continue;
            }
            let ltr = served(case, row.rank_ltr).unwrap_or(row.rank_legacy);
            let pair = best.entry(case.case_id).or_insert(Pair {
                legacy: row.rank_legacy,
                ltr,
            });
            pair.legacy = pair.legacy.min(row.rank_legacy);
            pair.ltr = pair.ltr.min(ltr);
        }
    }
    best.into_values().collect()
}

/// What the challenger said, if it said anything in this request.
fn served<T>(case: &ShadowCase, said: Option<T>) -> Option<T> {
    said.filter(|_| case.outcome.is_scored())
}

fn fair_gaps(cases: &[ShadowCase], min_rows: usize) -> (f64, f64) {
    let rows = || cases.iter().flat_map(|c| c.rows.iter().map(move |r| (c, r)));
    let legacy: Vec<_> = rows().map(|(_, r)| (&r.groups, r.fair_legacy)).collect();
    let ltr: Vec<_> = rows()
        .map(|(c, r)| (&r.groups, served(c, r.fair_ltr).unwrap_or(r.fair_legacy)))
        .collect();
    (fair_gap(&legacy, min_rows).gap, fair_gap(&ltr, min_rows).gap)
}

fn latency_p95_ms(cases: &[ShadowCase]) -> Option<f64> {
    let micros = cases.iter().filter_map(|c| served(c, c.score_us));
    let mut ms: Vec<f64> = micros.map(|us| f64::from(us) / 1000.0).collect();
    ms.sort_by(f64::total_cmp);
    quantile(&ms, 0.95)
}

fn distinct_cases(cases: &[ShadowCase]) -> u64 {
    let ids: std::collections::BTreeSet<Uuid> = cases.iter().map(|c| c.case_id).collect();
    ids.len() as u64
}

fn days(cases: &[ShadowCase]) -> f64 {
    let first = cases.iter().map(|c| c.ts_utc).min();
    let last = cases.iter().map(|c| c.ts_utc).max();
    match (first, last) {
        (Some(first), Some(last)) => (last - first).num_milliseconds() as f64 / 86_400_000.0,
        _ => 0.0,
    }
}
