use super::*;

fn champion() -> ModelId {
    ModelId {
        version: "a".to_owned(),
        sha256: None,
    }
}

fn gate(version: &str, passed: bool) -> GateAgainst {
    GateAgainst {
        champion: ModelId {
            version: version.to_owned(),
            sha256: None,
        },
        passed,
        criteria: Vec::new(),
    }
}

const RULES: ReplacementRules = ReplacementRules {
    min_requests: 100,
    top3_overlap: 0.6,
    score_shift: 0.15,
};
const LIMITS: Limits = Limits {
    latency_p95_ms: 25.0,
    fallback_rate: 0.02,
    broken_gateways: 0.02,
    min_requests: 200,
    window_seconds: 10.0,
};

/// A ranking with these scores, best first.
fn ranked(order: &[usize], scores: &[f64]) -> Vec<Ranked> {
    let place = |&index: &usize| Ranked {
        index,
        score: scores[index],
        fair: scores[index],
        merits: None,
    };
    order.iter().map(place).collect()
}

fn failing(gate: Option<&GateAgainst>, drift: &Drift) -> Vec<String> {
    let guards = guards(&champion(), gate, drift, &RULES, &LIMITS);
    let failing = failed(&guards).into_iter().map(str::to_owned);
    failing.collect()
}

/// So many requests that both models ranked alike but for one lawyer of the first three.
fn alike(requests: u64) -> Drift {
    let mut drift = Drift::default();
    let champion = ranked(&[0, 1, 2, 3], &[1.0, 0.8, 0.6, 0.0]);
    let challenger = ranked(&[0, 1, 3, 2], &[1.0, 0.8, 0.4, 0.2]);
    (0..requests).for_each(|_| drift.ranked(&champion, &challenger, 900, false));
    drift
}

#[test]
fn a_model_that_ranks_much_alike_and_passed_the_gate_against_this_champion_may_replace_it() {
    let drift = alike(100);
    assert!((drift.overlap() - 2.0 / 3.0).abs() < 1e-12);
    assert!((drift.mean_shift() - 0.1).abs() < 1e-6);
    assert!(failing(Some(&gate("a", true)), &drift).is_empty());
}

#[test]
fn each_guard_alone_stops_it() {
    let passed = gate("a", true);
    let enough = alike(100);
    assert_eq!(failing(None, &enough), ["gate"]);
    assert_eq!(failing(Some(&gate("b", true)), &enough), ["gate"], "another champion");
    assert_eq!(failing(Some(&gate("a", false)), &enough), ["gate"]);
    assert_eq!(
        failing(Some(&passed), &alike(99)),
        ["top3", "scores", "latency", "fallbacks"]
    );
    let spoilt = |how: fn(&mut Drift)| {
        let mut drift = enough.clone();
        how(&mut drift);
        failing(Some(&passed), &drift)
    };
    assert_eq!(spoilt(|drift| drift.shared = 179), ["top3"]);
    assert_eq!(spoilt(|drift| drift.shift = 60_400_000), ["scores"]);
    assert_eq!(spoilt(|drift| (0..3).for_each(|_| drift.fell_back())), ["fallbacks"]);
    assert_eq!(
        spoilt(|drift| (0..10).for_each(|_| drift.counts.scored(40_000, true))),
        ["latency"]
    );
}

#[test]
fn gateways_are_added_up() {
    let mut sum = alike(40);
    sum.add(&alike(60));
    assert_eq!(sum, alike(100));
    let text = serde_json::to_string(&sum).unwrap();
    assert_eq!(serde_json::from_str::<Drift>(&text).unwrap(), sum);
}
