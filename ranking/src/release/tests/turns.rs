//! Whose turn it is.

use super::*;

fn one_by_one() -> Rules {
    Rules {
        queues: true,
        ..rules(Vec::new())
    }
}

fn futile(name: &str) -> Input {
    evaluation(Findings {
        judgements: vec![Judgement {
            futility: Some("decided against it: fair_gap".to_owned()),
            ..judgement(model(name), false)
        }],
        ..Findings::default()
    })
}

/// An evaluation of a nightly model while another one is live, with this outcome of its guards.
fn guarded(name: &str, holds: bool) -> Input {
    evaluation(Findings {
        judgements: vec![Judgement {
            guards: Some(vec![criterion("gate", true), criterion("top3", holds)]),
            ..judgement(model(name), false)
        }],
        ..Findings::default()
    })
}

#[test]
fn models_that_are_judged_one_by_one_wait_for_each_other_and_no_queue_waits_for_ever() {
    let rules = one_by_one();
    let published = |name| Input::Published(model(name));
    let waiting = after(&[published("a"), published("b"), published("c")], &rules);
    assert_eq!(
        (waiting.challenger.clone(), waiting.next.clone()),
        (Some(model("a")), Some(model("c"))),
        "of those who wait, the newest"
    );
    unchanged(&waiting, &published("c"), at(4), &rules);
    unchanged(&waiting, &judged(model("a"), false), at(4), &rules);
    let next = after(
        &[
            published("a"),
            published("c"),
            futile("a"),
            evaluation(Findings::default()),
        ],
        &rules,
    );
    assert_eq!((next.challenger.clone(), next.next.clone()), (Some(model("c")), None));
    assert_eq!(
        (next.barred.clone(), next.phase.clone()),
        (vec!["a".to_owned()], Phase::Shadow)
    );
    // Also while another one is live.
    let live = after(
        &[published("a"), judged(model("a"), true), published("b"), futile("b")],
        &rules,
    );
    assert_eq!((live.phase.clone(), live.challenger.clone()), (Phase::Live, None));
    assert!(live.serves() && live.barred == ["b"]);
}

#[test]
fn nights_of_one_pipeline_do_not_wait_and_are_given_up_in_shadow_alone() {
    let rules = rules(Vec::new());
    let published = |name| Input::Published(model(name));
    let newest = after(&[published("a"), published("b")], &rules);
    assert_eq!((newest.challenger, newest.next), (Some(model("b")), None));
    let given_up = after(&[published("a"), futile("a")], &rules);
    assert_eq!((given_up.challenger, given_up.barred), (None, vec!["a".to_owned()]));
    let live = after(&[published("a"), judged(model("a"), true), published("b")], &rules);
    unchanged(&live, &futile("b"), at(4), &rules);
    // An operator's hold stops this, too.
    let held = after(&[published("a"), order(Command::Hold(true))], &rules);
    unchanged(&held, &futile("a"), at(3), &rules);
}

#[test]
fn a_nightly_model_takes_the_place_of_last_nights_if_its_guards_hold_and_is_named_as_that() {
    let pipeline = rules(Vec::new());
    let start = [
        Input::Published(model("a")),
        judged(model("a"), true),
        Input::Published(model("b")),
    ];
    let live = after(&start, &pipeline);
    unchanged(&live, &guarded("b", false), at(4), &pipeline);
    unchanged(&live, &guarded("c", true), at(4), &pipeline);
    let none = evaluation(Findings {
        judgements: vec![Judgement {
            guards: Some(Vec::new()),
            ..judgement(model("b"), false)
        }],
        ..Findings::default()
    });
    unchanged(&live, &none, at(4), &pipeline);
    let next = step(&live, &guarded("b", true), at(4), &pipeline).unwrap().unwrap();
    assert_eq!(next.action, Action::Replace);
    let champion = next.state.champion.clone().unwrap();
    assert_eq!(champion.model, model("b"));
    assert!(matches!(champion.grounds, Grounds::Replacement { of, .. } if of == "a"));
    assert_eq!((next.state.exposure, next.state.since), (live.exposure, live.since));
    // The technical watch counts anew.
    assert_eq!(champion.serving_since, Some(next.state.version));
    // Where models are judged one by one nothing is replaced without a verdict, and on the ladder nothing is disturbed.
    let alone = after(&start, &one_by_one());
    unchanged(&alone, &guarded("b", true), at(4), &one_by_one());
    let ladder = rules(vec![rung(0.1, 24.0, &[])]);
    unchanged(&after(&start, &ladder), &guarded("b", true), at(4), &ladder);
    // A pinned model is replaced by none.
    let pinned = after(
        &[start[0].clone(), order(Command::Pin(model("a"))), start[2].clone()],
        &pipeline,
    );
    unchanged(&pinned, &guarded("b", true), at(4), &pipeline);
}

#[test]
fn each_decision_of_a_year_takes_its_share_of_the_budget() {
    let rules = rules(Vec::new());
    let level = |state: &State| state.level(state.since, 0.05);
    let shadow = after(&[Input::Published(model("a"))], &rules);
    let first = level(&shadow);
    assert!((first - 0.05 * 6.0 / std::f64::consts::PI.powi(2)).abs() < 1e-12);
    let given_up = after(&[Input::Published(model("a")), futile("a")], &rules);
    assert!(
        (level(&given_up) - first / 4.0).abs() < 1e-12,
        "what was given up is paid for"
    );
    let promoted = after(&[Input::Published(model("a")), judged(model("a"), true)], &rules);
    assert!(
        (level(&promoted) - first / 2.0).abs() < 1e-12,
        "a promotion gives some of it back"
    );
    let next_year = given_up.since + TimeDelta::days(366);
    assert_eq!(given_up.level(next_year, 0.05), first, "each year begins anew");
}
