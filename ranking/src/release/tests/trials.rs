//! A challenger whom shadow figures do not decide on is tried.

use super::*;
use crate::outcomes::Verdict;

/// A judgement by which the model may be tried.
fn undecided(name: &str) -> Judgement {
    Judgement {
        trial: true,
        ..judgement(model(name), false)
    }
}

/// What interleaving says of a model.
pub(super) fn finding(model: ModelId, verdict: Verdict) -> TrialFinding {
    TrialFinding {
        model,
        as_of: at(0),
        verdict,
        broken_samplers: Vec::new(),
        evidence: json!({ "users": 9 }),
    }
}

fn may_be_tried(name: &str) -> Input {
    evaluation(Findings {
        judgements: vec![undecided(name)],
        ..Findings::default()
    })
}

fn found(name: &str, verdict: Verdict) -> Input {
    evaluation(Findings {
        judgements: vec![undecided(name)],
        trial: Some(finding(model(name), verdict)),
        ..Findings::default()
    })
}

/// On trial since hour 2.
fn tried(rules: &Rules) -> State {
    after(&[Input::Published(model("a")), may_be_tried("a")], rules)
}

#[test]
fn a_challenger_that_shadow_leaves_undecided_is_shown_drafted_in_turn_with_legacy() {
    let state = tried(&rules(vec![rung(0.1, 1.0, &[])]));
    let expected = Exposure {
        share: 0.4,
        display: Display::Interleaved,
        hold_out: 0.05,
    };
    assert_eq!((&state.phase, state.exposure), (&Phase::Trial, expected));
    let champion = state.champion.unwrap();
    assert_eq!((champion.model, champion.serving_since), (model("a"), Some(2)));
    assert_eq!(champion.grounds, Grounds::Trial { as_of: at(0) });
    assert_eq!(state.challenger, None);
}

#[test]
fn nothing_is_tried_on_hold_by_hand_with_no_share_after_a_rollback_or_beside_a_live_model() {
    let rules = rules(Vec::new());
    let shadow = after(&[Input::Published(model("a"))], &rules);
    let held = step(&shadow, &order(Command::Hold(true)), at(2), &rules)
        .unwrap()
        .unwrap();
    unchanged(&held.state, &may_be_tried("a"), at(3), &rules);
    let manual = Rules {
        automatic: false,
        ..rules.clone()
    };
    unchanged(&shadow, &may_be_tried("a"), at(2), &manual);
    let mut no_trials = rules.clone();
    no_trials.trial.share = 0.0;
    unchanged(&shadow, &may_be_tried("a"), at(2), &no_trials);
    // In the cool-down, and after it as long as the version is barred.
    let back = step(
        &tried(&rules),
        &order(Command::Rollback { blind: false }),
        at(3),
        &rules,
    );
    let back = back.unwrap().unwrap().state;
    let newer = step(&back, &Input::Published(model("b")), at(4), &rules)
        .unwrap()
        .unwrap();
    unchanged(&newer.state, &may_be_tried("b"), at(5), &rules);
    let live = after(
        &[
            Input::Published(model("a")),
            judged(model("a"), true),
            Input::Published(model("b")),
        ],
        &rules,
    );
    unchanged(&live, &may_be_tried("b"), at(9), &rules);
}

#[test]
fn clients_who_prefer_it_promote_it_to_the_first_rung_or_live() {
    for (ladder, phase) in [
        (Vec::new(), Phase::Live),
        (vec![rung(0.1, 1.0, &[])], Phase::Rung { index: 0 }),
    ] {
        let rules = rules(ladder);
        let better = step(&tried(&rules), &found("a", Verdict::Better), at(30), &rules);
        let better = better.unwrap().unwrap();
        assert_eq!((better.action, &better.state.phase), (Action::Promote, &phase));
        assert!(better.reason.contains("interleaving decided"), "{}", better.reason);
        assert_eq!(better.state.exposure.display, Display::Whole);
        assert_eq!(
            better.state.champion.unwrap().grounds,
            Grounds::Verdict { as_of: at(0) }
        );
    }
}

#[test]
fn by_a_broken_sampler_nobody_is_promoted_and_the_trial_ends_when_its_time_is_over() {
    let rules = rules(Vec::new());
    let found = |verdict| {
        evaluation(Findings {
            trial: Some(TrialFinding {
                broken_samplers: vec!["ladder"],
                ..finding(model("a"), verdict)
            }),
            ..Findings::default()
        })
    };
    unchanged(&tried(&rules), &found(Verdict::Better), at(9), &rules);
    let over = at(2) + rules.trial.patience;
    let ended = step(&tried(&rules), &found(Verdict::Better), over, &rules)
        .unwrap()
        .unwrap();
    assert_eq!((ended.action, ended.state.phase), (Action::Reject, Phase::Shadow));
    assert!(ended.reason.contains("ladder"), "{}", ended.reason);
    // Against the model it decides all the same: that is the safe side.
    let worse = step(&tried(&rules), &found(Verdict::Worse), at(9), &rules)
        .unwrap()
        .unwrap();
    assert_eq!(worse.action, Action::Reject);
}

#[test]
fn raw_figures_that_allow_it_after_all_promote_it_but_not_against_its_clients() {
    let rules = rules(Vec::new());
    let promoted = step(&tried(&rules), &judged(model("a"), true), at(9), &rules);
    assert_eq!(promoted.unwrap().unwrap().state.phase, Phase::Live);
    let both = evaluation(Findings {
        judgements: vec![judgement(model("a"), true)],
        trial: Some(finding(model("a"), Verdict::Worse)),
        ..Findings::default()
    });
    let rejected = step(&tried(&rules), &both, at(9), &rules).unwrap().unwrap();
    assert_eq!(rejected.action, Action::Reject);
}

#[test]
fn clients_who_prefer_legacy_send_it_back_for_good_and_the_next_one_gets_its_turn() {
    let rules = rules(Vec::new());
    let waiting = step(&tried(&rules), &Input::Published(model("b")), at(3), &rules);
    let waiting = waiting.unwrap().unwrap().state;
    unchanged(&waiting, &may_be_tried("b"), at(4), &rules);
    unchanged(&waiting, &judged(model("b"), true), at(4), &rules);
    let worse = step(&waiting, &found("a", Verdict::Worse), at(5), &rules)
        .unwrap()
        .unwrap();
    assert_eq!((worse.action, &worse.state.phase), (Action::Reject, &Phase::Shadow));
    assert!(!worse.state.serves() && worse.state.barred == ["a"]);
    let next = step(&worse.state, &may_be_tried("b"), at(6), &rules).unwrap().unwrap();
    assert_eq!(next.state.champion.unwrap().model, model("b"));
}

#[test]
fn patience_ends() {
    let rules = rules(Vec::new());
    let state = tried(&rules);
    let hours = 60 * 24;
    unchanged(&state, &found("a", Verdict::Undecided), at(2 + hours - 1), &rules);
    // Without a look at the outcomes nothing is decided.
    unchanged(&state, &may_be_tried("a"), at(2 + hours), &rules);
    let rejected = step(&state, &found("a", Verdict::Undecided), at(2 + hours), &rules);
    let rejected = rejected.unwrap().unwrap();
    assert_eq!(rejected.action, Action::Reject);
    assert!(rejected.reason.contains("60 days"), "{}", rejected.reason);
}

#[test]
fn a_better_model_waits_while_promotions_are_on_hold_and_a_worse_one_does_not() {
    let rules = rules(Vec::new());
    let held = step(&tried(&rules), &order(Command::Hold(true)), at(3), &rules)
        .unwrap()
        .unwrap()
        .state;
    unchanged(&held, &found("a", Verdict::Better), at(9_000), &rules);
    let worse = step(&held, &found("a", Verdict::Worse), at(4), &rules)
        .unwrap()
        .unwrap();
    assert_eq!(worse.action, Action::Reject);
}

#[test]
fn the_technical_watch_rolls_a_trial_back() {
    let rules = rules(Vec::new());
    let state = tried(&rules);
    let back = step(&state, &unhealthy(&state), at(3), &rules).unwrap().unwrap();
    assert_eq!(back.action, Action::Rollback);
    assert_eq!(back.state.barred, ["a"]);
}

#[test]
fn what_interleaving_says_of_another_model_decides_nothing() {
    let rules = rules(Vec::new());
    for verdict in [Verdict::Better, Verdict::Worse] {
        unchanged(&tried(&rules), &found("b", verdict), at(9), &rules);
    }
}

#[test]
fn an_operator_who_gives_a_model_on_trial_a_share_answers_for_it() {
    let rules = rules(Vec::new());
    let manual = step(&tried(&rules), &weight(30, None), at(3), &rules)
        .unwrap()
        .unwrap()
        .state;
    let grounds = Grounds::Operator { actor: "ann".into() };
    assert_eq!((manual.champion.unwrap().grounds, manual.form), (grounds, 1));
    assert_eq!(manual.exposure.display, Display::Whole);
}

#[test]
fn a_program_before_trials_reads_all_but_trials_and_a_state_of_it_is_read() {
    let rules = rules(Vec::new());
    assert_eq!(tried(&rules).form, 2);
    let better = step(&tried(&rules), &found("a", Verdict::Better), at(9), &rules);
    let live = better.unwrap().unwrap().state;
    assert_eq!(live.form, 1);
    let text = serde_json::to_string(&live).unwrap();
    assert!(!text.contains("trial"), "{text}");
}
