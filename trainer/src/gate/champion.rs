//! Whether a model may replace the champion without a trial: it must not be worse on the same test part.

use ranking::Interval;
use ranking::criterion::{Criterion, all_passed, failed};
use serde::{Deserialize, Serialize};
use settings::Gate;

use super::criteria_table;
use crate::evaluate::{Arm, Evaluation, Gain, RivalResult};

/// How the model stands to the champion.
///
/// It says whether the model may take the champion's place without a trial. It does not say whether the model may be
/// published: a model that is worse may still be compared in shadow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChampionGate {
    /// The champion's version.
    pub version: String,
    /// SHA-256 of the champion's component: the one that was judged, or else the one on record, if any is.
    pub sha256: Option<String>,
    /// Whether every criterion is met.
    pub passed: bool,
    /// `ndcg5`, `mrr5` and `fair_gap`; or `compared` alone, which is not met, with its reason.
    pub criteria: Vec<Criterion>,
}

/// Judges the comparison with the champion; `None`: there was no champion to compare with. A NaN fails its criterion.
pub(super) fn judge(evaluation: &Evaluation, gate: &Gate) -> Option<ChampionGate> {
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
    Some(ChampionGate {
        version: champion.version.clone(),
        sha256: champion.sha256.clone(),
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
pub(super) fn print(champion: Option<&ChampionGate>) {
    let Some(champion) = champion else {
        println!("champion: none to compare with");
        return;
    };
    println!("{}", criteria_table("against the champion", &champion.criteria));
    println!("{}", sentence(champion));
}

fn sentence(champion: &ChampionGate) -> String {
    let version = &champion.version;
    if champion.passed {
        return format!("champion: {version} may be replaced without a trial");
    }
    let reasons = champion.criteria.iter().filter_map(|criterion| criterion.reason.as_deref());
    let why: Vec<&str> = reasons.collect();
    let why = if why.is_empty() { failed(&champion.criteria) } else { why };
    format!(
        "champion: {version} may NOT be replaced without a trial: {}",
        why.join(", ")
    )
}

#[cfg(test)]
mod tests;
