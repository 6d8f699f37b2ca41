use ranking::release::ModelId;

use super::*;
use crate::evaluate::Champion;
use crate::gate::tests::{arm, good};

fn interval(estimate: f64, low: f64, high: f64) -> Interval {
    Interval { estimate, low, high }
}

/// An evaluation against a champion with the given gains of the model over it, and the champion's fair gap.
fn evaluation(ndcg5: Interval, mrr5: Interval, fair_gap: f64) -> Evaluation {
    let result = RivalResult::Judged {
        arm: Box::new(arm(0.5, 0.4, fair_gap)),
        over: Gain {
            ndcg5,
            mrr5,
            debiased: Interval::point(-1.0),
            weighted: None,
        },
    };
    with(result)
}

fn with(result: RivalResult) -> Evaluation {
    Evaluation {
        champion: Some(Champion {
            model: ModelId {
                version: "20261001T021500Z".to_owned(),
                sha256: Some("a".repeat(64)),
            },
            result,
        }),
        ..good()
    }
}

#[test]
fn a_model_that_is_not_worse_may_replace_the_champion() {
    let same = Interval::point(0.0);
    for (ndcg5, mrr5, fair_gap) in [
        (same, same, 0.05),
        (interval(0.02, 0.01, 0.03), interval(0.02, 0.01, 0.03), 0.2),
        // Within the margin, and not significant.
        (interval(-0.01, -0.03, 0.0), interval(-0.005, -0.02, 0.01), 0.0301),
    ] {
        let evaluation = evaluation(ndcg5, mrr5, fair_gap);
        let champion = judge(&evaluation, &Gate::default()).unwrap();
        assert!(champion.passed, "{champion:?}");
        assert_eq!(
            sentence(&champion),
            "champion: 20261001T021500Z may be replaced without a trial"
        );
    }
}

#[test]
fn each_criterion_alone_keeps_the_champion_and_none_of_them_stops_a_publication() {
    let same = Interval::point(0.0);
    let significant = interval(-0.004, -0.006, -0.002);
    let beyond_margin = interval(-0.0101, -0.03, 0.01);
    let unknown = interval(f64::NAN, f64::NAN, f64::NAN);
    for (name, ndcg5, mrr5, fair_gap) in [
        ("ndcg5", significant, same, 0.05),
        ("ndcg5", beyond_margin, same, 0.05),
        ("ndcg5", unknown, same, 0.05),
        ("mrr5", same, significant, 0.05),
        ("mrr5", same, beyond_margin, 0.05),
        ("mrr5", same, unknown, 0.05),
        ("fair_gap", same, same, 0.0299),
        ("fair_gap", same, same, f64::NAN),
    ] {
        let result = super::super::judge(&evaluation(ndcg5, mrr5, fair_gap), &Gate::default());
        let champion = result.champion.unwrap();
        assert!(!champion.passed && result.passed, "{champion:?}");
        assert_eq!(failed(&champion.criteria), [name]);
        assert!(sentence(&champion).ends_with(&format!("may NOT be replaced without a trial: {name}")));
    }
}

#[test]
fn a_comparison_without_a_case_shows_nothing() {
    let same = Interval::point(0.0);
    let mut evaluation = evaluation(same, same, 0.05);
    (evaluation.cases_with_positive, evaluation.cases_with_relevant) = (0, 0);
    let champion = judge(&evaluation, &Gate::default()).unwrap();
    assert_eq!(failed(&champion.criteria), ["ndcg5", "mrr5"]);
}

#[test]
fn a_champion_that_was_not_compared_is_never_passed_and_the_sentence_says_why() {
    let reason = "there is no artefact \"20261001T021500Z\" in var/models/ltr".to_owned();
    let evaluation = with(RivalResult::Failed { reason: reason.clone() });
    let champion = judge(&evaluation, &Gate::default()).unwrap();
    assert!(!champion.passed);
    assert_eq!(failed(&champion.criteria), ["compared"]);
    assert!(sentence(&champion).ends_with(&reason), "{}", sentence(&champion));
    assert_eq!(judge(&good(), &Gate::default()), None);
}

#[test]
fn the_margins_are_configuration() {
    let loss = interval(-0.05, -0.1, 0.01);
    let lenient = Gate {
        champion_margin: 0.05,
        champion_fair_gap: 0.05,
        ..Gate::default()
    };
    let evaluation = evaluation(loss, loss, 0.0);
    assert!(judge(&evaluation, &lenient).unwrap().passed);
    let champion = judge(&evaluation, &Gate::default()).unwrap();
    assert_eq!(failed(&champion.criteria), ["ndcg5", "mrr5", "fair_gap"]);
}
