//! Whether a model may replace the champion without a trial: it must not be worse on the same test part.

use ranking::Interval;
use ranking::criterion::{Criterion, all_passed, failed};
use ranking::release::replacement::GateAgainst;
use settings::Gate;

use super::criteria_table;
use crate::evaluate::{Arm, Evaluation, Gain, RivalResult};

/// Judges the comparison with the champion by `ndcg5`, `mrr5` and `fair_gap`, or by `compared` alone, which fails with the
/// reason; `None`: there was no champion to compare with. A NaN fails its criterion.
pub(super) fn judge(evaluation: &Evaluation, gate: &Gate) -> Option<GateAgainst> {
    let champion = evaluation.champion.as_ref()?;
    let criteria = match &champion.result {
        RivalResult::Judged { arm, over } => compared(evaluation, arm, over, gate).into(),
        RivalResult::Failed { reason } => vec![Criterion {
            name: "compared".into(),
            passed: false,
            value: "not compared".to_owned(),
            required: "the champion's ranking of the test part".to_owned(),
            reason: Some(reason.clone()),
            ..Criterion::default()
        }],
    };
    Some(GateAgainst {
        champion: champion.model.clone(),
        passed: all_passed(&criteria),
        criteria,
    })
}

fn compared(evaluation: &Evaluation, champion: &Arm, over: &Gain, gate: &Gate) -> [Criterion; 3] {
    let (gap, champions) = (evaluation.ltr.fair_gap.gap, champion.fair_gap.gap);
    [
        not_worse("ndcg5", over.ndcg5, evaluation.cases_with_positive, gate),
        not_worse("mrr5", over.mrr5, evaluation.cases_with_relevant, gate),
        Criterion {
            name: "fair_gap".into(),
            passed: gap - champions <= gate.champion_fair_gap,
            value: format!("{gap:.4} ({:+.4})", gap - champions),
            required: format!("<= champion {champions:.4} + {}", gate.champion_fair_gap),
            ..Criterion::default()
        },
    ]
}

/// The loss must be below the margin, and not significant: the interval of the paired difference reaches 0. Without a
/// case nothing was compared.
fn not_worse(name: &'static str, gain: Interval, cases: usize, gate: &Gate) -> Criterion {
    Criterion {
        name: name.into(),
        passed: cases > 0 && gain.high >= 0.0 && gain.estimate >= -gate.champion_margin,
        value: format!(
            "{:+.4} [{:+.4}, {:+.4}], {cases} cases",
            gain.estimate, gain.low, gain.high
        ),
        required: format!(">= -{}, interval reaches 0", gate.champion_margin),
        ..Criterion::default()
    }
}

/// Prints how the model stands to the champion.
pub(super) fn print(champion: Option<&GateAgainst>) {
    let Some(against) = champion else {
        println!("champion: none to compare with");
        return;
    };
    println!("{}", criteria_table("against the champion", &against.criteria));
    println!("{}", sentence(against));
}

fn sentence(against: &GateAgainst) -> String {
    let version = &against.champion.version;
    if against.passed {
        return format!("champion: {version} may be replaced without a trial");
    }
    let reasons = against
        .criteria
        .iter()
        .filter_map(|criterion| criterion.reason.as_deref());
    let reasons: Vec<&str> = reasons.collect();
    let why = if reasons.is_empty() {
        failed(&against.criteria)
    } else {
        reasons
    };
    format!(
        "champion: {version} may NOT be replaced without a trial: {}",
        why.join(", ")
    )
}

#[cfg(test)]
mod tests;
