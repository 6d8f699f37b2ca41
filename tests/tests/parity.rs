//! `ltr-trainer train` grows, tree for tree, the model that Python's `lightgbm` grows on the same
//! rows with the same parameters.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use serde_json::{Value, json};

const FEATURES: usize = 20;
const PEER_VERSION: &str = "4.7.0";

/// Prints version and best iteration. It reads the numbers itself, because LightGBM's own reader of
/// text files is off by an ulp on decimals such as 1.61, which moves thresholds by one.
const PEER: &str = r#"
import json, sys
import lightgbm, numpy
train_file, valid_file, params_file, model_file = sys.argv[1:]
with open(params_file) as f:
    params = json.load(f)

def read(file, reference=None):
    rows, grades = [], []
    for line in open(file):
        grade, *pairs = line.split()
        row = [0.0] * 21  # indices 1 to 20; LightGBM counts from 0
        for index, value in (pair.split(":") for pair in pairs):
            row[int(index)] = float(value)
        rows.append(row)
        grades.append(int(grade))
    sizes = [int(line) for line in open(file + ".query")]
    return lightgbm.Dataset(numpy.array(rows), grades, group=sizes, reference=reference, params=params)

train = read(train_file)
valid = read(valid_file, train)
booster = lightgbm.train(params, train, num_boost_round=1000, valid_sets=[valid])
booster.save_model(model_file)
print(json.dumps({"version": lightgbm.__version__, "best_iteration": booster.best_iteration}))
"#;

/// As [`PEER`], by LightGBM's own reader, which loads what is beside the files, too.
const PEER_OF_FILES: &str = r#"
import json, sys
import lightgbm
train_file, valid_file, params_file, model_file = sys.argv[1:]
with open(params_file) as f:
    params = json.load(f)
train = lightgbm.Dataset(train_file, params=params)
valid = lightgbm.Dataset(valid_file, params=params, reference=train)
booster = lightgbm.train(params, train, num_boost_round=1000, valid_sets=[valid])
booster.save_model(model_file)
print(json.dumps({"version": lightgbm.__version__, "best_iteration": booster.best_iteration}))
"#;

/// What is beside the files, one after the other: the trees are the same with each.
#[test]
fn train_loads_the_files_beside_that_lightgbm_loads() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for (name, queries, seed) in [("rank.train", 60, 1), ("rank.test", 20, 2)] {
        write_queries(&path(name), queries, seed);
        // Whole numbers are read alike by both.
        let rows = fs::read_to_string(path(name)).unwrap().replace('.', "");
        fs::write(path(name), rows).unwrap();
    }
    fs::write(path("P.json"), parameters().to_string()).unwrap();
    let mut before = compare_grown(dir.path(), PEER_OF_FILES);
    type Line = fn(usize) -> String;
    let line: [(&str, Line); 3] = [
        ("weight", |row| format!("{}", (1 + row % 4) as f64 / 2.0)),
        ("init", |row| format!("{}", (row % 9) as f64 / 8.0 - 0.5)),
        ("position", |row| format!("slot-{}", row % 6)),
    ];
    for (ending, line) in line {
        for name in ["rank.train", "rank.test"] {
            let rows = fs::read_to_string(path(name)).unwrap().lines().count();
            let lines: Vec<String> = (0..rows).map(line).collect();
            fs::write(path(name).with_added_extension(ending), lines.join("\n") + "\n").unwrap();
        }
        let grown = compare_grown(dir.path(), PEER_OF_FILES);
        assert_ne!(grown, before, "{ending} makes no difference");
        before = grown;
    }
}

#[test]
fn train_grows_the_trees_that_python_grows() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    write_queries(&path("rank.train"), 60, 1);
    write_queries(&path("rank.test"), 20, 2);
    fs::write(path("P.json"), parameters().to_string()).unwrap();

    compare_grown(dir.path(), PEER);
}

/// Trains in `dir` here and in Python, compares, and gives the trees.
fn compare_grown(dir: &Path, peer: &str) -> String {
    let path = |name: &str| dir.join(name);
    let trainer = run(Command::new(program("ltr-trainer"))
        .current_dir(dir)
        .args(["train", "--train", "rank.train", "--valid", "rank.test"])
        .args(["--params", "P.json", "--out", "D"]));
    succeeded("ltr-trainer train", &trainer);
    let peer = grow_in_python(dir, peer);

    let training: Value = read_json(&fs::read_to_string(path("D/training.json")).unwrap());
    assert_eq!(training["best_iteration"], peer["best_iteration"]);
    let ours = fs::read_to_string(path("D/ltr_model.txt")).unwrap();
    let theirs = fs::read_to_string(path("peer.txt")).unwrap();
    let (ours, theirs) = (trees(&ours), trees(&theirs));
    let count = theirs.matches("Tree=").count() as u64;
    assert_eq!(peer["best_iteration"].as_u64(), Some(count));
    assert!(count > 1, "{count} tree: too little to compare");
    for (at, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {at} of the trees");
    }
    assert_eq!(ours.len(), theirs.len());
    ours.to_owned()
}

/// The parameters of the project's documentation, and what makes training repeatable.
fn parameters() -> Value {
    json!({
        "objective": "lambdarank", "metric": "ndcg", "ndcg_eval_at": [5], "learning_rate": 0.05,
        "num_leaves": 48, "min_data_in_leaf": 20, "feature_fraction": 0.9, "lambda_l1": 0.2,
        "lambda_l2": 0.2, "early_stopping_round": 100, "seed": 42,
        "num_threads": 1, "deterministic": true, "force_row_wise": true, "verbosity": -1,
    })
}

/// Writes `queries` queries as SVMlight with a `.query` file beside it: 10 to 25 rows each, sparse
/// features with two decimals, grades 0 to 3 that follow a few of the features.
fn write_queries(file: &Path, queries: usize, seed: u64) {
    let mut random = testkit::Random(seed);
    let mut unit = || random.unit();
    let (mut rows, mut sizes) = (String::new(), String::new());
    for _ in 0..queries {
        let size = 10 + (unit() * 16.0) as usize;
        writeln!(sizes, "{size}").unwrap();
        for _ in 0..size {
            let values: Vec<u32> = (0..FEATURES)
                .map(|_| if unit() < 0.4 { 0 } else { (unit() * 301.0) as u32 })
                .collect();
            let part = |feature: usize| f64::from(values[feature]) / 300.0;
            let relevance = part(0) + part(1) * part(2) + if part(3) > 0.5 { 0.7 } else { 0.0 };
            let grade = (1.6 * relevance + unit() - 0.5).clamp(0.0, 3.0) as u32;
            write!(rows, "{grade}").unwrap();
            for (at, value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
                write!(rows, " {}:{}.{:02}", at + 1, value / 100, value % 100).unwrap();
            }
            rows.push('\n');
        }
    }
    fs::write(file, rows).unwrap();
    fs::write(file.with_added_extension("query"), sizes).unwrap();
}

/// Leaves `peer.txt` in `dir`; gives version and best iteration.
fn grow_in_python(dir: &Path, peer: &str) -> Value {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/python");
    assert!(python.exists(), "no {}: run `make setup-servers`", python.display());
    let output =
        run(Command::new(&python)
            .current_dir(dir)
            .args(["-c", peer, "rank.train", "rank.test", "P.json", "peer.txt"]));
    if String::from_utf8_lossy(&output.stderr).contains("No module named 'lightgbm'") {
        panic!("no lightgbm in {}: run `make setup-servers`", python.display());
    }
    succeeded("python", &output);
    let printed = String::from_utf8(output.stdout).unwrap();
    let peer = read_json(printed.lines().last().unwrap());
    assert_eq!(peer["version"], PEER_VERSION, "run `make setup-servers`");
    peer
}

/// From the first tree to the line after the last.
fn trees(model: &str) -> &str {
    let start = model.find("Tree=0").expect("a first tree");
    let end = model.find("end of trees").expect("an end of the trees");
    &model[start..end]
}

/// A program of this workspace, from the build that made this test.
fn program(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join(name);
    assert!(
        program.exists(),
        "no {}: run `cargo build --release --bins`",
        program.display()
    );
    program
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn succeeded(what: &str, output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}: {stderr}", output.status);
}

fn read_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
