//! `ltr-host` as a program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};

use evil::{Behaviour, Fault, When};
use serde_json::{Value, json};

fn ltr_host(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ltr-host"));
    command.args(arguments).env_clear();
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn a_wrong_setting_ends_it_with_code_2_and_one_line_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ltr.toml");
    std::fs::write(&file, "[host]\nlisten_on = \"127.0.0.1:1\"\n").unwrap();
    let (code, _, error) = run(&mut ltr_host(&["serve", "--config", file.to_str().unwrap()]));
    assert_eq!((code, error.trim().lines().count()), (2, 1), "{error}");
    assert!(error.contains("listen_on"), "{error}");

    let (code, _, error) = run(ltr_host(&["serve"]).env("LTR_HOST__DEADLINE_MS", "soon"));
    assert_eq!((code, error.trim().lines().count()), (2, 1), "{error}");
    assert!(error.contains("host.deadline_ms") && error.contains("soon"), "{error}");
    assert_eq!(run(&mut ltr_host(&["serve", "--port", "1"])).0, 2);
    assert_eq!(run(&mut ltr_host(&["rollout", "weight", "101"])).0, 2);
}

#[test]
fn the_configuration_is_printed_with_every_section_and_no_secret() {
    let (code, page, _) =
        run(ltr_host(&["serve", "--print-config"]).env("LTR_CLIENT__TOKEN", "hush-hush-hush-hush-hush-hush-hush"));
    assert_eq!(code, 0);
    for text in [
        "[host]",
        "deadline_ms = 200",
        "[shadow]",
        "fraction = 0.1",
        "[rollout",
        "min_cases = 3000",
    ] {
        assert!(page.contains(text), "{text} is not in\n{page}");
    }
    assert!(!page.contains("hush-hush-hush-hush-hush-hush-hush"), "{page}");
}

#[test]
fn help_has_examples() {
    for arguments in [
        &["serve", "--help"][..],
        &["explain", "--help"],
        &["bench", "--help"],
        &["rollout", "--help"],
        &["rollout", "watch", "--help"],
        &["ledger", "--help"],
        &["ledger", "verify", "--help"],
        &["--help"],
    ] {
        let (code, page, _) = run(&mut ltr_host(arguments));
        assert!(code == 0 && page.contains("Examples"), "{arguments:?}: {page}");
    }
}

#[test]
fn explain_shows_people_tables_and_programs_lines_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, bytes: &[u8]| std::fs::write(path(name), bytes).unwrap();
    // Its score is the first feature, which alone contributes.
    write("scorer.wasm", &evil::component(&["geo", "price"], Behaviour::Honest));
    write("rows.csv", b"price,geo\n,0.25\n7,-0.5\n");
    let explain = |more: &[&str]| {
        let (component, input) = (path("scorer.wasm"), path("rows.csv"));
        run(ltr_host(&["explain", &component, "--input", &input]).args(more))
    };

    let (code, page, error) = explain(&[]);
    assert_eq!((code, error.as_str()), (0, ""));
    for text in [
        "row 1",
        "row 2",
        "missing",
        "+0.250000",
        "-0.500000",
        "expected value",
        "raw score",
    ] {
        assert!(page.contains(text), "{text} in\n{page}");
    }
    let (_, page, _) = explain(&["--row", "2", "--top", "1"]);
    assert!(!page.contains("row 1") && page.contains("1 other feature"), "{page}");

    let (code, lines, _) = explain(&["--json"]);
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, rows.len()), (0, 2));
    assert_eq!(
        rows[0],
        json!({"row": 1, "outputs": [{
            "output": 0, "raw_score": 0.25, "expected_value": 0.0, "sum": 0.25,
            "contributions": [
                {"feature": "geo", "value": 0.25, "contribution": 0.25},
                {"feature": "price", "value": null, "contribution": 0.0},
            ],
            "others": {"features": 0, "contribution": 0.0},
        }]})
    );

    let (code, page, error) = explain(&["--row", "3"]);
    assert_eq!((code, page.as_str()), (1, ""));
    assert!(
        error.contains("--row 3") && error.contains("allowed: 1 to 2"),
        "{error}"
    );
    assert_eq!(explain(&["--row", "0"]).0, 2);
    write(
        "scorer.wasm",
        &evil::component(&["geo", "price"], Behaviour::Faulty(Fault::Refuse, When::Always)),
    );
    let (code, page, error) = explain(&[]);
    assert_eq!((code, page.as_str()), (1, ""));
    assert!(
        error.contains("scorer.wasm does not explain these rows: refused: no"),
        "{error}"
    );
}

#[test]
fn bench_measures_each_batch_and_says_what_it_cannot_measure() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, bytes: &[u8]| std::fs::write(path(name), bytes).unwrap();
    write("scorer.wasm", &evil::component(&["geo", "price"], Behaviour::Honest));
    write("rows.csv", b"price,geo\n,0.25\n7,-0.5\n3,1\n");
    let bench = |more: &[&str]| run(ltr_host(&["bench", &path("scorer.wasm"), "--rounds", "3"]).args(more));

    for more in [&["--json"][..], &["--json", "--input", &path("rows.csv")]] {
        let (code, page, error) = bench(&[more, &["--batch", "1,5"]].concat());
        assert_eq!((code, error.as_str()), (0, ""));
        let report: Value = serde_json::from_str(&page).unwrap();
        let results = report["results"].as_array().unwrap();
        assert_eq!(
            results.iter().map(|result| &result["batch"]).collect::<Vec<_>>(),
            [1, 5]
        );
        for result in results {
            let ns = |key: &str| result[key].as_f64().unwrap();
            let ordered = 0.0 < ns("fastest") && ns("fastest") <= ns("ns_per_row") && ns("ns_per_row") <= ns("slowest");
            assert!(ordered, "{result}");
        }
    }
    let (code, page, _) = bench(&["--batch", "2"]);
    assert!(code == 0 && page.contains("ns per row"), "{page}");
    assert_eq!(bench(&["--batch", "0"]).0, 2);
    assert_eq!(bench(&["--by-position"]).0, 2);

    write("rows.csv", b"geo\n1\n");
    let (code, _, error) = bench(&["--input", &path("rows.csv")]);
    assert!(code == 1 && error.contains("price"), "{error}");
    let faulty = Behaviour::Faulty(Fault::Trap, When::Always);
    write("scorer.wasm", &evil::component(&["geo", "price"], faulty));
    let (code, page, error) = bench(&[]);
    assert_eq!((code, page.as_str()), (1, ""));
    assert!(error.contains("the component failed"), "{error}");
}

#[test]
fn a_gateway_that_is_not_there_is_a_failure_and_not_a_refusal() {
    let (code, _, error) = run(&mut ltr_host(&["rollout", "status", "--url", "http://127.0.0.1:1"]));
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("http://127.0.0.1:1"), "{error}");
}

#[test]
fn it_serves_until_it_is_told_to_stop_and_then_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let (code, made, _) = run(&mut ltr_host(&["token", "ops", "--role", "admin", "--role", "rank"]));
    let (token, entry) = made.split_once('\n').unwrap();
    assert_eq!(code, 0);
    let mut gateway = ltr_host(&["serve"])
        .current_dir(folder.path())
        .env("LTR_HOST__LISTEN", "127.0.0.1:0")
        .env("LTR_ACCESS__TOKENS", format!("[{}]", entry.trim()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(gateway.stdout.take().unwrap()).lines();
    let address = lines.next().unwrap().unwrap().rsplit('/').next().unwrap().to_owned();
    let get = |path: &str| {
        let mut connection = TcpStream::connect(&address).unwrap();
        write!(connection, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(get("/healthz").starts_with("HTTP/1.0 200"));
    let (code, _, error) = run(&mut ltr_host(&[
        "rollout",
        "promote",
        "--url",
        &format!("http://{address}"),
        "--token",
        token,
    ]));
    assert!(code != 0 && error.contains("no challenger"), "{error}");

    let stopped = Command::new("kill")
        .arg("-TERM")
        .arg(gateway.id().to_string())
        .status()
        .unwrap();
    assert!(stopped.success());
    let mut log = String::new();
    gateway.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(gateway.wait().unwrap().code(), Some(0), "{log}");
    assert!(!log.contains(token), "{log}");
    let salt = std::fs::metadata(folder.path().join("var/keys/privacy.salt")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&salt.permissions()) & 0o777,
        0o600
    );
}
