use chrono::{DateTime, Utc};
use ranking::{FairGap, Interval};

use super::*;
use crate::evaluate::{Arm, Gain, Latency, Propensities};
use crate::split::Part;

pub(crate) fn arm(ndcg5: f64, mrr5: f64, gap: f64) -> Arm {
    Arm {
        ndcg5: Interval::point(ndcg5),
        mrr5: Interval::point(mrr5),
        debiased_ndcg5: Interval::point(ndcg5),
        weighted: None,
        ndcg5_raw: 0.0,
        mrr5_raw: 0.0,
        fair_gap: FairGap {
            gap,
            attribute: Some("gender".to_owned()),
            ..FairGap::default()
        },
        fair_gap_interval: Interval::point(gap),
    }
}

/// An evaluation that passes all default thresholds, the strict ones barely.
pub(crate) fn good() -> Evaluation {
    let gain = Gain {
        ndcg5: Interval::point(0.0),
        mrr5: Interval::point(0.0),
        debiased: Interval::point(0.0),
        weighted: None,
    };
    Evaluation {
        model_sha256: String::new(),
        feature_map_sha256: String::new(),
        matrix_sha256: String::new(),
        test: Part {
            start: DateTime::<Utc>::UNIX_EPOCH,
            end: DateTime::<Utc>::UNIX_EPOCH,
            cases: 1,
            rows: 2,
        },
        cases_without_load: 0,
        cases_with_positive: 1,
        cases_with_relevant: 1,
        confidence: 0.95,
        objective: "lambdarank".to_owned(),
        propensities: Propensities::default(),
        ltr: arm(0.5, 0.4001, 0.05),
        legacy: arm(0.25, 0.4, 0.2),
        over_legacy: gain,
        champion: None,
        rivals: Vec::new(),
        latency: Latency {
            calls: 1,
            rows: 1,
            p50_ms: 1.0,
            p95_ms: 14.999,
            p99_ms: 100.0,
        },
    }
}

#[test]
fn a_model_that_meets_every_threshold_passes() {
    let result = judge(&good(), &Gate::default());
    assert!(result.passed, "{result:?}");
    let exactly = Gate {
        ndcg5_gain: 0.25,
        ..Gate::default()
    };
    assert!(judge(&good(), &exactly).passed, "the nDCG threshold itself is enough");
}

#[test]
fn each_criterion_alone_stops_a_model() {
    type Spoil = fn(&mut Evaluation);
    let cases: [(&str, Spoil); 8] = [
        ("ndcg5", |e| e.ltr.ndcg5.estimate = 0.2799),
        ("ndcg5", |e| e.ltr.ndcg5.estimate = f64::NAN),
        ("mrr5", |e| e.ltr.mrr5.estimate = 0.4),
        ("mrr5", |e| e.legacy.mrr5.estimate = f64::NAN),
        ("fair_gap", |e| e.ltr.fair_gap.gap = 0.0501),
        ("fair_gap", |e| e.ltr.fair_gap.gap = f64::NAN),
        ("latency_p95", |e| e.latency.p95_ms = 15.0),
        ("latency_p95", |e| e.latency.p95_ms = f64::NAN),
    ];
    for (name, spoil) in cases {
        let mut evaluation = good();
        spoil(&mut evaluation);
        let result = judge(&evaluation, &Gate::default());
        assert!(!result.passed);
        assert_eq!(failed(&result.criteria), [name]);
    }
}

#[test]
fn thresholds_are_configuration() {
    let strict = Gate {
        ndcg5_gain: 0.3,
        mrr5_gain: 0.1,
        fair_gap: 0.01,
        latency_p95_ms: 1.0,
        ..Gate::default()
    };
    let result = judge(&good(), &strict);
    assert!(result.criteria.iter().all(|criterion| !criterion.passed), "{result:?}");
}

#[test]
fn weighted_gains_are_shown_and_decide_nothing() {
    let unknown = judge(&good(), &Gate::default());
    for figure in &unknown.informative {
        assert_eq!(figure.value, "not known");
        assert!(figure.reason.contains("evaluate.eta is not set"), "{figure:?}");
    }
    let mut evaluation = good();
    evaluation.propensities = Propensities::Known {
        eta: 1.0,
        clip: 10.0,
        effective_cases: 50.4,
    };
    let weighted = |ndcg5, mrr5| {
        Some(Weighted {
            ndcg5: Interval::point(ndcg5),
            mrr5: Interval::point(mrr5),
        })
    };
    evaluation.ltr.weighted = weighted(0.4, 0.3);
    evaluation.over_legacy.weighted = weighted(-0.05, -0.1);
    let result = judge(&evaluation, &Gate::default());
    assert!(result.passed, "{result:?}");
    let shown: Vec<(&str, &str)> = result.informative.iter().map(|f| (&*f.name, &*f.value)).collect();
    assert_eq!(
        shown,
        [
            ("weighted_ndcg5", "0.4000 (-0.0500 [-0.0500, -0.0500])"),
            ("weighted_mrr5", "0.3000 (-0.1000 [-0.1000, -0.1000])")
        ]
    );
    let reason = &result.informative[0].reason;
    assert!(
        reason.contains("rank^1, at most 10") && reason.contains("50 cases"),
        "{reason}"
    );
    // A verdict of an older program has none.
    let older: GateResult = serde_json::from_str("{\"passed\": true, \"criteria\": []}").unwrap();
    assert_eq!(older.informative, []);
}
