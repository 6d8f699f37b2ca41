use ranking::release::ModelId;

use super::*;
use crate::evaluate::{Champion, Rival};
use crate::gate::tests::{arm, good};

fn gain(ndcg5: (f64, f64), debiased: (f64, f64)) -> Gain {
    let interval = |(low, high): (f64, f64)| Interval {
        estimate: (low + high) / 2.0,
        low,
        high,
    };
    Gain {
        ndcg5: interval(ndcg5),
        mrr5: Interval::point(0.0),
        debiased: interval(debiased),
        weighted: None,
    }
}

fn rival(name: &str, result: RivalResult) -> Rival {
    Rival {
        name: name.to_owned(),
        result,
    }
}

fn judged(over: Gain) -> RivalResult {
    RivalResult::Judged {
        arm: Box::new(arm(0.5, 0.5, 0.0)),
        over,
    }
}

#[test]
fn a_better_rival_and_a_failed_one_are_named() {
    let evaluation = Evaluation {
        rivals: vec![
            rival("regression", judged(gain((-0.02, -0.01), (-0.02, 0.01)))),
            rival("behind", judged(gain((0.01, 0.02), (0.01, 0.02)))),
            rival(
                "gbdt",
                RivalResult::Failed {
                    reason: "predicts one value for every row".to_owned(),
                },
            ),
        ],
        ..good()
    };
    assert_eq!(
        remarks(&evaluation),
        [
            "regression: better than ltr on nDCG@5 as shown, by 0.0150",
            "regression: ahead of ltr, but not significantly, on debiased nDCG@5, by 0.0050",
            "gbdt: failed, not comparable: predicts one value for every row",
        ]
    );
}

#[test]
fn it_is_stated_if_no_rival_is_ahead() {
    let evaluation = Evaluation {
        rivals: vec![rival("behind", judged(gain((0.01, 0.02), (0.01, 0.02))))],
        ..good()
    };
    assert_eq!(remarks(&evaluation), ["no rival is ahead of ltr"]);
}

#[test]
fn a_champion_is_named_with_its_version_before_the_rivals() {
    let champion = |result| Champion {
        model: ModelId {
            version: "20261001T021500Z".to_owned(),
            sha256: None,
        },
        result,
    };
    let reason = "there is no artefact".to_owned();
    for (result, remark) in [
        (
            judged(gain((-0.02, -0.01), (0.01, 0.02))),
            "better than ltr on nDCG@5 as shown, by 0.0150",
        ),
        (
            RivalResult::Failed { reason },
            "failed, not comparable: there is no artefact",
        ),
    ] {
        let evaluation = Evaluation {
            champion: Some(champion(result)),
            ..good()
        };
        assert_eq!(remarks(&evaluation), [format!("champion 20261001T021500Z: {remark}")]);
    }
}
