//! Files of rows as people have them: `score`, `explain` and `bench` take them right or refuse them by line and column.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use evil::Behaviour;
use tempfile::TempDir;

/// A folder with a component whose score is its first feature, `geo`; the other one is `price`.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder::with(&["geo", "price"], None)
    }

    fn with(features: &[&str], categories: Option<&str>) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        let mut component = evil::component(features, Behaviour::Honest);
        if let Some(json) = categories {
            // A custom section: its id, its length, and its name's before the name.
            let content = [b"\x0eltr:categories", json.as_bytes()].concat();
            component.extend([0, u8::try_from(content.len()).unwrap()]);
            component.extend(content);
        }
        folder.write("scorer.wasm", &component);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn command(&self, tool: &str, input: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ltr-host"));
        command.current_dir(self.0.path()).env_clear();
        command.args([tool, "scorer.wasm", "--input", input]);
        command
    }

    /// Exit code, standard output and standard error of `score`.
    fn score(&self, input: &str, more: &[&str]) -> (i32, String, String) {
        run(self.command("score", input).args(more))
    }
}

fn run(command: &mut Command) -> (i32, String, String) {
    texts(command.output().unwrap())
}

fn texts(Output { status, stdout, stderr }: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn a_pipe_gives_one_line_for_each_row() {
    let folder = Folder::new();
    let rows: Vec<f64> = (0..20_000).map(|row| f64::from(row) / 8.0).collect();
    let text: String = rows.iter().map(|geo| format!("7,{geo}\r\n")).collect();
    let mut command = folder.command("score", "-");
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut score = command.spawn().unwrap();
    let mut input = score.stdin.take().unwrap();
    input
        .write_all(format!("\u{feff}price,geo\r\n{text}").as_bytes())
        .unwrap();
    drop(input);
    let (code, scores, error) = texts(score.wait_with_output().unwrap());
    assert_eq!((code, error.as_str()), (0, ""));
    let scores: Vec<f64> = scores.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(scores, rows);
}

#[test]
fn every_tool_refuses_what_it_cannot_read_and_leaves_the_output() {
    let folder = Folder::new();
    folder.write("scores.txt", b"before");
    for (name, bytes, parts) in [
        (
            "open.csv",
            &b"geo,price,note\n1,2,x\n1,2,\"27 inch\n1,2,y\n"[..],
            &["open.csv:3, column note"][..],
        ),
        (
            "crlf.csv",
            b"geo,price\r\n\r\n1,2\r\n1,oops\r\n",
            &["crlf.csv:4, column price: \"oops\""],
        ),
        (
            "semicolon.csv",
            b"geo;price\n0,5;1\n",
            &["semicolon.csv is a table with semicolons"],
        ),
        (
            "rows.csv.gz",
            b"\x1f\x8b\x08\0",
            &["rows.csv.gz is compressed with gzip", "--input -"],
        ),
        ("short.csv", b"geo,price\n1,2\n1\n", &["short.csv:3", "1 fields"]),
        (
            "other.csv",
            b"geo,prize\n1,2\n",
            &["lacks 1 needed columns: price", "--by-position"],
        ),
        ("counted.csv", b"1,2,3\n4,5,6\n", &["counted.csv:1: \"3 columns\""]),
        (".", b"", &["is a directory"]),
    ] {
        if name != "." {
            folder.write(name, bytes);
        }
        for tool in ["score", "explain", "bench"] {
            let (code, page, error) = run(&mut folder.command(tool, name));
            assert_eq!((code, page.as_str()), (1, ""), "{tool} {name}");
            assert!(parts.iter().all(|part| error.contains(part)), "{tool} {name}: {error}");
        }
        assert_eq!(folder.score(name, &["--output", "scores.txt"]).0, 1);
        assert_eq!(std::fs::read(folder.path("scores.txt")).unwrap(), b"before");
    }
}

#[test]
fn a_line_that_may_be_a_header_or_a_row_needs_a_word() {
    let folder = Folder::with(&["0", "1"], None);
    folder.write("rows.csv", b"1,0\n0.5,0.25\n");
    let (code, page, error) = folder.score("rows.csv", &[]);
    assert_eq!((code, page.as_str()), (1, ""));
    assert!(error.contains("rows.csv:1") && error.contains("--no-header"), "{error}");
    assert_eq!(folder.score("rows.csv", &["--header"]).1, "0.25\n");
    assert_eq!(folder.score("rows.csv", &["--no-header"]).1, "1.0\n0.5\n");
    assert_eq!(folder.score("rows.csv", &["--header", "--by-position"]).1, "0.5\n");
    assert_eq!(folder.score("rows.csv", &["--header", "--no-header"]).0, 2);
}

#[test]
fn values_of_categories_are_looked_up_and_codes_taken_where_they_are_said_to_be_some() {
    let folder = Folder::with(&["geo", "price"], Some(r#"{"columns":{"geo":["far","near"]}}"#));
    folder.write("rows.csv", b"price,geo\n1,near\n1,far\n1,\n1,between\n");
    let (code, scores, error) = folder.score("rows.csv", &[]);
    assert_eq!((code, scores.as_str(), error.as_str()), (0, "1.0\n0.0\nnan\nnan\n", ""));
    folder.write("codes.csv", b"price,geo\n1,1\n");
    let (code, page, error) = folder.score("codes.csv", &[]);
    assert_eq!((code, page.as_str()), (1, ""));
    assert!(
        error.contains("codes.csv:2, column geo: \"1\"") && error.contains("--category-codes"),
        "{error}"
    );
    assert_eq!(folder.score("codes.csv", &["--category-codes"]).1, "1.0\n");
    let inspected = run(Command::new(env!("CARGO_BIN_EXE_ltr-host"))
        .arg("inspect")
        .arg(folder.path("scorer.wasm")));
    assert!(inspected.1.contains("geo: \"far\", \"near\""), "{}", inspected.1);
    let unclear = Folder::with(&["geo", "price"], Some(r#"{"unclear":"two may have them"}"#));
    unclear.write("codes.csv", b"price,geo\n1,1\n");
    assert!(unclear.score("codes.csv", &[]).2.contains("two may have them"));
    assert_eq!(unclear.score("codes.csv", &["--category-codes"]).1, "1.0\n");
    let broken = Folder::with(&["geo", "price"], Some("{"));
    broken.write("codes.csv", b"price,geo\n1,1\n");
    assert!(
        broken
            .score("codes.csv", &[])
            .2
            .contains("section ltr:categories cannot be read")
    );
}
