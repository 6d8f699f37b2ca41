//! Ranking data with the files beside it.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests make, read and time what they like"
)]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rows::svmlight::{self, Ranking};
use tempfile::TempDir;

/// Six rows in two queries of four and two.
const ROWS: &str = "2 1:1\n0 1:2\n1 1:3\n0 1:4\n1 1:5\n0 1:6\n";
const WITH_QIDS: &str = "2 qid:7 1:1\n0 qid:7 1:2\n1 qid:7 1:3\n0 qid:7 1:4\n1 qid:9 1:5\n0 qid:9 1:6\n";

fn write(dir: &TempDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// What the rows with these files beside are read as, each named by its ending.
fn read(rows: &str, beside: &[(&str, &str)]) -> Result<Ranking, String> {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, "data", rows);
    for (ending, text) in beside {
        write(&dir, &format!("data.{ending}"), text);
    }
    let place = dir.path().display().to_string() + "/";
    svmlight::read_ranking(&path).map_err(|error| error.to_string().replace(&place, ""))
}

#[test]
fn what_lightgbm_loads_beside_the_rows_is_loaded() {
    let beside = [
        ("query", "4\n2\n"),
        ("weight", "1\n0.5\n2e0\n0\n1\n3\n"),
        ("position", "top\n2\ntop\n3\n2\n4\n"),
        ("init", "0.1\n-0.2\n0\n1e-3\n5\n6\n"),
    ];
    let ranking = read(ROWS, &beside).unwrap();
    assert_eq!(ranking.groups, [4, 2]);
    assert_eq!(ranking.weights, Some(vec![1.0, 0.5, 2.0, 0.0, 1.0, 3.0]));
    assert_eq!(ranking.positions, Some(vec![0, 1, 0, 2, 1, 3]));
    assert_eq!(ranking.initial_scores, Some(vec![0.1, -0.2, 0.0, 1e-3, 5.0, 6.0]));
    assert_eq!((ranking.lines, ranking.qids), (vec![1, 2, 3, 4, 5, 6], None));

    let windows = beside.map(|(ending, text)| (ending, format!("\u{feff}{}\r\n\r\n", text.replace('\n', "\r\n"))));
    let windows: Vec<(&str, &str)> = windows.iter().map(|(ending, text)| (*ending, text.as_str())).collect();
    let other = read(&ROWS.replace('\n', "\r\n"), &windows).unwrap();
    assert_eq!((other.groups, other.weights), (ranking.groups, ranking.weights));
    assert_eq!(
        (other.positions, other.initial_scores),
        (ranking.positions, ranking.initial_scores)
    );

    let alone = read(WITH_QIDS, &[]).unwrap();
    assert_eq!((alone.groups, alone.qids), (vec![4, 2], Some(vec![7, 9])));
    assert_eq!(
        (alone.weights, alone.positions, alone.initial_scores),
        (None, None, None)
    );
}

#[test]
fn initial_scores_of_several_outputs_are_turned_to_output_after_output() {
    let ranking = read(WITH_QIDS, &[("init", "1\t10\n2\t20\n3\t30\n4\t40\n5\t50\n6\t60\n")]).unwrap();
    let expected = [1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60].map(f64::from);
    assert_eq!(ranking.initial_scores, Some(expected.to_vec()));
}

#[test]
fn a_file_beside_that_does_not_fit_is_refused_with_its_line() {
    for (ending, text, expected) in [
        (
            "weight",
            "1\n1\n1\n1\n1\n",
            "data.weight: \"5 lines\" is refused; allowed: 6, one for each row of data",
        ),
        ("weight", "", "data.weight: \"0 lines\""),
        ("weight", "1\n1\n\n1\n1\n1\n", "blank lines do not count"),
        (
            "weight",
            "1\n1\nheavy\n1\n1\n1\n",
            "data.weight:3: \"heavy\" is refused; allowed: a weight, a number",
        ),
        ("weight", "1\n-1\n1\n1\n1\n1\n", "data.weight:2: \"-1\""),
        ("weight", "1\n1\n1\n1\n1\nnan\n", "data.weight:6: \"nan\""),
        ("weight", "1\n1\n1\n1\n1\n1e39\n", "data.weight:6: \"1e39\""),
        ("weight", "1 1\n1\n1\n1\n1\n1\n", "data.weight:1: \"1 1\""),
        ("position", "1\n2\n3\n4\n1\n2\n3\n", "data.position: \"7 lines\""),
        (
            "position",
            "1\n2 \n3\n4\n1\n2\n",
            "data.position:2: \"2 \" is refused; allowed: a position without blanks",
        ),
        ("init", "0\n0\n0\n", "data.init: \"3 lines\""),
        (
            "init",
            "0\n0\ninf\n0\n0\n0\n",
            "data.init:3: \"inf\" is refused; allowed: an initial score, a finite number",
        ),
        (
            "init",
            "0\t1\n0\t1\n0\n0\t1\n0\t1\n0\t1\n",
            "data.init:3: \"0\" is refused; allowed: 2 initial scores with tabs",
        ),
        ("init", "0 1\n0 1\n0 1\n0 1\n0 1\n0 1\n", "data.init:1: \"0 1\""),
        (
            "query",
            "4\n1.0\n",
            "data.query:2: \"1.0\" is refused; allowed: the size of a query",
        ),
        ("query", "4\n0\n2\n", "data.query:2: \"0\""),
        (
            "query",
            "4\n3\n",
            "data.query: \"sizes that sum to 7\" is refused; allowed: a sum of 6",
        ),
    ] {
        let error = read(WITH_QIDS, &[(ending, text)]).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn queries_told_in_two_ways_must_agree() {
    assert_eq!(read(WITH_QIDS, &[("query", "4\n2\n")]).unwrap().groups, [4, 2]);
    for (sizes, expected) in [
        (
            "3\n3\n",
            "data.query:1: \"a query of 3 rows\" is refused; allowed: 4, the rows of qid:7 in data",
        ),
        (
            "6\n",
            "data.query:1: \"a query of 6 rows\" is refused; allowed: 4, the rows of qid:7 in data",
        ),
        (
            "4\n\n1\n1\n",
            "data.query:3: \"a query of 1 rows\" is refused; allowed: 2, the rows of qid:9 in data",
        ),
    ] {
        let error = read(WITH_QIDS, &[("query", sizes)]).unwrap_err();
        assert!(
            error.contains(expected) && error.contains("take one of the two out"),
            "{error}"
        );
    }
}

#[test]
fn a_group_file_of_another_library_is_pointed_out() {
    let error = read(ROWS, &[("group", "4\n2\n")]).unwrap_err();
    assert!(
        error.contains("data.query beside the file, which is LightGBM's name for "),
        "{error}"
    );
}

#[test]
fn a_file_beside_that_is_none_is_refused() {
    let refusal = |path: &Path| svmlight::read_ranking(path).unwrap_err().to_string();
    let dir = TempDir::new().unwrap();
    let path = write(&dir, "data", WITH_QIDS);
    std::fs::create_dir(dir.path().join("data.weight")).unwrap();
    assert!(refusal(&path).contains("data.weight: it is a directory"));
    std::fs::remove_dir(dir.path().join("data.weight")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("data.init")).unwrap();
    assert!(refusal(&path).contains("data.init"));
}

#[test]
fn rows_are_read_behind_a_byte_order_mark_and_beside_comments_in_any_encoding() {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, "data", b"\xEF\xBB\xBF1 qid:1 1:2 # caf\xE9\r\n0 qid:1 1:3\r\n");
    assert_eq!(svmlight::read_ranking(&path).unwrap().labels, [1.0, 0.0]);
    for (rows, expected) in [
        ("1 1:2\r0 1:3\r", "a carriage return within the line"),
        ("1 1:2\n0 1:3\r1 1:4\n", "data:2: "),
        ("1,0.5,0.25\n", "columns between commas are not SVMlight"),
        ("1\t0.5\t0.25\n", "columns without an index are not SVMlight"),
    ] {
        let error = read(rows, &[]).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_file_that_is_no_text_is_called_by_its_name() {
    let dir = TempDir::new().unwrap();
    let utf_16: Vec<u8> = "\u{feff}1 qid:1 1:2\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for (bytes, kind) in [
        (b"\x1F\x8B\x08\x08\xE2\n".as_slice(), "a file compressed by gzip"),
        (&utf_16, "text in UTF-16"),
        (b"1 qid:1 1:\xE9\n", "text in UTF-8"),
    ] {
        let path = write(&dir, "data", bytes);
        let error = svmlight::read_ranking(&path).unwrap_err().to_string();
        assert!(error.contains("data:1: ") && error.contains(kind), "{error}");
    }
}

proptest! {
    #[test]
    fn sizes_are_taken_only_where_they_cut_as_the_ids_do(
        runs in prop::collection::vec(1_u32..5, 1..6),
        sizes in prop::collection::vec(1_u32..5, 1..6),
    ) {
        let rows: String = (0..).zip(&runs).map(|(qid, &run)| format!("1 qid:{qid} 1:1\n").repeat(run as usize)).collect();
        let text: String = sizes.iter().map(|size| format!("{size}\n")).collect();
        let read = read(&rows, &[("query", &text)]);
        prop_assert_eq!(read.is_ok(), runs == sizes);
        prop_assert!(read.map_or(true, |ranking| ranking.groups == runs));
    }

    #[test]
    fn no_bytes_beside_make_it_panic(
        ending in prop::sample::select(vec!["query", "weight", "position", "init"]),
        text in "[0-9.e\\-+\t\r\n a]{0,40}",
    ) {
        if let Ok(ranking) = read(WITH_QIDS, &[(ending, &text)]) {
            prop_assert_eq!(ranking.groups.iter().sum::<u32>(), 6);
            prop_assert!(ranking.weights.is_none_or(|weights| weights.len() == 6));
            prop_assert!(ranking.positions.is_none_or(|positions| positions.len() == 6));
            prop_assert!(ranking.initial_scores.is_none_or(|scores| scores.len() % 6 == 0));
        }
    }
}
