use chrono::{Days, NaiveDate};

use super::{Criteria, Evidence, Sequential, Verdict};
use crate::criterion::{Criterion, all_passed, failed};

/// Sums of floats that are equal on paper differ in the last places; a threshold met on paper counts as met.
const ROUNDING: f64 = 1e-12;

/// Judges evidence: long enough, of enough users, Hit@3 better by enough, the MRR gap above 0 by a test that stands daily
/// looks, the fair gap not worse by more than allowed, scoring fast enough. All must hold: an intersection-union test, each
/// criterion at its own level (Berger 1982).
///
/// `level`: of the test of the MRR gap, in (0, 1): what the year's budget has for the present challenger; see
/// [`Budget`](crate::statistics::elond::Budget).
pub fn decide(evidence: &Evidence, criteria: &Criteria, level: f64) -> Verdict {
    let criteria = vec![
        duration(evidence, criteria),
        users(evidence, criteria),
        hit3(evidence, criteria),
        mrr_gap(evidence, criteria, level),
        fair_gap(evidence, criteria),
        latency(evidence, criteria),
    ];
    Verdict {
        promote: all_passed(&criteria),
        criteria,
    }
}

/// When a challenger is given up, so that the next one gets its turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Futility {
    /// Whether interleaving can decide where raw shadow figures of relevance do not.
    pub has_trials: bool,
    /// Days of comparisons after which a challenger that is still undecided is given up.
    pub patience_days: f64,
}

/// The criteria that raw shadow figures of relevance have to meet.
const RELEVANCE: [&str; 2] = ["hit3", "mrr_gap"];
/// The criteria that say whether there is enough to judge the others by.
const ENOUGH: [&str; 2] = ["duration", "users"];

impl Verdict {
    /// Whether the challenger may be shown to users drafted in turn with legacy: everything holds but relevance. Raw shadow
    /// figures favour whoever was displayed, so that they let a really better challenger down; interleaving then decides.
    pub fn may_be_tried(&self) -> bool {
        let others = self.criteria.iter().filter(|c| !RELEVANCE.contains(&c.name.as_ref()));
        !self.promote && others.into_iter().all(|criterion| criterion.passed)
    }

    /// Why more comparisons of this challenger would not let it be promoted or tried, in words; `None`: they may. Once there
    /// is enough data to judge by, a criterion that is decided against it is final; one that stays open is not waited for
    /// for ever.
    pub fn futility(&self, evidence: &Evidence, rules: &Futility) -> Option<String> {
        if self.promote {
            return None;
        }
        let is_open = |criterion: &Criterion| criterion.undecided;
        let is_enough = !self
            .criteria
            .iter()
            .any(|c| ENOUGH.contains(&c.name.as_ref()) && is_open(c));
        let decides = |c: &Criterion| !rules.has_trials || !RELEVANCE.contains(&c.name.as_ref());
        let against = self.criteria.iter().filter(|c| !c.passed && !is_open(c) && decides(c));
        let against: Vec<&str> = against.map(|criterion| criterion.name.as_ref()).collect();
        if is_enough && !against.is_empty() {
            return Some(format!("decided against it: {}", against.join(", ")));
        }
        let is_over = evidence.days >= rules.patience_days && !(rules.has_trials && self.may_be_tried());
        is_over.then(|| {
            let open = failed(&self.criteria).join(", ");
            format!("undecided after {:.0} days: {open}", evidence.days)
        })
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

fn mrr_gap(e: &Evidence, c: &Criteria, level: f64) -> Criterion {
    let s = &e.mrr_sequence;
    let passed = s.users > 0 && s.highest_log_e >= -level.ln();
    let percent = c.confidence * 100.0;
    let is_refuted = s.gap.high < 0.0;
    let reason = match (s.users, passed, is_refuted) {
        (0, ..) => "no closed day has a contract".to_owned(),
        (n, true, _) => format!("the MRR gap was above 0 over {n} users, by a test that may be looked at daily"),
        (n, _, true) => format!("the MRR gap is below 0 over {n} users"),
        (n, ..) => format!("{n} users do not show yet on which side of 0 the MRR gap is"),
    };
    let missing = missing_users(s, level).and_then(|users| days_for(users, s.users, e));
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
            "> 0 with {percent} % confidence of the year's decisions: e-value >= {:.0}",
            level.recip()
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
pub(super) fn missing_users(s: &Sequential, level: f64) -> Option<f64> {
    let gain = s.gap.estimate.powi(2) / (2.0 * s.square);
    let missing = -level.ln() - s.log_e;
    (s.gap.estimate > 0.0 && gain.is_finite() && gain > 0.0).then(|| (missing / gain).max(0.0))
}

/// How many more contracts it takes until the interval of Hit@3's gain lies below what is asked, if the gain stays as
/// it is: an interval narrows with the root of their number. `None` for a gain that is large enough.
pub(super) fn missing_contracts(e: &Evidence, c: &Criteria) -> Option<f64> {
    let short = c.hit3_gain - e.hit3_gain.estimate;
    let reach = e.hit3_gain.high - e.hit3_gain.estimate;
    let times = (reach / short).powi(2) - 1.0;
    (short > 0.0 && times.is_finite()).then(|| e.contracts as f64 * times.max(0.0))
}

/// In how many days so many more will be there, if they come as they came.
pub(super) fn days_for(more: f64, so_far: u64, e: &Evidence) -> Option<f64> {
    (so_far > 0).then(|| more * e.days.max(1.0) / so_far as f64)
}

/// The day that many days after the last case; `None` beyond ten years.
pub(super) fn expected(e: &Evidence, days: Option<f64>) -> Option<NaiveDate> {
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
