use chrono::{Days, NaiveDate};

use super::{Criteria, Evidence, Sequential, Verdict};
use crate::criterion::{Criterion, all_passed};

/// Sums of floats that are equal on paper differ in the last places; a threshold met on paper counts as met.
const ROUNDING: f64 = 1e-12;

/// Judges evidence: long enough, of enough users, Hit@3 better by enough, the MRR gap above 0 by a test that stands daily
/// looks, the fair gap not worse by more than allowed, scoring fast enough. All must hold: an intersection-union test, each
/// criterion at its own level (Berger 1982).
pub fn decide(evidence: &Evidence, criteria: &Criteria) -> Verdict {
    let criteria = vec![
        duration(evidence, criteria),
        users(evidence, criteria),
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

/// The criteria that raw shadow figures of relevance have to meet.
const RELEVANCE: [&str; 2] = ["hit3", "mrr_gap"];

impl Verdict {
    /// Whether the challenger may be shown to users drafted in turn with legacy: everything holds but relevance. Raw shadow
    /// figures favour whoever was displayed, so that they let a really better challenger down; interleaving then decides.
    pub fn may_be_tried(&self) -> bool {
        let others = self.criteria.iter().filter(|c| !RELEVANCE.contains(&c.name.as_ref()));
        !self.promote && others.into_iter().all(|criterion| criterion.passed)
    }
}

fn duration(e: &Evidence, c: &Criteria) -> Criterion {
    let long = e.days + ROUNDING >= c.min_days;
    let many = e.cases >= c.min_cases;
    let passed = e.cases > 0 && (long || many);
    let reason = match (e.cases, long, many) {
        (0, ..) => "no case has closed its attribution window yet".to_owned(),
        (_, true, _) => format!("the cases span {:.1} days", e.days),
        (_, _, true) => format!("{} cases were compared", e.cases),
        _ => format!("{:.1} days and {} cases are both too few", e.days, e.cases),
    };
    let by_cases = days_for(c.min_cases.saturating_sub(e.cases) as f64, e.cases, e);
    let sooner = by_cases.map_or(c.min_days - e.days, |days| days.min(c.min_days - e.days));
    Criterion {
        name: "duration".into(),
        passed,
        undecided: !passed,
        decidable_on: expected(e, Some(sooner).filter(|_| !passed)),
        value: format!("{:.1} days, {} cases", e.days, e.cases),
        required: format!(">= {} days or >= {} cases", c.min_days, c.min_cases),
        reason: Some(reason),
    }
}

fn users(e: &Evidence, c: &Criteria) -> Criterion {
    let passed = e.users >= c.min_users;
    let missing = days_for(c.min_users.saturating_sub(e.users) as f64, e.users, e);
    Criterion {
        name: "users".into(),
        passed,
        undecided: !passed,
        decidable_on: expected(e, missing.filter(|_| !passed)),
        value: format!("{} with a contract", e.users),
        required: format!(">= {}", c.min_users),
        reason: Some(format!("{} users signed {} contracts", e.users, e.contracts)),
    }
}

fn hit3(e: &Evidence, c: &Criteria) -> Criterion {
    let gain = e.hit3_gain.estimate;
    // Whoever has many cases must not be what decides.
    let passed = e.contracts > 0 && gain.min(e.hit3_gain_of_users) + ROUNDING >= c.hit3_gain;
    let reason = match (e.contracts, passed) {
        (0, _) => "no compared case ended in a contract".to_owned(),
        (n, true) => format!("Hit@3 gains {} over {n} contracts", points(gain)),
        (_, false) if gain + ROUNDING >= c.hit3_gain => format!(
            "Hit@3 changes by {} where each of {} users counts once, less than {}",
            points(e.hit3_gain_of_users),
            e.users,
            points(c.hit3_gain)
        ),
        (n, false) => format!(
            "Hit@3 changes by {} over {n} contracts, less than {}",
            points(gain),
            points(c.hit3_gain)
        ),
    };
    Criterion {
        name: "hit3".into(),
        passed,
        // The interval says which gains the contracts so far leave open.
        undecided: !passed && (e.contracts == 0 || e.hit3_gain.high + ROUNDING >= c.hit3_gain),
        decidable_on: None,
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
    let s = &e.mrr_sequence;
    let passed = s.is_above;
    let percent = c.confidence * 100.0;
    let is_refuted = s.gap.high < 0.0;
    let reason = match (s.users, passed, is_refuted) {
        (0, ..) => "no closed day has a contract".to_owned(),
        (n, true, _) => format!("the MRR gap was above 0 over {n} users, by a test that may be looked at daily"),
        (n, _, true) => format!("the MRR gap is below 0 over {n} users"),
        (n, ..) => format!("{n} users do not show yet on which side of 0 the MRR gap is"),
    };
    let missing = more_users(s, c.confidence).and_then(|users| days_for(users, s.users, e));
    Criterion {
        name: "mrr_gap".into(),
        passed,
        undecided: !passed && !is_refuted,
        decidable_on: expected(e, missing.filter(|_| !passed && !is_refuted)),
        value: format!(
            "{:+.4} [{:+.4}, {:+.4}], e-value {}",
            s.gap.estimate,
            s.gap.low,
            s.gap.high,
            e_value(s.log_e)
        ),
        required: format!(
            "> 0 with {percent} % confidence: e-value >= {:.0}",
            1.0 / (1.0 - c.confidence)
        ),
        reason: Some(reason),
    }
}

fn e_value(log_e: f64) -> String {
    match log_e.exp() {
        few if few < 1e4 => format!("{few:.2}"),
        many if many.is_finite() => format!("{many:.0e}"),
        _ => "beyond all bounds".to_owned(),
    }
}

/// How many more users it takes until the bettor's wealth is enough, if the difference stays as it is. Near 0 a bettor who
/// knows the difference gains `mean^2 / (2 mean square)` a user (Kelly 1956; Waudby-Smith and Ramdas 2024, section 4).
fn more_users(s: &Sequential, confidence: f64) -> Option<f64> {
    let gain = s.gap.estimate.powi(2) / (2.0 * s.square);
    let missing = -(1.0 - confidence).ln() - s.log_e;
    (s.gap.estimate > 0.0 && gain.is_finite() && gain > 0.0).then(|| (missing / gain).max(0.0))
}

/// In how many days so many more will be there, if they come as they came.
fn days_for(more: f64, so_far: u64, e: &Evidence) -> Option<f64> {
    (so_far > 0).then(|| more * e.days.max(1.0) / so_far as f64)
}

/// The day that many days after the last case; `None` beyond ten years.
fn expected(e: &Evidence, days: Option<f64>) -> Option<NaiveDate> {
    let days = days?.ceil().max(0.0);
    let last = e.until?.date_naive();
    (days < 3_650.0).then(|| last.checked_add_days(Days::new(days as u64)))?
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
        undecided: e.cases == 0,
        value: format!("{:.4} vs {:.4}: {worsening:+.4}", e.fair_gap_ltr, e.fair_gap_legacy),
        required: format!("<= {:+}", c.fair_gap_worsening),
        reason: Some(reason),
        ..Criterion::default()
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
        undecided: e.latency_p95_ms.is_none(),
        value,
        required: format!("p95 < {} ms", c.latency_p95_ms),
        reason: Some(reason),
        ..Criterion::default()
    }
}

fn points(share: f64) -> String {
    format!("{:+.2} pp", share * 100.0)
}
