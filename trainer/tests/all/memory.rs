//! Training holds the data once, as bins, whatever its size.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::market;

/// Trains in a process of its own, and returns its peak memory in bytes.
fn peak_memory(program: &Path, matrix: &Path, out: &Path, parameters: &Path) -> u64 {
    let mut child = Command::new(program)
        // Cargo hands variables to tests that the program would take for its own.
        .env_clear()
        .args(["train", "--json", "--matrix"])
        .arg(matrix)
        .arg("--params")
        .arg(parameters)
        .arg("--out")
        .arg(out)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0;
    loop {
        // The high-water mark never falls, so only what is reached in the last milliseconds is missed.
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) = kib.and_then(|kib| kib.trim().strip_suffix(" kB")) {
            peak = peak.max(kib.parse::<u64>().unwrap() * 1024);
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A row with everything that belongs to it takes about 1,000 bytes as a value of its own.
#[test]
fn the_cases_are_never_in_memory_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_ltr-trainer"));
    let parameters = market::parameters(dir.path(), 3);
    let peak = |cases: usize| {
        let folder = dir.path().join(cases.to_string());
        let matrix = market::write(&folder, 10, cases / 10);
        peak_memory(program, &matrix, &folder.join("run"), &parameters)
    };
    let cases = 40_000;
    let grew = peak(cases).saturating_sub(peak(200));
    let per_row = grew / (cases * market::LAWYERS) as u64;
    // Most of this is the sample for the bins, which never is more than 200,000 rows.
    assert!(per_row < 300, "{per_row} bytes a row, {grew} in all");
}

/// Not a test: prints the figures of docs/training.md. `PROGRAM` may be another build, and `DATA` a
/// folder that keeps the matrices.
#[test]
#[ignore = "a measurement"]
fn measure_memory_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let variable = |name: &str| std::env::var(name).ok();
    let program = variable("PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_ltr-trainer").to_owned());
    let rows: usize = variable("ROWS").map_or(1_000_000, |rows| rows.parse().unwrap());
    let parameters = market::parameters(dir.path(), 20);
    let data = variable("DATA").map_or_else(|| dir.path().join("data"), PathBuf::from);
    let mut matrix = data.join("days.json");
    if !matrix.exists() {
        matrix = market::write(&data, 25, rows / market::LAWYERS / 25);
    }
    let started = std::time::Instant::now();
    let peak = peak_memory(Path::new(&program), &matrix, &dir.path().join("run"), &parameters);
    let model = ltr_trainer::files::hash(&dir.path().join("run/ltr_model.txt")).unwrap();
    println!(
        "{rows} rows: {} MiB, {:.1} s, model {model}",
        peak >> 20,
        started.elapsed().as_secs_f64()
    );
}
