//! Several processes that train one model.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ltr_trainer::feature_map::FeatureMap;
use ltr_trainer::files;
use ltr_trainer::lightgbm::Predictor;
use ltr_trainer::matrix::{self, StoredMatrix};
use ranking::statistics::mean;
use ranking::{Grade, Schema, ndcg_at};
use tempfile::TempDir;

use crate::market;

/// Free ports of this machine, as a list for `--machines`.
fn machines(count: usize) -> Vec<String> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap().to_string())
        .collect()
}

/// Data and parameters, for processes that train on them.
struct Task {
    dir: TempDir,
    matrix: PathBuf,
    parameters: PathBuf,
}

impl Task {
    fn new(cases: usize, rounds: usize) -> Task {
        let dir = tempfile::tempdir().unwrap();
        Task {
            matrix: market::write(&dir.path().join("data"), 10, cases / 10),
            parameters: market::parameters(dir.path(), rounds),
            dir,
        }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self, name: &str, options: &[&str]) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ltr-trainer"))
            // Cargo hands variables to tests that the program would take for its own.
            .env_clear()
            .args(["train", "--json", "--matrix"])
            .arg(&self.matrix)
            .arg("--params")
            .arg(&self.parameters)
            .arg("--out")
            .arg(self.out(name))
            .args(options)
            .env("RUST_LOG", "ltr_trainer=info")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Process { child, log }
    }

    fn start_together(&self, machines: &[String], rank: usize, timeout: &str) -> Process {
        let list = machines.join(",");
        let place = rank.to_string();
        let options = [
            "--machines",
            &list,
            "--machine-rank",
            &place,
            "--machines-timeout",
            timeout,
        ];
        self.start(&place, &options)
    }

    fn model(&self, name: &str) -> Vec<u8> {
        files::read(&self.out(name).join("ltr_model.txt")).unwrap()
    }

    /// nDCG@5 on the newest fifth of the cases, which no training has seen.
    fn quality(&self, name: &str) -> f64 {
        let stored = StoredMatrix::open(&self.matrix, 0, &Schema::default()).unwrap();
        let count = stored.index().cases.len();
        let map = FeatureMap::parse(&files::read(&self.out(name).join("feature_map.json")).unwrap()).unwrap();
        let model = Predictor::from_text(&String::from_utf8(self.model(name)).unwrap()).unwrap();
        let cases = stored.cases(count * 4 / 5..count).unwrap();
        mean(cases.iter().filter_map(|case| {
            let mut values = matrix::values(std::slice::from_ref(case));
            map.scale(&mut values);
            let scores = model.predict(&values).unwrap();
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let grades: Vec<u8> = order.iter().map(|&at| case.rows[at].grade.value()).collect();
            ndcg_at(5, &grades, &Grade::GAINS)
        }))
    }
}

struct Process {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Process {
    /// Waits until the process has logged this.
    fn wait_for(&mut self, text: &str) {
        let mut line = String::new();
        while self.log.read_line(&mut line).unwrap() > 0 {
            if line.contains(text) {
                return;
            }
        }
        panic!("{text:?} was never logged:\n{line}");
    }

    /// The exit status, and the rest of what was logged.
    fn end(mut self, within: Duration) -> (ExitStatus, String) {
        let deadline = Instant::now() + within;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    self.child.kill().unwrap();
                    panic!("the process did not end within {within:?}");
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        (status, log)
    }

    fn succeed(self) {
        let (status, log) = self.end(Duration::from_secs(300));
        assert!(status.success(), "{status}\n{log}");
    }

    fn fail(self, code: i32, expected: &str) {
        let (status, log) = self.end(Duration::from_secs(60));
        assert_eq!(status.code(), Some(code), "{log}");
        assert!(log.contains(expected), "expected {expected:?}, got {log}");
    }
}

fn exists(path: &Path) -> bool {
    path.try_exists().unwrap()
}

#[test]
fn two_processes_grow_one_model_that_is_as_good_as_that_of_one_process() {
    let task = Task::new(3_000, 60);
    let list = machines(2);
    let (first, second) = (
        task.start_together(&list, 0, "120"),
        task.start_together(&list, 1, "120"),
    );
    let alone = task.start("alone", &[]);
    for process in [first, second, alone] {
        process.succeed();
    }
    assert!(task.model("0") == task.model("1"), "all machines write the same model");
    let map = |name: &str| files::read(&task.out(name).join("feature_map.json")).unwrap();
    assert!(map("0") == map("1") && map("0") == map("alone"));
    let report: serde_json::Value = files::read_json(&task.out("0").join("training.json")).unwrap();
    assert_eq!(report["machines"], 2);
    assert_eq!(report["train"]["queries"], 1_950, "the whole training part");
    // `evaluate` trains rivals by these, on one machine.
    assert!(report["parameters"].get("num_machines").is_none(), "{report}");
    let (together, alone) = (task.quality("0"), task.quality("alone"));
    assert!(alone > 0.75, "the task can be learned: {alone}");
    assert!((together - alone).abs() < 0.01, "{together} together, {alone} alone");
    // Each alone would have learned from half of the cases.
    let model = String::from_utf8(task.model("0")).unwrap();
    let trained_on = model.split("leaf_count=").nth(1).unwrap().lines().next().unwrap();
    let rows: usize = trained_on.split(' ').map(|count| count.parse::<usize>().unwrap()).sum();
    assert_eq!(
        rows,
        1_950 * market::LAWYERS,
        "the first tree has the rows of both machines"
    );
}

#[test]
fn three_processes_agree_as_well() {
    let task = Task::new(600, 10);
    let list = machines(3);
    let processes: Vec<Process> = (0..3).map(|rank| task.start_together(&list, rank, "120")).collect();
    processes.into_iter().for_each(Process::succeed);
    assert!(task.model("0") == task.model("1") && task.model("1") == task.model("2"));
}

#[test]
fn if_one_process_is_killed_the_other_fails_at_once_and_names_it() {
    // More rounds than could end during the test.
    let task = Task::new(600, 1_000_000);
    for victim in [0, 1] {
        let list = machines(2);
        let mut both = [0, 1].map(|rank| task.start_together(&list, rank, "50"));
        both.iter_mut()
            .for_each(|process| process.wait_for("connected with all of 2 machines"));
        // Into the boosting rounds.
        std::thread::sleep(Duration::from_secs(3));
        let [first, second] = both;
        let (mut killed, other) = if victim == 0 { (first, second) } else { (second, first) };
        assert!(killed.child.try_wait().unwrap().is_none(), "still training");
        killed.child.kill().unwrap();
        killed.child.wait().unwrap();
        let started = Instant::now();
        other.fail(1, &format!("machine {}: went away", list[victim]));
        assert!(started.elapsed() < Duration::from_secs(25), "before the time limit");
        assert!(!exists(&task.out("0")) && !exists(&task.out("1")), "nothing is written");
    }
}

#[test]
fn if_one_process_hangs_the_other_fails_after_the_time_limit() {
    let task = Task::new(600, 1_000_000);
    let list = machines(2);
    let mut both = [0, 1].map(|rank| task.start_together(&list, rank, "4"));
    both.iter_mut()
        .for_each(|process| process.wait_for("connected with all of 2 machines"));
    std::thread::sleep(Duration::from_secs(2));
    let [mut stopped, other] = both;
    let signalled = Command::new("kill")
        .args(["-STOP", &stopped.child.id().to_string()])
        .status();
    assert!(signalled.unwrap().success());
    other.fail(
        1,
        &format!("machine {}: no answer within 4 s (--machines-timeout)", list[0]),
    );
    stopped.child.kill().unwrap();
    stopped.child.wait().unwrap();
}

#[test]
fn machines_that_cannot_train_together_say_why() {
    let task = Task::new(200, 5);
    let list = machines(2);
    task.start_together(&list, 1, "1")
        .fail(1, &format!("--machines: no connection with {} within 1 s", list[0]));

    let other = Task::new(210, 5);
    let list = machines(2);
    let (first, second) = (
        task.start_together(&list, 0, "50"),
        other.start_together(&list, 1, "50"),
    );
    first.fail(1, &format!("machine {} trains something else", list[1]));
    second.fail(1, &format!("machine {} trains something else", list[0]));

    let missing = "--machines: 203.0.113.1:1, 203.0.113.2:1; none of them is an address of this machine";
    task.start("usage", &["--machines", "203.0.113.1:1,203.0.113.2:1"])
        .fail(2, missing);
    task.start("usage", &["--machines", "localhost:1,localhost:1"])
        .fail(2, "localhost:1 is listed twice");
    for (key, value, allowed) in [
        (
            "tree_learner",
            serde_json::json!("voting"),
            "tree_learner: voting; allowed: data",
        ),
        (
            "linear_tree",
            serde_json::json!(true),
            "linear_tree: true; allowed: false",
        ),
    ] {
        let task = Task::new(200, 5);
        let mut parameters: serde_json::Value = files::read_json(&task.parameters).unwrap();
        parameters[key] = value;
        files::write_json(&task.parameters, &parameters).unwrap();
        let list = machines(2);
        let both = [0, 1].map(|rank| task.start_together(&list, rank, "50"));
        for process in both {
            let (status, log) = process.end(Duration::from_secs(60));
            assert!(!status.success(), "{log}");
            assert!(log.contains(allowed) || log.contains("went away"), "{log}");
        }
    }
}
