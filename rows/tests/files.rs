//! Reading real files of each format.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use rows::{Expect, Format, svmlight};
use tempfile::TempDir;

fn write(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn refusal(path: &Path) -> String {
    svmlight::read_ranking(path).unwrap_err().to_string()
}

#[test]
fn svmlight_takes_the_width_it_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, "rank.test", "1 1:0.5 7:9\n# a comment\n\n0 0:2 2:nan\n");
    let three = Expect { width: 3, names: None };
    let table = rows::read(&path, None, Some(&three)).unwrap();
    assert_eq!((table.rows(), table.width), (2, 3));
    assert_eq!(table.values[..5], [0.0, 0.5, 0.0, 2.0, 0.0]);
    assert!(table.values[5].is_nan());
    assert_eq!(table.labels, Some(vec![1.0, 0.0]));
    let open = rows::read(&path, Some(Format::SvmLight), None).unwrap();
    assert_eq!((open.width, open.values[7]), (8, 9.0));
    let mixed = write(&dir, "mixed.svm", "1 1:0.5\n2:1\n");
    let message = rows::read(&mixed, None, None).unwrap_err().to_string();
    assert!(message.contains("mixed.svm:2: \"a row without a label\""), "{message}");
}

#[test]
fn a_hostile_index_does_not_cost_memory() {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, "big.svm", "1 4000000000:1\n");
    let message = rows::read(&path, None, None).unwrap_err().to_string();
    assert!(message.contains("an index below 1000000"), "{message}");
    let rows: String = std::iter::repeat_n("1 999999:1\n", 500).collect();
    let path = write(&dir, "wide.svm", &rows);
    let message = rows::read(&path, None, None).unwrap_err().to_string();
    assert!(message.contains("500 rows of 1000000 columns"), "{message}");
}

#[test]
fn query_sizes_come_from_the_file_beside() {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, "rank.train", "0 1:1\n2 1:2\n1 2:3\n");
    let message = refusal(&path);
    assert!(message.contains("rank.train.query beside the file"), "{message}");
    write(&dir, "rank.train.query", "2\n1\n");
    let ranking = svmlight::read_ranking(&path).unwrap();
    assert_eq!((ranking.width, &ranking.groups[..]), (3, &[2, 1][..]));
    assert_eq!(ranking.labels, [0.0, 2.0, 1.0]);
    assert_eq!(ranking.values, [0.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0]);
    write(&dir, "rank.train.query", "2\n2\n");
    let message = refusal(&path);
    assert!(
        message.contains("rank.train.query: \"sizes that sum to 4\" is refused; allowed: a sum of 3"),
        "{message}"
    );
    write(&dir, "rank.train.query", "3\nx\n");
    assert!(refusal(&path).contains("rank.train.query:2: \"x\""));
    write(&dir, "rank.train.query", "3\n0\n");
    assert!(refusal(&path).contains("at least 1"));
}

#[test]
fn queries_can_be_named_on_the_rows() {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, "letor.txt", "0 qid:9 1:1\n2 qid:9 1:2\n1 qid:3 1:3 # doc\n");
    assert_eq!(svmlight::read_ranking(&path).unwrap().groups, [2, 1]);
    let apart = write(&dir, "apart.txt", "0 qid:9 1:1\n2 qid:3 1:2\n1 qid:9 1:3\n");
    assert!(refusal(&apart).contains("apart.txt:3: \"qid:9 again\""));
    let some = write(&dir, "some.txt", "0 qid:9 1:1\n2 1:2\n");
    assert!(refusal(&some).contains("some.txt:2: \"a row without a qid:\""));
    let unlabelled = write(&dir, "unlabelled.txt", "qid:9 1:1\n");
    assert!(refusal(&unlabelled).contains("unlabelled.txt:1: \"a row without a label\""));
}

fn parquet(dir: &TempDir, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
    let path = dir.path().join("rows.parquet");
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path
}

#[test]
fn parquet_columns_are_found_by_name_in_any_order() {
    let dir = TempDir::new().unwrap();
    let path = parquet(
        &dir,
        vec![
            ("note", Arc::new(StringArray::from(vec!["x", "y"]))),
            ("c", Arc::new(Int64Array::from(vec![Some(7), Some(-2)]))),
            ("a", Arc::new(Float64Array::from(vec![Some(0.1), None]))),
            ("b", Arc::new(Float32Array::from(vec![0.5, f32::INFINITY]))),
        ],
    );
    let names = ["a", "b", "c"].map(String::from);
    let expect = Expect {
        width: 3,
        names: Some(&names),
    };
    let table = rows::read(&path, None, Some(&expect)).unwrap();
    assert_eq!(table.values[..3], [0.1, 0.5, 7.0]);
    assert!(table.values[3].is_nan());
    assert_eq!(table.values[4..], [f64::INFINITY, -2.0]);
    assert_eq!((table.rows(), table.names), (2, Some(names.to_vec())));

    let message = rows::read(&path, None, None).unwrap_err().to_string();
    assert!(message.contains("column note: \"Utf8\" is refused"), "{message}");
    let other = ["a".to_owned(), "z".to_owned()];
    let expect = Expect {
        width: 2,
        names: Some(&other),
    };
    let message = rows::read(&path, None, Some(&expect)).unwrap_err().to_string();
    assert!(message.contains("lacks 1 needed columns: z"), "{message}");
}

#[test]
fn what_is_no_parquet_and_what_is_not_there_say_so() {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, "rows.parquet", "PAR1 and then nothing of the kind");
    let message = rows::read(&path, None, None).unwrap_err().to_string();
    assert!(message.contains("rows.parquet is not a Parquet file"), "{message}");
    let absent = dir.path().join("absent.csv");
    let message = rows::read(&absent, None, None).unwrap_err().to_string();
    assert!(message.contains("absent.csv"), "{message}");
}
