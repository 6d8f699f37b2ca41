//! What must hold over any history.

use proptest::prelude::*;

use super::super::ledger::{ORIGIN, Row, Verifier, seal};
use super::trials::finding;
use super::*;
use crate::outcomes::Verdict;

fn models() -> impl Strategy<Value = ModelId> {
    prop::sample::select(vec!["a", "b", "c"]).prop_map(model)
}

/// An input, which may look at the state at hand.
fn inputs() -> impl Strategy<Value = Input> {
    let orders = prop_oneof![
        (models(), any::<bool>()).prop_map(|(model, promote)| Command::Promote(judgement(model, promote))),
        any::<bool>().prop_map(|blind| Command::Rollback { blind }),
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
    let guards = prop::option::of(any::<bool>()).prop_map(|holds| holds.map(|holds| vec![criterion("gate", holds)]));
    let more = (any::<bool>(), prop::bool::weighted(0.2), guards);
    let judged = (models(), any::<bool>(), more).prop_map(|(model, promote, (trial, is_futile, guards))| Judgement {
        trial,
        futility: is_futile.then(|| "it is decided against".to_owned()),
        guards,
        ..judgement(model, promote)
    });
    let verdicts = prop::sample::select(vec![Verdict::Better, Verdict::Worse, Verdict::Undecided]);
    let trial = (models(), verdicts).prop_map(|(model, verdict)| finding(model, verdict));
    let optional = (
        prop::option::of(health),
        prop::option::of(suspicion),
        prop::option::of(trial),
    );
    let findings =
        (prop::collection::vec(judged, 0..3), optional).prop_map(|(judgements, (health, suspicion, trial))| Findings {
            judgements,
            health,
            trial,
            suspicion,
        });
    prop_oneof![
        2 => models().prop_map(Input::Published),
        1 => models().prop_map(|model| Input::Ungated(model, "a drill".to_owned())),
        4 => findings.prop_map(Input::Evaluation),
        3 => orders.prop_map(order),
        1 => (0..=100_u8).prop_map(Input::FormerWeight),
    ]
}

fn champion(state: &State) -> Option<ModelId> {
    state.champion.as_ref().map(|champion| champion.model.clone())
}

/// Another model is champion: it was on record, and somebody allowed it.
fn may_replace(before: &State, input: &Input, transition: &Transition) {
    let model = champion(&transition.state).expect("a champion is replaced and never forgotten");
    assert_eq!(before.named(&model.version), Some(&model), "it was on record");
    match input {
        Input::Order(Order {
            command: Command::Promote(judgement),
            ..
        }) => {
            assert!(judgement.promote && judgement.model == model);
        }
        Input::Evaluation(findings) => {
            let allows = |j: &Judgement| {
                let holds = match transition.action {
                    Action::Trial => j.trial && !j.promote,
                    Action::Replace => j
                        .guards
                        .as_ref()
                        .is_some_and(|guards| guards.iter().all(|guard| guard.passed)),
                    _ => j.promote,
                };
                holds && j.model == model
            };
            let is_of_pipeline = before.phase == Phase::Live && before.exposure == transition.state.exposure;
            assert!(transition.action != Action::Replace || (is_of_pipeline && before.since == transition.state.since));
            assert!(findings.judgements.iter().any(allows) && before.challenger.as_ref() == Some(&model));
            assert_ne!(before.phase, Phase::Trial, "a trial is not disturbed");
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

/// A model on trial is shown in one way alone.
fn holds_of_trials(before: &State, transition: &Transition) {
    let after = &transition.state;
    let grounds = after.champion.as_ref().map(|champion| &champion.grounds);
    let is_tried = matches!(grounds, Some(Grounds::Trial { .. }));
    if is_tried && after.serves() {
        let shown = (&after.phase, after.exposure.display, after.exposure.share);
        assert_eq!(
            shown,
            (&Phase::Trial, Display::Interleaved, 0.4),
            "a trial's grounds allow a trial alone"
        );
    }
    let is_replaced = matches!(grounds, Some(Grounds::Replacement { .. })) || after.next.is_some();
    let form = if is_replaced { 3 } else { 1 + u32::from(is_tried) };
    assert_eq!(after.form, form, "older programs read all that they know");
    if transition.action == Action::Reject {
        let is_trial = before.phase == Phase::Trial;
        let rejected = if is_trial {
            champion(before)
        } else {
            before.challenger.clone()
        };
        assert!(after.barred.contains(&rejected.expect("a model is rejected").version));
        assert!(after.serves() == (before.serves() && !is_trial));
    }
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
    if champion(after) != champion(before) {
        may_replace(before, input, transition);
    }
    holds_of_trials(before, transition);
    let is_dropped = before.next.is_some() && after.next.is_none();
    assert!(!is_dropped || after.challenger == before.next, "who waits gets a turn");
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
    assert!(!(more && matches!(input, Input::Published(_) | Input::Ungated(..) | Input::FormerWeight(_))));
    if matches!(
        input,
        Input::Order(Order {
            command: Command::Rollback { .. },
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
        queues in prop::bool::ANY,
    ) {
        let ladder = if ladder { vec![rung(0.1, 2.0, &[]), rung(0.5, 1.0, &["hit3"])] } else { Vec::new() };
        let rules = Rules { queues, ..rules(ladder) };
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
