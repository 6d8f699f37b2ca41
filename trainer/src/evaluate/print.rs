//! An evaluation, for people.

use ranking::Interval;

use super::{Arm, Evaluation};
use crate::console;

/// Prints the arms, the gains and the groups behind the fair gap.
pub fn print_evaluation(evaluation: &Evaluation) {
    let part = &evaluation.test;
    println!(
        "test part: {} cases, {} rows, {} to {} ({} with a positive label, {} left out without load)",
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
        "fair gap",
        "worst attribute",
        "nDCG@5 raw",
        "MRR@5 raw",
    ]);
    for (name, arm) in [
        ("ltr", &evaluation.ltr),
        ("legacy", &evaluation.legacy),
        ("pointwise gbdt", &evaluation.pointwise),
    ] {
        table.add_row(arm_row(name, arm));
    }
    for (name, gain) in [
        ("ltr - legacy", evaluation.over_legacy),
        ("ltr - pointwise", evaluation.over_pointwise),
    ] {
        table.add_row(vec![name.to_owned(), interval(gain.ndcg5), interval(gain.mrr5)]);
    }
    println!("{table}");
    print_groups(evaluation);
    let latency = &evaluation.latency;
    println!(
        "component, {} calls of {} rows: p50 {:.3} ms, p95 {:.3} ms, p99 {:.3} ms",
        latency.calls, latency.rows, latency.p50_ms, latency.p95_ms, latency.p99_ms
    );
}

fn arm_row(name: &str, arm: &Arm) -> Vec<String> {
    vec![
        name.to_owned(),
        interval(arm.ndcg5),
        interval(arm.mrr5),
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
