use serde_json::json;

use super::*;

mod histories;
mod trials;
mod turns;

fn at(hours: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::hours(500_000 + hours)
}

fn model(name: &str) -> ModelId {
    ModelId {
        version: name.to_owned(),
        sha256: Some(format!("sha of {name}")),
    }
}

fn rules(ladder: Vec<Rung>) -> Rules {
    Rules {
        ladder,
        hold_out: 0.05,
        trial: TrialStep {
            share: 0.4,
            patience: TimeDelta::days(60),
        },
        confirm: Exposure::whole(0.5),
        cool_down: TimeDelta::hours(24),
        automatic: true,
        queues: false,
    }
}

fn rung(share: f64, min_hours: f64, criteria: &[&str]) -> Rung {
    Rung {
        share,
        display: Display::Whole,
        min_hours,
        criteria: criteria.iter().map(|&name| name.to_owned()).collect(),
    }
}

fn criterion(name: &'static str, passed: bool) -> Criterion {
    Criterion {
        name: name.into(),
        passed,
        value: "1".into(),
        required: "2".into(),
        ..Criterion::default()
    }
}

fn judgement(model: ModelId, promote: bool) -> Judgement {
    Judgement {
        model,
        as_of: at(0),
        promote,
        trial: false,
        futility: None,
        guards: None,
        criteria: vec![criterion("hit3", promote), criterion("fair_gap", true)],
        evidence: json!({ "cases": 7 }),
    }
}

fn evaluation(findings: Findings) -> Input {
    Input::Evaluation(findings)
}

fn judged(model: ModelId, promote: bool) -> Input {
    evaluation(Findings {
        judgements: vec![judgement(model, promote)],
        ..Findings::default()
    })
}

fn order(command: Command) -> Input {
    Input::Order(Order {
        command,
        actor: "ann".into(),
        reason: "because".into(),
    })
}

fn weight(percent: u8, model: Option<ModelId>) -> Input {
    order(Command::Weight { percent, model })
}

/// An evaluation of a model that serves well, and the verdict on it.
fn well(state: &State, promote: Option<bool>) -> Input {
    let champion = state.champion.as_ref().unwrap();
    evaluation(Findings {
        judgements: promote
            .map(|promote| judgement(champion.model.clone(), promote))
            .into_iter()
            .collect(),
        health: Some(Health {
            model: champion.model.clone(),
            serving_since: champion.serving_since.unwrap_or_default(),
            is_enough: true,
            criteria: vec![criterion("latency", true)],
        }),
        ..Findings::default()
    })
}

fn unhealthy(state: &State) -> Input {
    let champion = state.champion.as_ref().unwrap();
    evaluation(Findings {
        health: Some(Health {
            model: champion.model.clone(),
            serving_since: champion.serving_since.unwrap_or_default(),
            is_enough: true,
            criteria: vec![criterion("latency", false)],
        }),
        ..Findings::default()
    })
}

/// The state after these inputs, each an hour after the one before; each must change something.
fn after(inputs: &[Input], rules: &Rules) -> State {
    let mut state = State::new(at(0));
    for (hour, input) in (1..).zip(inputs) {
        let next = step(&state, input, at(hour), rules).unwrap();
        state = next.unwrap_or_else(|| panic!("{input:?} changes nothing")).state;
    }
    state
}

fn unchanged(state: &State, input: &Input, now: DateTime<Utc>, rules: &Rules) {
    assert_eq!(step(state, input, now, rules), Ok(None), "{input:?}");
}

#[test]
fn a_model_is_compared_promoted_by_its_verdict_and_serves_all_but_the_hold_out() {
    let rules = rules(Vec::new());
    let shadow = after(&[Input::Published(model("a"))], &rules);
    unchanged(&shadow, &judged(model("a"), false), at(2), &rules);
    let live = after(&[Input::Published(model("a")), judged(model("a"), true)], &rules);
    assert_eq!(live.phase, Phase::Live);
    assert_eq!(
        (live.exposure.share, live.exposure.hold_out, live.exposure.percent()),
        (1.0, 0.05, 95)
    );
    let champion = live.champion.clone().unwrap();
    assert_eq!((champion.model, champion.serving_since), (model("a"), Some(2)));
    assert_eq!(live.challenger, None);
}

#[test]
fn what_was_judged_is_what_is_swapped_in() {
    let rules = rules(Vec::new());
    let state = after(&[Input::Published(model("a")), Input::Published(model("b"))], &rules);
    unchanged(&state, &judged(model("a"), true), at(3), &rules);
    let other_content = ModelId {
        sha256: Some("another".into()),
        ..model("b")
    };
    unchanged(&state, &judged(other_content.clone(), true), at(3), &rules);
    let refused = step(
        &state,
        &order(Command::Promote(judgement(model("a"), true))),
        at(3),
        &rules,
    );
    assert_eq!(refused.unwrap_err().code(), "changed");
    let refused = step(&state, &Input::Published(other_content), at(3), &rules);
    assert_eq!(refused.unwrap_err().code(), "other_content");
}

#[test]
fn a_model_that_was_published_around_the_gate_is_a_challenger_and_the_ledger_says_by_whom() {
    let rules = rules(Vec::new());
    let input = Input::Ungated(model("a"), "simulate".to_owned());
    let proposed = step(&after(&[], &rules), &input, at(1), &rules).unwrap().unwrap();
    assert_eq!(proposed.state.challenger, Some(model("a")));
    assert_eq!(proposed.evidence["gate_bypassed_as"], "simulate");
    assert_eq!(proposed.reason, "published around the gate, as \"simulate\"");
    let gated = step(&after(&[], &rules), &Input::Published(model("a")), at(1), &rules)
        .unwrap()
        .unwrap();
    assert_eq!(gated.evidence.get("gate_bypassed_as"), None);
}

#[test]
fn the_ladder_is_climbed_rung_by_rung_after_its_time_and_while_its_criteria_hold() {
    let rules = rules(vec![rung(0.05, 24.0, &[]), rung(0.5, 1.0, &["hit3"])]);
    let first = after(&[Input::Published(model("a")), judged(model("a"), true)], &rules);
    assert_eq!(
        (first.phase.clone(), first.exposure.share),
        (Phase::Rung { index: 0 }, 0.05)
    );
    assert_eq!(
        first.exposure.hold_out, rules.hold_out,
        "who is held out sees LTR on no rung"
    );
    unchanged(&first, &well(&first, None), at(25), &rules);
    let second = step(&first, &well(&first, None), at(26), &rules)
        .unwrap()
        .unwrap()
        .state;
    assert_eq!(
        (second.phase.clone(), second.exposure.share),
        (Phase::Rung { index: 1 }, 0.5)
    );
    unchanged(&second, &well(&second, Some(false)), at(40), &rules);
    unchanged(&second, &well(&second, None), at(40), &rules);
    let live = step(&second, &well(&second, Some(true)), at(40), &rules)
        .unwrap()
        .unwrap();
    assert_eq!((live.state.phase, live.action), (Phase::Live, Action::Climb));
    // The watch counts anew at each share.
    assert_eq!(live.state.champion.unwrap().serving_since, Some(4));
}

#[test]
fn nobody_climbs_who_was_not_seen_to_serve_well_on_this_rung_nor_from_a_rung_that_is_no_more() {
    let ladder = rules(vec![rung(0.05, 1.0, &[]), rung(0.5, 1.0, &[])]);
    let first = after(&[Input::Published(model("a")), judged(model("a"), true)], &ladder);
    unchanged(&first, &judged(model("a"), true), at(40), &ladder);
    let health = |change: fn(&mut Health)| {
        let Input::Evaluation(mut findings) = well(&first, Some(true)) else {
            unreachable!()
        };
        change(findings.health.as_mut().unwrap());
        evaluation(findings)
    };
    unchanged(&first, &health(|health| health.is_enough = false), at(40), &ladder);
    unchanged(&first, &health(|health| health.serving_since = 1), at(40), &ladder);
    unchanged(&first, &well(&first, Some(true)), at(40), &rules(Vec::new()));
    assert!(step(&first, &well(&first, None), at(40), &ladder).unwrap().is_some());
}

#[test]
fn a_version_stands_for_its_content_also_after_it_left_the_record_and_came_back() {
    let rules = rules(Vec::new());
    let state = after(&[Input::Published(model("a")), Input::Published(model("b"))], &rules);
    let other = ModelId {
        sha256: Some("another".into()),
        ..model("a")
    };
    let refused = step(&state, &Input::Published(other), at(3), &rules).unwrap_err();
    assert_eq!(refused.code(), "other_content");
    let back = step(&state, &Input::Published(model("a")), at(3), &rules)
        .unwrap()
        .unwrap();
    assert_eq!(back.state.challenger, Some(model("a")));
}

#[test]
fn the_content_of_a_former_programs_model_is_put_on_record_once() {
    let rules = rules(Vec::new());
    let left = State::taken_over(100, Some("a".into()), None, at(0));
    let known = step(&begin(left, at(0)).state, &Input::Published(model("a")), at(1), &rules)
        .unwrap()
        .unwrap();
    assert_eq!(
        (known.action, known.state.champion.clone().unwrap().model),
        (Action::Identify, model("a"))
    );
    assert_eq!(known.state.champion.clone().unwrap().serving_since, Some(1));
    unchanged(&known.state, &Input::Published(model("a")), at(2), &rules);
    let other = ModelId {
        sha256: Some("another".into()),
        ..model("a")
    };
    assert!(step(&known.state, &Input::Published(other), at(2), &rules).is_err());
}

#[test]
fn a_breach_rolls_back_and_the_model_does_not_come_back_by_the_same_evidence() {
    let rules = rules(Vec::new());
    let live = after(&[Input::Published(model("a")), judged(model("a"), true)], &rules);
    let back = step(&live, &unhealthy(&live), at(3), &rules).unwrap().unwrap();
    assert_eq!(back.state.phase, Phase::RolledBack { until: at(27) });
    assert!(!back.state.serves() && back.actor == CONTROLLER);
    assert_eq!(back.state.barred, ["a"]);
    unchanged(&back.state, &judged(model("a"), true), at(26), &rules);
    let over = step(&back.state, &judged(model("a"), true), at(27), &rules)
        .unwrap()
        .unwrap();
    assert_eq!(
        (over.action, over.state.phase.clone()),
        (Action::CoolDownOver, Phase::Shadow)
    );
    unchanged(&over.state, &judged(model("a"), true), at(28), &rules);
    // Another model may.
    let next = step(&over.state, &Input::Published(model("b")), at(28), &rules)
        .unwrap()
        .unwrap()
        .state;
    let live = step(&next, &judged(model("b"), true), at(29), &rules)
        .unwrap()
        .unwrap()
        .state;
    assert_eq!(live.champion.unwrap().model, model("b"));
}

#[test]
fn figures_of_another_model_or_from_before_it_served_decide_nothing() {
    let rules = rules(Vec::new());
    let live = after(&[Input::Published(model("a")), judged(model("a"), true)], &rules);
    let Input::Evaluation(findings) = unhealthy(&live) else {
        unreachable!()
    };
    let health = findings.health.unwrap();
    for stale in [
        Health {
            serving_since: 1,
            ..health.clone()
        },
        Health {
            model: model("b"),
            ..health
        },
    ] {
        let findings = Findings {
            health: Some(stale),
            ..Findings::default()
        };
        unchanged(&live, &evaluation(findings), at(3), &rules);
    }
}

#[test]
fn a_suspicion_leads_to_a_confirming_step_and_that_to_one_of_two_ends() {
    let rules = rules(Vec::new());
    let live = after(&[Input::Published(model("a")), judged(model("a"), true)], &rules);
    let said = |suspicion| {
        evaluation(Findings {
            suspicion: Some((model("a"), suspicion)),
            ..Findings::default()
        })
    };
    let suspected = step(&live, &said(Suspicion::Raised(json!(1))), at(3), &rules)
        .unwrap()
        .unwrap()
        .state;
    assert_eq!(
        (suspected.phase.clone(), suspected.exposure.share),
        (Phase::Suspected, 0.5)
    );
    let cleared = step(&suspected, &said(Suspicion::Cleared(json!(1))), at(4), &rules)
        .unwrap()
        .unwrap()
        .state;
    assert_eq!((cleared.phase, cleared.exposure), (live.phase.clone(), live.exposure));
    let confirmed = step(&suspected, &said(Suspicion::Confirmed(json!(1))), at(4), &rules)
        .unwrap()
        .unwrap();
    assert_eq!(confirmed.action, Action::Rollback);
    // Of a model that does not serve nothing follows.
    let other = evaluation(Findings {
        suspicion: Some((model("z"), Suspicion::Confirmed(json!(1)))),
        ..Findings::default()
    });
    unchanged(&suspected, &other, at(4), &rules);
}

#[test]
fn on_hold_nothing_is_promoted_but_a_breach_still_rolls_back() {
    let rules = rules(Vec::new());
    let held = after(&[Input::Published(model("a")), order(Command::Hold(true))], &rules);
    unchanged(&held, &judged(model("a"), true), at(3), &rules);
    let resumed = step(&held, &order(Command::Hold(false)), at(3), &rules)
        .unwrap()
        .unwrap()
        .state;
    let live = step(&resumed, &judged(model("a"), true), at(4), &rules)
        .unwrap()
        .unwrap()
        .state;
    let held = step(&live, &order(Command::Hold(true)), at(5), &rules)
        .unwrap()
        .unwrap()
        .state;
    let back = step(&held, &unhealthy(&held), at(6), &rules).unwrap().unwrap();
    assert_eq!(back.action, Action::Rollback);
}

#[test]
fn a_share_by_hand_needs_a_model_that_was_promoted_or_is_named() {
    let rules = rules(Vec::new());
    let shadow = after(&[Input::Published(model("a"))], &rules);
    assert_eq!(
        step(&shadow, &weight(25, None), at(2), &rules),
        Err(Refused::NameVersion)
    );
    let unknown = step(&shadow, &weight(25, Some(model("z"))), at(2), &rules).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "z is neither the champion nor the challenger; allowed: a"
    );
    let manual = step(&shadow, &weight(25, Some(model("a"))), at(2), &rules)
        .unwrap()
        .unwrap()
        .state;
    assert_eq!(
        (manual.phase.clone(), manual.exposure),
        (Phase::Manual, Exposure::whole(0.25))
    );
    let grounds = Grounds::Operator { actor: "ann".into() };
    assert_eq!(manual.champion.clone().unwrap().grounds, grounds);
    // From then on it is the champion, whatever is published, and nothing happens by itself.
    let newer = step(&manual, &Input::Published(model("b")), at(3), &rules)
        .unwrap()
        .unwrap()
        .state;
    unchanged(&newer, &judged(model("b"), true), at(4), &rules);
    let more = step(&newer, &weight(60, None), at(4), &rules).unwrap().unwrap().state;
    assert_eq!(more.champion.unwrap().model, model("a"));
}

#[test]
fn a_pinned_model_serves_all_and_is_replaced_by_none_until_the_hold_is_lifted() {
    let rules = rules(Vec::new());
    let live = after(
        &[
            Input::Published(model("a")),
            judged(model("a"), true),
            Input::Published(model("b")),
        ],
        &rules,
    );
    let pinned = step(&live, &order(Command::Pin(model("a"))), at(4), &rules)
        .unwrap()
        .unwrap()
        .state;
    unchanged(&pinned, &judged(model("b"), true), at(5), &rules);
    let resumed = step(&pinned, &order(Command::Hold(false)), at(5), &rules)
        .unwrap()
        .unwrap()
        .state;
    let replaced = step(&resumed, &judged(model("b"), true), at(6), &rules)
        .unwrap()
        .unwrap()
        .state;
    assert_eq!(
        (replaced.champion.unwrap().model, replaced.phase),
        (model("b"), Phase::Live)
    );
}

#[test]
fn an_operators_rollback_always_counts_and_beats_a_promotion_that_is_being_decided() {
    let rules = rules(Vec::new());
    let shadow = after(&[Input::Published(model("a"))], &rules);
    let back = step(&shadow, &order(Command::Rollback { blind: false }), at(2), &rules)
        .unwrap()
        .unwrap()
        .state;
    assert_eq!(back.version, shadow.version + 1);
    unchanged(&back, &judged(model("a"), true), at(3), &rules);
}

#[test]
fn an_operators_rollback_in_a_former_program_is_followed_and_nothing_else_of_it() {
    let rules = rules(Vec::new());
    let live = after(&[Input::Published(model("a")), judged(model("a"), true)], &rules);
    unchanged(&live, &Input::FormerWeight(100), at(3), &rules);
    unchanged(&live, &Input::FormerWeight(95), at(3), &rules);
    let back = step(&live, &Input::FormerWeight(0), at(3), &rules).unwrap().unwrap();
    assert!(!back.state.serves());
}

#[test]
fn what_a_former_program_left_goes_on_serving() {
    let left = |weight, champion: Option<&str>, challenger: Option<&str>| {
        let own = |name: Option<&str>| name.map(str::to_owned);
        begin(State::taken_over(weight, own(champion), own(challenger), at(0)), at(0)).state
    };
    let live = left(100, Some("a"), Some("b"));
    assert_eq!(
        (live.phase.clone(), live.exposure.percent(), live.version),
        (Phase::Live, 100, 1)
    );
    assert_eq!(live.champion.unwrap().serving_since, Some(1));
    let forced = left(30, None, Some("b"));
    assert_eq!(
        (forced.phase, forced.champion.unwrap().model.version),
        (Phase::Manual, "b".into())
    );
    assert_eq!(left(0, Some("a"), None).phase, Phase::Shadow);
    assert!(!left(50, None, None).serves());
}

#[test]
fn a_state_of_a_newer_program_is_left_alone() {
    let newer = State {
        form: FORM + 1,
        ..State::new(at(0))
    };
    let refused = step(&newer, &Input::Published(model("a")), at(1), &rules(Vec::new())).unwrap_err();
    assert_eq!(refused.code(), "newer_form");
}
