use super::{Criteria, Evidence, Verdict};
use crate::criterion::{Criterion, all_passed};

/// Sums of floats that are equal on paper differ in the last places; a threshold met on paper counts as met.
const ROUNDING: f64 = 1e-12;

/// Judges evidence: long enough, Hit@3 better by enough, the MRR gap's interval above 0,
/// the fair gap not worse by more than allowed, scoring fast enough. All five must pass.
pub fn decide(evidence: &Evidence, criteria: &Criteria) -> Verdict {
    let criteria = vec![
        duration(evidence, criteria),
        hit3(evidence, criteria),
        mrr_gap(evidence, criteria),
        fair_gap(evidence, criteria),
        latency(evidence, criteria),
    ];
    Verdict {
        promote: all_passed(&criteria),
        criteria,
    }
}

fn duration(e: &Evidence, c: &Criteria) -> Criterion {
    let long = e.days + ROUNDING >= c.min_days;
    let many = e.cases >= c.min_cases;
    let reason = match (e.cases, long, many) {
        (0, ..) => "no case has closed its attribution window yet".to_owned(),
        (_, true, _) => format!("the cases span {:.1} days", e.days),
        (_, _, true) => format!("{} cases were compared", e.cases),
        _ => format!("{:.1} days and {} cases are both too few", e.days, e.cases),
    };
    Criterion {
        name: "duration".into(),
        passed: e.cases > 0 && (long || many),
        value: format!("{:.1} days, {} cases", e.days, e.cases),
        required: format!(">= {} days or >= {} cases", c.min_days, c.min_cases),
        reason: Some(reason),
    }
}

fn hit3(e: &Evidence, c: &Criteria) -> Criterion {
    let gain = e.hit3_gain.estimate;
    let passed = e.contracts > 0 && gain + ROUNDING >= c.hit3_gain;
    let reason = match (e.contracts, passed) {
        (0, _) => "no compared case ended in a contract".to_owned(),
        (n, true) => format!("Hit@3 gains {} over {n} contracts", points(gain)),
        (n, false) => format!(
            "Hit@3 changes by {} over {n} contracts, less than {}",
            points(gain),
            points(c.hit3_gain)
        ),
    };
    Criterion {
        name: "hit3".into(),
        passed,
        value: format!(
            "{:.4} vs {:.4}: {} [{}, {}]",
            e.hit3_ltr,
            e.hit3_legacy,
            points(gain),
            points(e.hit3_gain.low),
            points(e.hit3_gain.high)
        ),
        required: format!(">= {}", points(c.hit3_gain)),
        reason: Some(reason),
    }
}

fn mrr_gap(e: &Evidence, c: &Criteria) -> Criterion {
    let passed = e.contracts > 0 && e.mrr_gap.low > 0.0;
    let percent = c.confidence * 100.0;
    let reason = match (e.contracts, passed) {
        (0, _) => "no compared case ended in a contract".to_owned(),
        (_, true) => format!("the {percent} % interval of the MRR gap lies above 0"),
        (_, false) => format!("the {percent} % interval of the MRR gap does not lie above 0"),
    };
    Criterion {
        name: "mrr_gap".into(),
        passed,
        value: format!(
            "{:+.4} [{:+.4}, {:+.4}]",
            e.mrr_gap.estimate, e.mrr_gap.low, e.mrr_gap.high
        ),
        required: format!("> 0 with {percent} % confidence"),
        reason: Some(reason),
    }
}

fn fair_gap(e: &Evidence, c: &Criteria) -> Criterion {
    let worsening = e.fair_gap_ltr - e.fair_gap_legacy;
    let passed = e.cases > 0 && worsening <= c.fair_gap_worsening + ROUNDING;
    let reason = match (e.cases, passed) {
        (0, _) => "no case has closed its attribution window yet".to_owned(),
        (_, true) => format!("the fair gap changes by {worsening:+.4}"),
        (_, false) => format!(
            "the fair gap grows by {worsening:.4}, more than {}",
            c.fair_gap_worsening
        ),
    };
    Criterion {
        name: "fair_gap".into(),
        passed,
        value: format!("{:.4} vs {:.4}: {worsening:+.4}", e.fair_gap_ltr, e.fair_gap_legacy),
        required: format!("<= {:+}", c.fair_gap_worsening),
        reason: Some(reason),
    }
}

fn latency(e: &Evidence, c: &Criteria) -> Criterion {
    let (passed, value, reason) = match e.latency_p95_ms {
        None => (false, "none".to_owned(), "no request was scored".to_owned()),
        Some(p95) if p95 < c.latency_p95_ms => (
            true,
            format!("{p95:.3} ms"),
            format!("95 % of the requests were scored within {p95:.3} ms"),
        ),
        Some(p95) => (
            false,
            format!("{p95:.3} ms"),
            format!("scoring takes {p95:.3} ms at the 95th percentile"),
        ),
    };
    Criterion {
        name: "latency".into(),
        passed,
        value,
        required: format!("p95 < {} ms", c.latency_p95_ms),
        reason: Some(reason),
    }
}

fn points(share: f64) -> String {
    format!("{:+.2} pp", share * 100.0)
}
