use proptest::prelude::*;
use serde_json::json;

use super::ledger::{ORIGIN, Row, Verifier, seal};
use super::*;

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
        confirm: Exposure::whole(0.5),
        cool_down: TimeDelta::hours(24),
        automatic: true,
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
        reason: None,
    }
}

fn judgement(model: ModelId, promote: bool) -> Judgement {
    Judgement {
        model,
        as_of: at(0),
        promote,
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
    let back = step(&shadow, &order(Command::Rollback), at(2), &rules)
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

fn models() -> impl Strategy<Value = ModelId> {
    prop::sample::select(vec!["a", "b", "c"]).prop_map(model)
}

/// An input, which may look at the state at hand.
fn inputs() -> impl Strategy<Value = Input> {
    let orders = prop_oneof![
        (models(), any::<bool>()).prop_map(|(model, promote)| Command::Promote(judgement(model, promote))),
        Just(Command::Rollback),
        any::<bool>().prop_map(Command::Hold),
        models().prop_map(Command::Pin),
        (0..=100_u8, prop::option::of(models())).prop_map(|(percent, model)| Command::Weight { percent, model }),
    ];
    let health = (models(), 0..6_u64, any::<bool>()).prop_map(|(model, serving_since, passed)| Health {
        model,
        serving_since,
        is_enough: true,
        criteria: vec![criterion("latency", passed)],
    });
    let suspicion = (models(), 0..3_usize).prop_map(|(model, kind)| {
        let kinds: [fn(Value) -> Suspicion; 3] = [Suspicion::Raised, Suspicion::Confirmed, Suspicion::Cleared];
        (model, kinds[kind](Value::Null))
    });
    let judgements = prop::collection::vec((models(), any::<bool>()).prop_map(|(m, p)| judgement(m, p)), 0..3);
    let findings = (judgements, prop::option::of(health), prop::option::of(suspicion)).prop_map(
        |(judgements, health, suspicion)| Findings {
            judgements,
            health,
            suspicion,
        },
    );
    prop_oneof![
        2 => models().prop_map(Input::Published),
        4 => findings.prop_map(Input::Evaluation),
        3 => orders.prop_map(order),
        1 => (0..=100_u8).prop_map(Input::FormerWeight),
    ]
}

/// What must hold of every transition, whatever came before.
fn holds(before: &State, input: &Input, transition: &Transition, now: DateTime<Utc>) {
    let after = &transition.state;
    assert_eq!(after.version, before.version + 1);
    assert!(after.since >= before.since, "time goes on");
    assert!((0.0..=1.0).contains(&after.exposure.share));
    assert!(
        after.exposure.share == 0.0 || after.champion.is_some(),
        "somebody answers"
    );
    let serves = after
        .champion
        .as_ref()
        .is_some_and(|champion| champion.serving_since.is_some());
    assert_eq!(serves, after.serves());
    let rests = matches!(after.phase, Phase::Shadow | Phase::RolledBack { .. });
    assert!(!(rests && after.serves()), "legacy answers in {:?}", after.phase);
    let champion = |state: &State| state.champion.as_ref().map(|champion| champion.model.clone());
    if champion(after) != champion(before) {
        let model = champion(after).expect("a champion is replaced and never forgotten");
        assert_eq!(before.named(&model.version), Some(&model), "it was on record");
        match input {
            Input::Order(Order {
                command: Command::Promote(judgement),
                ..
            }) => {
                assert!(judgement.promote && judgement.model == model);
            }
            Input::Evaluation(findings) => {
                let judged = findings.judgements.iter().any(|j| j.promote && j.model == model);
                assert!(judged && before.challenger.as_ref() == Some(&model));
            }
            Input::Order(Order {
                command: Command::Pin(named) | Command::Weight { model: Some(named), .. },
                ..
            }) => {
                assert_eq!(*named, model);
            }
            other => panic!("{other:?} replaces the champion"),
        }
    }
    let more = after.exposure.of_all() > before.exposure.of_all();
    if more && matches!(input, Input::Evaluation(_)) {
        // A suspicion that is cleared gives back what was there.
        let restored = transition.action == Action::Clear;
        assert!(before.hold.is_none() || restored, "nothing rises on hold");
        if let Phase::RolledBack { until } = before.phase {
            panic!("nothing rises in the cool-down, which ends {until}; it is {now}");
        }
        let barred = champion(after).is_some_and(|model| before.barred.contains(&model.version));
        assert!(!barred, "what was rolled back does not come back by itself");
    }
    assert!(!(more && matches!(input, Input::Published(_) | Input::FormerWeight(_))));
    if matches!(
        input,
        Input::Order(Order {
            command: Command::Rollback,
            ..
        })
    ) {
        assert!(!after.serves());
    }
}

proptest! {
    #[test]
    fn invariants_hold_over_any_history(
        history in prop::collection::vec((inputs(), -30..60_i64), 1..60),
        ladder in prop::bool::ANY,
    ) {
        let rules = rules(if ladder { vec![rung(0.1, 2.0, &[]), rung(0.5, 1.0, &["hit3"])] } else { Vec::new() });
        let mut state = begin(State::new(at(0)), at(0)).state;
        let mut hours = 0;
        let mut head = ORIGIN.to_owned();
        let mut verifier = Verifier::default();
        let first = begin(State::new(at(0)), at(0));
        let mut transitions = vec![first];
        for (input, passed) in &history {
            // The clock may jump back.
            hours += passed;
            match step(&state, input, at(hours), &rules) {
                Ok(Some(transition)) => {
                    holds(&state, input, &transition, at(hours));
                    state = transition.state.clone();
                    transitions.push(transition);
                }
                Ok(None) => {}
                Err(refused) => prop_assert!(!matches!(input, Input::Evaluation(_) | Input::FormerWeight(_)), "{refused}"),
            }
            // The state on record is the state: nothing of it is lost in writing.
            let text = serde_json::to_string(&state).unwrap();
            prop_assert_eq!(&serde_json::from_str::<State>(&text).unwrap(), &state);
        }
        for transition in &transitions {
            let sealed = seal(transition, at(0), None, &head);
            head.clone_from(&sealed.hash);
            let row = Row { seq: transition.state.version, text: sealed.text, hash: sealed.hash, command: None };
            verifier.take(&row).unwrap();
        }
        verifier.end(state.version, &head, &serde_json::to_string(&state).unwrap()).unwrap();
    }

    #[test]
    fn an_evaluation_comes_to_rest(history in prop::collection::vec(inputs(), 0..20), last in inputs()) {
        let rules = rules(vec![rung(0.1, 0.0, &[]), rung(0.5, 0.0, &["hit3"])]);
        let mut state = State::new(at(0));
        for input in &history {
            if let Ok(Some(transition)) = step(&state, input, at(0), &rules) {
                state = transition.state;
            }
        }
        if let Input::Evaluation(_) = last {
            let steps = (0..20).take_while(|_| match step(&state, &last, at(100), &rules).unwrap() {
                Some(transition) => { state = transition.state; true }
                None => false,
            });
            prop_assert!(steps.count() < 20);
        }
    }

    #[test]
    fn one_changed_byte_is_found(flipped in any::<prop::sample::Index>(), bit in 0..7_u8, of in 0..3_usize) {
        let mut head = ORIGIN.to_owned();
        let mut rows = Vec::new();
        let mut state = State::new(at(0));
        for name in ["a", "b", "c"] {
            let transition = step(&state, &Input::Published(model(name)), at(1), &rules(Vec::new())).unwrap().unwrap();
            let sealed = seal(&transition, at(1), None, &head);
            head.clone_from(&sealed.hash);
            rows.push(Row { seq: transition.state.version, text: sealed.text, hash: sealed.hash, command: None });
            state = transition.state;
        }
        let text = serde_json::to_string(&state).unwrap();
        let verify = |rows: &[Row]| {
            let mut verifier = Verifier::default();
            rows.iter().try_for_each(|row| verifier.take(row).map(drop))?;
            verifier.end(3, &head, &text)
        };
        verify(&rows).unwrap();
        let mut changed = rows.clone();
        let mut bytes = std::mem::take(&mut changed[of].text).into_bytes();
        let at = flipped.index(bytes.len());
        bytes[at] ^= 1 << bit;
        changed[of].text = String::from_utf8_lossy(&bytes).into_owned();
        prop_assert!(verify(&changed).is_err());
        // A tail that was cut off, an entry that was taken out.
        prop_assert!(verify(&rows[..2]).is_err());
        prop_assert!(verify(&[rows[0].clone(), rows[2].clone()]).is_err());
    }
}
