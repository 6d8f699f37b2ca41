//! `ltr-trainer` from outside: exit codes, and the run record that every step leaves.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests make, read and time what they like"
)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs a command on a lake and a database in `dir`.
fn trainer(dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let at = |name: &str| dir.join(name).display().to_string();
    Command::new(env!("CARGO_BIN_EXE_ltr-trainer"))
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("LTR_LAKE__DIR", at("lake"))
        .env("LTR_DATABASE__URL", format!("sqlite://{}", at("ltr.db")))
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn events(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("lake/ltr/lineage.ndjson")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const NIGHT: [&str; 2] = ["--as-of", "2026-11-23T02:15:00Z"];

#[test]
fn every_step_of_the_night_leaves_a_run_record_even_if_it_fails() {
    let dir = tempfile::tempdir().unwrap();
    let parent = "airflow/train_ltr_daily.step/01234567-89ab-7def-8123-456789abcdef";
    // Nothing was logged, so there is something to do for the first two alone.
    let steps = [
        ("sink", 0),
        ("etl", 0),
        ("check", 3),
        ("train", 3),
        ("evaluate", 1),
        ("gate", 1),
        ("publish", 1),
        ("train-daily", 3),
    ];
    for (step, code) in steps {
        let night: &[&str] = if step == "sink" { &[] } else { &NIGHT };
        let variables = [("OPENLINEAGE_PARENT_ID", parent)];
        let done = trainer(dir.path(), &[&[step], night].concat(), &variables);
        assert_eq!(done.status.code(), Some(code), "{step}: {done:?}");
        let events = events(dir.path());
        let [.., start, end] = &events[..] else {
            panic!("{events:?}")
        };
        for event in [start, end] {
            assert_eq!(event["job"]["name"], step);
            assert_eq!(event["run"]["facets"]["parent"]["job"]["name"], "train_ltr_daily.step");
        }
        assert_eq!(start["eventType"], "START");
        assert_eq!(end["eventType"], if code == 0 { "COMPLETE" } else { "FAIL" });
        assert_eq!(end["run"]["facets"]["ltr_end"]["exitCode"], code);
        let stderr = String::from_utf8(done.stderr).unwrap();
        // The checks' own refusal is a result, and no error.
        if code != 0 && !["check", "train-daily"].contains(&step) {
            let reason = end["run"]["facets"]["errorMessage"]["message"].as_str().unwrap();
            assert_eq!(stderr.lines().last().unwrap(), format!("error: {reason}"));
        }
    }
}

#[test]
fn wrong_usage_and_configuration_exit_with_2_and_refused_data_with_3() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("matrix.parquet"), "no Parquet").unwrap();
    let train = ["train", "--matrix", "matrix.parquet", "--out", "run"];
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32);
    let cases: [Case; 7] = [
        (&["train"], &[], 2),
        (&["train", "--matrix", "matrix.parquet"], &[], 2),
        (&["etl", "--as-of", "yesterday"], &[], 2),
        (&["etl", "--from", "2026-11-02", "--to", "2026-11-01"], &[], 2),
        (&train, &[("LTR_TRAIN__MAX_ROUNDS", "0")], 2),
        (&train, &[("LTR_LINEAGE__URL", "marquez:5000")], 2),
        (&train, &[], 3),
    ];
    for (arguments, variables, code) in cases {
        let done = trainer(dir.path(), arguments, variables);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {done:?}");
    }
    let help = String::from_utf8(trainer(dir.path(), &["--help"], &[]).stdout).unwrap();
    for code in ["0 done", "1 failed", "2 wrong usage", "3 refused"] {
        assert!(help.contains(code), "{help}");
    }
}

#[test]
fn no_secret_is_in_a_run_record_or_a_warning_about_one() {
    let dir = tempfile::tempdir().unwrap();
    let variables = [
        ("LTR_DATABASE__URL", "postgres://ltr:hunter2@127.0.0.1:1/ltr"),
        ("LTR_CLIENT__TOKEN", "hunter2-hunter2-hunter2"),
        (
            "LTR_LINEAGE__URL",
            "http://hunter2:hunter2@127.0.0.1:1/lineage?key=hunter2",
        ),
    ];
    let done = trainer(dir.path(), &["sink"], &variables);
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert!(stderr.contains("lineage.url"), "{stderr}");
    let record = std::fs::read_to_string(dir.path().join("lake/ltr/lineage.ndjson")).unwrap();
    assert!(record.contains("FAIL"), "{record}");
    // A user's name may be shown, a password never.
    let shown = stderr.replace("//hunter2:", "//USER:");
    assert!(
        !shown.contains("hunter2") && !record.contains("hunter2"),
        "{stderr}{record}"
    );
}
