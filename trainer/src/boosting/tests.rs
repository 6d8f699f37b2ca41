use serde_json::json;

use super::*;

fn schedule(json: serde_json::Value) -> Result<Schedule, ParameterError> {
    Schedule::from_parameters(&Parameters::from_json(json.as_object().unwrap())?, 1000)
}

fn metrics(names: &[&str]) -> Vec<Metric> {
    names
        .iter()
        .map(|name| Metric {
            name: (*name).to_owned(),
        })
        .collect()
}

/// (round that training stopped after, best iteration), both 1-based.
fn stop(schedule: &Schedule, names: &[&str], scores: &[&[f64]]) -> Option<(usize, usize)> {
    let mut stopping = EarlyStopping::new(schedule, &metrics(names)).unwrap();
    let mut rounds = scores.iter().enumerate();
    rounds.find_map(|(round, scores)| Some((round + 1, stopping.observe(round, scores)?)))
}

#[test]
fn training_stops_when_patience_is_over_and_keeps_the_best_round() {
    let patient = schedule(json!({"early_stopping_round": 2})).unwrap();
    let scores: &[&[f64]] = &[&[0.1], &[0.3], &[0.2], &[0.3], &[0.9]];
    assert_eq!(stop(&patient, &["ndcg@5"], scores), Some((4, 2)));
    // As a loss, the same numbers improve downwards, so the first round is best.
    assert_eq!(stop(&patient, &["l2"], scores), Some((3, 1)));
}

#[test]
fn any_metric_can_stop_unless_only_the_first_may() {
    let scores: &[&[f64]] = &[&[0.1, 0.9], &[0.2, 0.8], &[0.3, 0.7], &[0.2, 0.6], &[0.2, 0.6]];
    let names = ["ndcg@1", "ndcg@5"];
    let any = schedule(json!({"early_stopping_round": 2})).unwrap();
    assert_eq!(stop(&any, &names, scores), Some((3, 1)));
    let first = schedule(json!({"early_stopping_round": 2, "first_metric_only": true})).unwrap();
    assert_eq!(stop(&first, &names, scores), Some((5, 3)));
}

#[test]
fn an_improvement_has_to_exceed_min_delta() {
    let scores: &[&[f64]] = &[&[0.10], &[0.14], &[0.16]];
    let config = json!({"early_stopping_round": 1, "early_stopping_min_delta": 0.05});
    assert_eq!(stop(&schedule(config).unwrap(), &["auc"], scores), Some((2, 1)));
}

#[test]
fn the_last_round_ends_the_training_with_the_best_so_far() {
    let config = json!({"early_stopping_round": 50, "num_iterations": 3});
    let scores: &[&[f64]] = &[&[0.1], &[0.5], &[0.4]];
    assert_eq!(stop(&schedule(config).unwrap(), &["map@3"], scores), Some((3, 2)));
}

#[test]
fn there_is_no_early_stopping_when_off_or_with_dart() {
    for config in [
        json!({}),
        json!({"early_stopping_round": 0}),
        json!({"early_stopping_round": -1}),
        json!({"early_stopping_round": 5, "boosting_type": "dart"}),
    ] {
        let schedule = schedule(config).unwrap();
        assert!(EarlyStopping::new(&schedule, &metrics(&["auc"])).is_none());
        assert_eq!(schedule.rounds, 1000);
    }
}

#[test]
fn a_schedule_out_of_range_is_refused_by_name() {
    for (config, expected) in [
        (
            json!({"n_estimators": 0}),
            "num_iterations: 0; allowed: a whole number, 1 to 1000000",
        ),
        (
            json!({"early_stopping_rounds": 1.5}),
            "early_stopping_round: 1.5; allowed: a whole number",
        ),
        (
            json!({"early_stopping_min_delta": -1}),
            "early_stopping_min_delta: -1; allowed: a number >= 0",
        ),
        (
            json!({"first_metric_only": "maybe"}),
            "first_metric_only: maybe; allowed: true or false",
        ),
    ] {
        assert_eq!(schedule(config).unwrap_err().to_string(), expected);
    }
}
