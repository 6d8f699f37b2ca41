use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// A folder with `data.train`, `data.valid` and files beside them.
struct Files(TempDir);

impl Files {
    /// Twenty queries of five rows with two features. Grades depend on both, with exceptions.
    fn new() -> Files {
        let column = |i: u32| i * 7919 % 101;
        let row = |i: u32| {
            let (qid, grade) = (i / 5, u32::from(column(i) + column(i + 31) > 110 || i % 4 == 1));
            format!("{grade} qid:{qid} 1:{} 2:{}\n", column(i), column(i + 31))
        };
        let files = Files(tempfile::tempdir().unwrap());
        files.write("data.train", &(0..100).map(row).collect::<String>());
        files.write("data.valid", &(30..80).map(row).collect::<String>());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Writes one line per row.
    fn write_lines(&self, name: &str, rows: usize, line: impl Fn(usize) -> String) {
        let lines: Vec<String> = (0..rows).map(line).collect();
        self.write(name, &lines.join("\n"));
    }

    fn train(&self, given: Value) -> anyhow::Result<Training> {
        let mut parameters = json!({
            "objective": "lambdarank", "metric": "ndcg", "eval_at": [3], "n_estimators": 5, "num_leaves": 4,
            "min_data_in_leaf": 3, "verbose": -1, "num_threads": 1, "deterministic": true, "seed": 1,
        });
        for (key, value) in given.as_object().unwrap() {
            parameters[key] = value.clone();
        }
        let parameters = Parameters::from_json(parameters.as_object().unwrap())?;
        let settings = crate::evaluate::tests::settings();
        let (train, valid) = (self.path("data.train"), self.path("data.valid"));
        train_files(&train, &valid, parameters, &settings, &self.path("out"))
    }

    /// The model's trees as text.
    fn trees(&self) -> String {
        self.train(json!({})).unwrap();
        let model = std::fs::read_to_string(self.path("out/ltr_model.txt")).unwrap();
        let end = model.find("end of trees").unwrap();
        model[model.find("Tree=0").unwrap()..end].to_owned()
    }

    fn refusal(&self, given: Value) -> String {
        let place = self.0.path().display().to_string() + "/";
        format!("{:#}", self.train(given).unwrap_err()).replace(&place, "")
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The log output of `work`.
fn logged(work: impl FnOnce()) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false);
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = log.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn each_warning_about_a_training_is_logged_only_once() {
    let files = Files::new();
    let rows = |row: usize| format!("1 qid:{} 1:{row} 2:{}", row / 5, row % 7);
    files.write_lines("data.train", 100, rows);
    let log = logged(|| drop(files.train(json!({ "verbose": 0 })).unwrap()));
    assert_eq!(log.matches("no tree of the model has a split").count(), 1, "{log}");
    let warnings: Vec<&str> = log.lines().filter_map(|line| line.split("[Warning]").nth(1)).collect();
    assert!(!warnings.is_empty(), "{log}");
    for warning in &warnings {
        assert_eq!(warnings.iter().filter(|other| *other == warning).count(), 1, "{log}");
    }
}

#[test]
fn validation_rows_take_the_training_width() {
    let rows = vec![1.0, 2.0, 3.0, 4.0];
    assert_eq!(to_width(rows.clone(), 2, 2), rows);
    assert_eq!(to_width(rows.clone(), 2, 3), [1.0, 2.0, 0.0, 3.0, 4.0, 0.0]);
    assert_eq!(to_width(rows, 2, 1), [1.0, 3.0]);
}

#[test]
fn each_file_beside_the_training_rows_changes_the_trees() {
    let plain = Files::new().trees();
    let with = |ending: &str, line: fn(usize) -> String| {
        let files = Files::new();
        files.write_lines(&format!("data.train.{ending}"), 100, line);
        files.trees()
    };
    assert_ne!(with("weight", |row| (1 + row % 3).to_string()), plain);
    assert_ne!(with("position", |row| (row % 5).to_string()), plain);
    assert_ne!(with("init", |row| format!("{}", (row % 7) as f64 / 4.0)), plain);
    assert_eq!(with("weight", |_| "1".to_owned()), plain);
    assert_eq!(with("init", |_| "0".to_owned()), plain);
    let files = Files::new();
    files.write_lines("data.train.query", 20, |_| "5".to_owned());
    assert_eq!(files.trees(), plain);
}

#[test]
fn weights_and_initial_scores_of_the_validation_rows_change_what_is_measured() {
    let plain = Files::new().train(json!({})).unwrap().metrics;
    let with = |ending: &str, line: fn(usize) -> String| {
        let files = Files::new();
        files.write_lines(&format!("data.valid.{ending}"), 50, line);
        files.train(json!({})).unwrap().metrics
    };
    assert_ne!(with("weight", |row| (1 + row / 10).to_string()), plain);
    assert_ne!(with("init", |row| (row % 7).to_string()), plain);
    // Metrics ignore the positions of rows.
    assert_eq!(with("position", |row| (row % 5).to_string()), plain);
}

#[test]
fn a_file_beside_that_does_not_fit_is_refused_for_both_sets() {
    for (name, rows) in [("data.train", 100), ("data.valid", 50)] {
        for ending in ["weight", "position", "init"] {
            let files = Files::new();
            files.write_lines(&format!("{name}.{ending}"), rows - 1, |_| "1".to_owned());
            let refusal = files.refusal(json!({}));
            let expected = format!(
                "{name}.{ending}: \"{} lines\" is refused; allowed: {rows}, one for",
                rows - 1
            );
            assert!(refusal.contains(&expected), "{refusal}");
        }
    }
    let files = Files::new();
    files.write_lines("data.train.query", 10, |_| "10".to_owned());
    assert!(
        files
            .refusal(json!({}))
            .contains("data.train.query:1: \"a query of 10 rows\" is refused; allowed: 5")
    );
    let files = Files::new();
    files.write_lines("data.valid.init", 50, |_| "0\t1".to_owned());
    assert!(
        files
            .refusal(json!({}))
            .contains("data.valid.init: 2 scores on a line; allowed: 1")
    );
}

#[test]
fn labels_and_queries_over_a_limit_are_refused_with_their_place() {
    let files = Files::new();
    files.write("data.train", "0 qid:1 1:1\n1 qid:1 1:2\n# a comment\n40 qid:1 1:3\n");
    assert_eq!(
        files.refusal(json!({})),
        "data.train:4: label 40; allowed: below 31, or label_gain with a gain for each grade up to 40"
    );
    let long = "1 qid:1 1:1\n".repeat(2) + &"0 qid:7 1:2\n".repeat(10_001);
    files.write("data.train", &long);
    let refusal = files.refusal(json!({}));
    assert!(
        refusal.starts_with("data.train:3 (qid 7): 10001 rows in a query; allowed: up to 10000"),
        "{refusal}"
    );
    let files = Files::new();
    files.write("data.valid", "0.5 qid:1 1:1\n");
    assert!(
        files
            .refusal(json!({}))
            .starts_with("data.valid:1: label 0.5; allowed: grades, integers from 0")
    );
    let files = Files::new();
    assert!(
        files
            .refusal(json!({"label_gain": [1]}))
            .contains("label 1; allowed: below 1, the number of gains")
    );
    assert!(
        files
            .refusal(json!({"interaction_constraints": [[1], [3]]}))
            .contains("interaction_constraints: 3")
    );
}

#[test]
fn labels_that_other_objectives_allow_are_read() {
    let files = Files::new();
    files.write("data.train", "0.25 qid:1 1:1\n-7 qid:1 1:2\n".repeat(20).as_str());
    files.write("data.valid", "0.25 qid:1 1:1\n-7 qid:1 1:2\n");
    let training = files.train(json!({"objective": "regression", "metric": "l2"})).unwrap();
    assert_eq!(training.train.rows, 40);
}

#[test]
fn rows_without_features_are_all_zero_and_nothing_to_grow_on() {
    let files = Files::new();
    files.write("data.valid", "1 qid:1\n0 qid:1\n");
    assert_eq!(files.train(json!({})).unwrap().valid.rows, 2);
    files.write("data.train", "1 qid:1\n0 qid:1\n");
    assert_eq!(
        files.refusal(json!({})),
        "data.train: no row has a feature; needed: at least one index:value pair"
    );
}

#[test]
fn constraints_and_nulls_are_taken_as_python_takes_them() {
    let plain = Files::new().trees();
    let files = Files::new();
    files
        .train(json!({"interaction_constraints": [[1], [2]], "random_state": null}))
        .unwrap();
    let model = std::fs::read_to_string(files.path("out/ltr_model.txt")).unwrap();
    assert!(model.contains("[interaction_constraints: [1],[2]]"), "{model}");
    assert!(!model.contains(&plain));
}
