//! Prints an evaluation as tables.

use ranking::Interval;

use super::{Arm, Evaluation, Gain, Propensities, RivalResult, Weighted, rival_is_better};
use crate::console;

/// Prints the arms, the gains, the groups behind the fair gap, and the latency.
pub fn print_evaluation(evaluation: &Evaluation) {
    let part = &evaluation.test;
    println!(
        "test part: {} cases, {} rows, {} to {} ({} cases with a positive label, {} left out without load)",
        part.cases,
        part.rows,
        part.start.date_naive(),
        part.end.date_naive(),
        evaluation.cases_with_positive,
        evaluation.cases_without_load
    );
    let mut table = console::table(&[
        "ranking",
        "nDCG@5",
        "MRR@5",
        "debiased nDCG@5",
        "weighted nDCG@5",
        "weighted MRR@5",
        "fair gap",
        "worst attribute",
        "nDCG@5 raw",
        "MRR@5 raw",
    ]);
    let ltr = format!("ltr ({})", evaluation.objective);
    table.add_row(arm_row(&ltr, &evaluation.ltr));
    table.add_row(arm_row("legacy", &evaluation.legacy));
    for (name, result) in others(evaluation) {
        match result {
            RivalResult::Judged { arm, .. } => table.add_row(arm_row(&name, arm)),
            RivalResult::Failed { reason } => table.add_row(vec![name, format!("FAILED: {reason}")]),
        };
    }
    table.add_row(gain_row("legacy", &evaluation.over_legacy));
    for (name, result) in others(evaluation) {
        if let Some(over) = result.over() {
            table.add_row(gain_row(&name, over));
        }
    }
    println!("{table}");
    println!("{}", how_weighted(&evaluation.propensities));
    for line in remarks(evaluation) {
        println!("{line}");
    }
    print_groups(evaluation);
    let latency = &evaluation.latency;
    println!(
        "component, {} calls of {} rows: p50 {:.3} ms, p95 {:.3} ms, p99 {:.3} ms",
        latency.calls, latency.rows, latency.p50_ms, latency.p95_ms, latency.p99_ms
    );
}

/// The champion and the rivals, by name.
fn others(evaluation: &Evaluation) -> impl Iterator<Item = (String, &RivalResult)> {
    let champion = evaluation.champion.iter();
    let champion = champion.map(|champion| (format!("champion {}", champion.model.version), &champion.result));
    let rivals = evaluation.rivals.iter();
    champion.chain(rivals.map(|rival| (rival.name.clone(), &rival.result)))
}

/// How the weighted metrics are weighted, or why there are none.
pub(crate) fn how_weighted(propensities: &Propensities) -> String {
    match propensities {
        Propensities::Unknown { reason } => format!("weighted metrics: not known: {reason}"),
        Propensities::Known {
            eta,
            clip,
            effective_cases,
        } => format!(
            "weighted metrics: an action counts rank^{eta}, at most {clip}, by the rank where it was displayed; as good as \
             {effective_cases:.0} cases of equal weight"
        ),
    }
}

/// One line for the champion and each rival that failed or is ahead of the model.
fn remarks(evaluation: &Evaluation) -> Vec<String> {
    let mut remarks = Vec::new();
    for (name, result) in others(evaluation) {
        let over = match result {
            RivalResult::Failed { reason } => {
                remarks.push(format!("{name}: failed, not comparable: {reason}"));
                continue;
            }
            RivalResult::Judged { over, .. } => over,
        };
        let gains = [
            ("nDCG@5 as shown", over.ndcg5),
            ("MRR@5 as shown", over.mrr5),
            ("debiased nDCG@5", over.debiased),
        ];
        let weighted = over
            .weighted
            .map(|Weighted { ndcg5, mrr5 }| [("weighted nDCG@5", ndcg5), ("weighted MRR@5", mrr5)]);
        for (metric, gain) in gains.into_iter().chain(weighted.into_iter().flatten()) {
            let better = if rival_is_better(&gain) {
                "better than ltr"
            } else if gain.estimate < 0.0 {
                "ahead of ltr, but not significantly,"
            } else {
                continue;
            };
            remarks.push(format!("{name}: {better} on {metric}, by {:.4}", -gain.estimate));
        }
    }
    if remarks.is_empty() && !evaluation.rivals.is_empty() {
        remarks.push("no rival is ahead of ltr".to_owned());
    }
    remarks
}

fn gain_row(rival: &str, gain: &Gain) -> Vec<String> {
    let mut row = vec![
        format!("ltr - {rival}"),
        interval(gain.ndcg5),
        interval(gain.mrr5),
        interval(gain.debiased),
    ];
    row.extend(weighted_cells(gain.weighted));
    row
}

fn weighted_cells(weighted: Option<Weighted>) -> [String; 2] {
    match weighted {
        Some(Weighted { ndcg5, mrr5 }) => [interval(ndcg5), interval(mrr5)],
        None => ["not known", "not known"].map(str::to_owned),
    }
}

fn arm_row(name: &str, arm: &Arm) -> Vec<String> {
    let [weighted_ndcg5, weighted_mrr5] = weighted_cells(arm.weighted);
    vec![
        name.to_owned(),
        interval(arm.ndcg5),
        interval(arm.mrr5),
        interval(arm.debiased_ndcg5),
        weighted_ndcg5,
        weighted_mrr5,
        interval(Interval {
            estimate: arm.fair_gap.gap,
            ..arm.fair_gap_interval
        }),
        arm.fair_gap.attribute.clone().unwrap_or_else(|| "-".to_owned()),
        format!("{:.4}", arm.ndcg5_raw),
        format!("{:.4}", arm.mrr5_raw),
    ]
}

fn print_groups(evaluation: &Evaluation) {
    let mut table = console::table(&["attribute", "group", "rows", "mean fair ltr", "mean fair legacy"]);
    for (attribute, groups) in &evaluation.ltr.fair_gap.by_attribute {
        let legacy = &evaluation.legacy.fair_gap.by_attribute[attribute];
        for (group, mean) in groups {
            let rows = if mean.counted {
                mean.rows.to_string()
            } else {
                format!("{} (too few)", mean.rows)
            };
            table.add_row(vec![
                attribute.clone(),
                group.clone(),
                rows,
                format!("{:.4}", mean.mean),
                format!("{:.4}", legacy[group].mean),
            ]);
        }
    }
    if !evaluation.ltr.fair_gap.by_attribute.is_empty() {
        println!("{table}");
    }
}

fn interval(interval: Interval) -> String {
    format!("{:.4} [{:.4}, {:.4}]", interval.estimate, interval.low, interval.high)
}

#[cfg(test)]
mod tests;
