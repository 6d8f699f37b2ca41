//! Reading real files of each format.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests make, read and time what they like"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, DurationSecondArray, Float16Array,
    Float32Array, Float64Array, Int32Array, Int64Array, NullArray, RecordBatch, StringArray, StructArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int8Type, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use rows::{Categories, Category, Expect, Format, Header, Options, Table, svmlight};
use tempfile::TempDir;

fn write(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn refusal(path: &Path) -> String {
    svmlight::read_ranking(path).unwrap_err().to_string()
}

/// Read by name into columns of these names.
fn read(path: &Path, names: &[&str]) -> Result<Table, String> {
    read_as(path, names, None)
}

fn read_as(path: &Path, names: &[&str], format: Option<Format>) -> Result<Table, String> {
    read_with(path, names, false, None, format)
}

fn read_with(
    path: &Path,
    names: &[&str],
    by_position: bool,
    categories: Option<&Categories>,
    format: Option<Format>,
) -> Result<Table, String> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let expect = Expect {
        names: &names,
        by_position,
        categories,
    };
    let header = Header::Unknown;
    rows::read(path, &Options { format, header }, &expect).map_err(|error| error.to_string())
}

/// Equal, and missing where missing.
#[track_caller]
fn same(table: Result<Table, String>, expected: &[f64]) {
    let table = table.unwrap_or_else(|error| panic!("{error}"));
    let shown = |values: &[f64]| values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>();
    assert_eq!(shown(&table.values), shown(expected));
    assert_eq!(table.values.len(), table.rows() * table.width);
}

#[track_caller]
fn refused(table: Result<Table, String>, parts: &[&str]) {
    let error = table.map(|table| table.rows()).expect_err("it is taken");
    for part in parts {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn svmlight_takes_the_width_it_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, "rank.test", "1 1:0.5\n# a comment\n\n0 0:2 2:nan\n0 1:NA\n");
    let table = read(&path, &["a", "b", "c"]).unwrap();
    assert_eq!((table.rows(), table.width), (3, 3));
    assert_eq!(table.values[..5], [0.0, 0.5, 0.0, 2.0, 0.0]);
    assert!(table.values[5].is_nan() && table.values[7].is_nan());
    assert_eq!(table.labels, Some(vec![1.0, 0.0, 0.0]));
    // Most files with another column count from 1.
    for (name, rows, line) in [
        ("from_1.svm", "1 1:0.5 2:9 3:1\n", "from_1.svm:1"),
        ("far.svm", "1 0:1\n1 99999999999:1\n", "far.svm:2"),
    ] {
        let path = write(&dir, name, rows);
        refused(
            read(&path, &["a", "b", "c"]),
            &[line, "an index below 3; the first column is 0"],
        );
    }
    let mixed = write(&dir, "mixed.svm", "1 1:0.5\n1:1\n");
    refused(read(&mixed, &["a", "b"]), &["mixed.svm:2: \"a row without a label\""]);
    let marked = write(&dir, "marked.svm", "\u{feff}1 1:0.5\r\n");
    same(read(&marked, &["a", "b"]), &[0.0, 0.5]);
    let old = write(&dir, "old.svm", "0:1\r1:2\r");
    refused(read(&old, &["a", "b"]), &["old.svm:1: \"a carriage return"]);
}

#[test]
fn a_hostile_index_does_not_cost_memory() {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, "big.svm", "1 qid:1 4000000000:1\n");
    let message = refusal(&path);
    assert!(message.contains("an index below 1000000"), "{message}");
    let rows: String = std::iter::repeat_n("1 qid:1 999999:1\n", 500).collect();
    let message = refusal(&write(&dir, "wide.svm", &rows));
    assert!(message.contains("500 rows of 1000000 columns"), "{message}");
}

#[test]
fn a_pipe_is_read_from_its_first_byte() {
    let dir = TempDir::new().unwrap();
    let rows: String = (0..3000).map(|row| format!("{row},0.5\n")).collect();
    let expected: Vec<f64> = (0..3000).flat_map(|row| [0.5, f64::from(row)]).collect();
    for (name, text) in [
        ("fifo", format!("b,a\n{rows}")),
        ("fifo.csv", format!("\u{feff}b,a\n{rows}")),
    ] {
        let path = fifo(&dir, name, text.into_bytes());
        same(read(&path, &["a", "b"]), &expected);
    }
    let sparse: String = (0..3000).map(|row| format!("1:{row} 0:0.5\n")).collect();
    same(read(&fifo(&dir, "sparse", sparse.into_bytes()), &["a", "b"]), &expected);
    let parquet = fifo(&dir, "columns", b"PAR1\x15\x04\0\0".to_vec());
    refused(read(&parquet, &["a"]), &["columns is a pipe", "write it to a file"]);
}

/// A FIFO that somebody writes these bytes to.
fn fifo(dir: &TempDir, name: &str, bytes: Vec<u8>) -> PathBuf {
    let path = dir.path().join(name);
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let writer = path.clone();
    // Who reads no further than needed breaks the pipe.
    std::thread::spawn(move || drop(std::fs::write(writer, bytes)));
    path
}

#[test]
fn what_a_file_is_decides_and_not_its_name() {
    let dir = TempDir::new().unwrap();
    let packed = dir.path().join("rows.csv");
    std::fs::write(&packed, b"\x1f\x8b\x08\0\0\0\0\0").unwrap();
    refused(read(&packed, &["a"]), &["rows.csv is compressed with gzip; unpack it"]);
    let utf16: Vec<u8> = "\u{feff}a,b\n1,2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let wide = dir.path().join("wide.csv");
    std::fs::write(&wide, utf16).unwrap();
    refused(
        read(&wide, &["a", "b"]),
        &["wide.csv is text in UTF-16; convert it to UTF-8"],
    );
    refused(read_as(&wide, &["a", "b"], Some(Format::Tsv)), &["UTF-16"]);
    let folder = dir.path().join("spark.parquet");
    std::fs::create_dir(&folder).unwrap();
    refused(read(&folder, &["a"]), &["spark.parquet is a directory", "one by one"]);
    let columns = parquet(&dir, vec![("a", Arc::new(Int64Array::from(vec![7])))]);
    let called = dir.path().join("called.csv");
    std::fs::copy(&columns, &called).unwrap();
    same(read(&called, &["a"]), &[7.0]);
    refused(
        read_as(&called, &["a"], Some(Format::Csv)),
        &["called.csv is a Parquet file", "--format parquet"],
    );
    let tabs = write(&dir, "rows.tsv", "a\tb\n1\t2\n");
    same(read(&tabs, &["b", "a"]), &[2.0, 1.0]);
    let options = Options {
        format: None,
        header: Header::Absent,
    };
    let expect = Expect {
        names: &["a".to_owned()],
        by_position: false,
        categories: None,
    };
    let error = rows::read(&columns, &options, &expect).unwrap_err().to_string();
    assert!(error.contains("whether parquet has a header"), "{error}");
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
    parquet_with(dir, columns, WriterProperties::builder().build())
}

/// Names may stand twice.
fn parquet_with(dir: &TempDir, columns: Vec<(&str, ArrayRef)>, properties: WriterProperties) -> PathBuf {
    let path = dir.path().join("rows.parquet");
    let fields = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let batch = RecordBatch::try_new(schema, columns).unwrap();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path
}

#[test]
fn parquet_columns_are_found_by_name_in_any_order() {
    let dir = TempDir::new().unwrap();
    let nested = StructArray::from(vec![(
        Arc::new(Field::new("inner", DataType::Int32, true)),
        Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef,
    )]);
    let path = parquet(
        &dir,
        vec![
            ("note", Arc::new(StringArray::from(vec!["x", "y"]))),
            ("nested", Arc::new(nested)),
            ("c d", Arc::new(Int64Array::from(vec![Some(7), Some(-2)]))),
            ("a", Arc::new(Float64Array::from(vec![Some(0.1), None]))),
            ("b", Arc::new(Float32Array::from(vec![0.5, f32::INFINITY]))),
        ],
    );
    same(
        read(&path, &["a", "b", "c_d"]),
        &[0.1, 0.5, 7.0, f64::NAN, f64::INFINITY, -2.0],
    );
    refused(
        read(&path, &["a", "note"]),
        &["column note: \"Utf8\"", "integer, float, decimal or boolean"],
    );
    refused(read(&path, &["nested"]), &["column nested: \"Struct"]);
    refused(
        read(&path, &["a", "z"]),
        &["lacks 1 needed columns: z; it has 5 columns: note, nested, c d, a, b"],
    );
}

#[test]
fn two_parquet_columns_of_one_name_keep_their_places() {
    let dir = TempDir::new().unwrap();
    let column = |value: f64| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
    let path = parquet(&dir, vec![("x", column(1.0)), ("y", column(2.0)), ("x", column(3.0))]);
    same(read_with(&path, &["a", "b", "c"], true, None, None), &[1.0, 2.0, 3.0]);
    same(read(&path, &["y"]), &[2.0]);
    refused(
        read(&path, &["y", "x"]),
        &["column x: \"2 columns of this name", "each needed column once"],
    );
}

#[test]
fn every_type_that_is_a_number_is_read_and_others_are_named() {
    let dir = TempDir::new().unwrap();
    let dictionary: DictionaryArray<Int8Type> =
        DictionaryArray::new(vec![Some(1), None].into(), Arc::new(Int64Array::from(vec![5, 6])));
    let floats: DictionaryArray<Int8Type> = DictionaryArray::new(
        vec![Some(1), None].into(),
        Arc::new(Float64Array::from(vec![0.5, 0.75])),
    );
    let decimals = Decimal128Array::from(vec![Some(1), Some(-12_345)])
        .with_precision_and_scale(9, 1)
        .unwrap();
    let halves = Float16Array::from_iter_values([0.5_f32, -2.0].map(half));
    let path = parquet(
        &dir,
        vec![
            ("bool", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("decimal", Arc::new(decimals)),
            ("dictionary", Arc::new(dictionary)),
            ("floats", Arc::new(floats)),
            ("half", Arc::new(halves)),
            ("large", Arc::new(UInt64Array::from(vec![u64::MAX, (1 << 53) + 1]))),
            ("nothing", Arc::new(NullArray::new(2))),
            ("when", Arc::new(Date32Array::from(vec![1, 2]))),
        ],
    );
    same(
        read(
            &path,
            &["bool", "decimal", "dictionary", "half", "large", "nothing", "floats"],
        ),
        &[
            1.0,
            0.1,
            6.0,
            0.5,
            u64::MAX as f64,
            f64::NAN,
            0.75,
            f64::NAN,
            -1234.5,
            f64::NAN,
            -2.0,
            9007199254740992.0,
            f64::NAN,
            f64::NAN,
        ],
    );
    refused(read(&path, &["when"]), &["column when: \"Date32\""]);
}

fn half(number: f32) -> <arrow::datatypes::Float16Type as arrow::array::ArrowPrimitiveType>::Native {
    <arrow::datatypes::Float16Type as arrow::array::ArrowPrimitiveType>::Native::from_f32(number)
}

fn codecs() -> [Compression; 7] {
    [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::BROTLI(BrotliLevel::default()),
    ]
}

#[test]
fn every_codec_page_version_and_encoding_gives_the_same_rows() {
    let dir = TempDir::new().unwrap();
    let expected: Vec<f64> = (0..5000)
        .flat_map(|row| [f64::from(row / 7) / 3.0, f64::from(row % 11)])
        .collect();
    let floats: ArrayRef = Arc::new(Float64Array::from_iter_values(expected.iter().step_by(2).copied()));
    let integers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..5000).map(|row| row % 11)));
    for codec in codecs() {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for dictionary in [true, false] {
                let mut properties = WriterProperties::builder()
                    .set_compression(codec)
                    .set_writer_version(version)
                    .set_dictionary_enabled(dictionary)
                    .set_data_page_row_count_limit(700)
                    .set_write_batch_size(100);
                if !dictionary {
                    properties = properties
                        .set_column_encoding("a".into(), Encoding::BYTE_STREAM_SPLIT)
                        .set_column_encoding("b".into(), Encoding::DELTA_BINARY_PACKED);
                }
                let columns = vec![("b", integers.clone()), ("a", floats.clone())];
                same(
                    read(&parquet_with(&dir, columns, properties.build()), &["a", "b"]),
                    &expected,
                );
            }
        }
    }
}

/// A page that unpacks to far more than it says: `to` zeros, in the place of a page of `rows` numbers.
#[test]
fn a_page_that_expands_without_end_is_refused_before_it_does() {
    let dir = TempDir::new().unwrap();
    let zeros: ArrayRef = Arc::new(Float64Array::from(vec![0.0; 1_000_000]));
    for codec in &codecs()[1..] {
        let properties = WriterProperties::builder()
            .set_compression(*codec)
            .set_dictionary_enabled(false)
            .set_data_page_size_limit(1 << 30)
            .set_data_page_row_count_limit(10_000_000)
            .set_write_batch_size(10_000_000)
            .build();
        let path = parquet_with(&dir, vec![("a", zeros.clone())], properties);
        let mut bytes = std::fs::read(&path).unwrap();
        // The header's second field is the page's length once unpacked: 8,000,000 and some, as a varint of four bytes.
        let header = &mut bytes[4..12];
        assert_eq!((header[0], header[2]), (0x15, 0x15), "type, then length");
        assert_eq!(
            header[3..7].iter().filter(|byte| **byte >= 0x80).count(),
            3,
            "four bytes"
        );
        header[6] = 0x01;
        std::fs::write(&path, bytes).unwrap();
        let error = read(&path, &["a"]).map(|table| table.rows()).expect_err("it is taken");
        if matches!(codec, Compression::GZIP(_) | Compression::BROTLI(_)) {
            assert!(
                error.contains("column a: \"a page that expands to more than the"),
                "{codec}: {error}"
            );
        }
    }
}

#[test]
fn a_page_that_says_it_is_huge_is_refused_by_its_size() {
    let dir = TempDir::new().unwrap();
    let long = "x".repeat(1000);
    let texts: ArrayRef = Arc::new(StringArray::from(vec![long.as_str(); 20_000]));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .set_data_page_size_limit(1 << 30)
        .build();
    let path = parquet_with(&dir, vec![("a", texts)], properties);
    assert!(std::fs::metadata(&path).unwrap().len() < 1 << 17);
    let lists = Categories::Columns([("a".to_owned(), vec![Category::Text(long)])].into());
    refused(
        read_with(&path, &["a"], false, Some(&lists), None),
        &["column a: \"a page of 2", "pages of at most 16777216 bytes"],
    );
}

#[test]
fn a_span_of_time_is_refused_by_its_type_and_not_read_as_an_integer() {
    let dir = TempDir::new().unwrap();
    let path = parquet(
        &dir,
        vec![
            ("span", Arc::new(DurationSecondArray::from(vec![5, 6]))),
            ("count", Arc::new(Int64Array::from(vec![5, 6]))),
        ],
    );
    refused(read(&path, &["span"]), &["column span: \"Duration(s)\""]);
    same(read(&path, &["count"]), &[5.0, 6.0]);
}

/// By `pyarrow.parquet.write_table(pa.table({"a": [1.5, 2.5, 3.5]}), path, write_page_checksum=True,
/// use_dictionary=False, compression="none",
/// write_statistics=False, store_schema=False)`.
const CHECKSUMMED: &[u8] = include_bytes!("data/checksummed.parquet");

#[test]
fn a_page_that_its_checksum_says_is_damaged_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("rows.parquet");
    std::fs::write(&path, CHECKSUMMED).unwrap();
    same(read(&path, &["a"]), &[1.5, 2.5, 3.5]);
    let value = 2.5_f64.to_le_bytes();
    let at = CHECKSUMMED.windows(8).position(|window| window == value).unwrap();
    let mut damaged = CHECKSUMMED.to_vec();
    damaged[at] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    refused(read(&path, &["a"]), &["rows.parquet", "checksum"]);
}

#[test]
fn parquet_categories_become_their_codes_whatever_their_type() {
    let dir = TempDir::new().unwrap();
    let text = |text: &str| Category::Text(text.to_owned());
    let lists = Categories::Columns(
        [
            ("color".to_owned(), vec![text("red"), text("blue")]),
            ("flag".to_owned(), vec![Category::Bool(false), Category::Bool(true)]),
            ("size".to_owned(), vec![Category::Integer(10), Category::Integer(20)]),
            ("id".to_owned(), vec![Category::Integer((1 << 53) + 1)]),
        ]
        .into(),
    );
    let colors: DictionaryArray<Int8Type> = vec![Some("blue"), Some("green"), None].into_iter().collect();
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]));
    let path = parquet(
        &dir,
        vec![
            ("color", Arc::new(colors)),
            ("flag", flags.clone()),
            ("size", Arc::new(Float64Array::from(vec![Some(20.0), Some(30.0), None]))),
            ("id", Arc::new(Int64Array::from(vec![1 << 53, (1 << 53) + 1, 0]))),
            ("w", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ],
    );
    let n = f64::NAN;
    let read = |path: &Path, names: &[&str]| read_with(path, names, false, Some(&lists), None);
    same(
        read(&path, &["size", "color", "flag", "w", "id"]),
        &[1.0, 1.0, 1.0, 1.0, n, n, n, 0.0, 2.0, 0.0, n, n, n, 3.0, n],
    );
    let plain = parquet(&dir, vec![("color", Arc::new(StringArray::from(vec!["red", "blue"])))]);
    same(read(&plain, &["color"]), &[0.0, 1.0]);
    for (name, column) in [
        ("size", flags.clone()),
        ("color", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
    ] {
        refused(
            read(&parquet(&dir, vec![(name, column)]), &[name]),
            &[name, "in row 1", "--category-codes"],
        );
    }
    let sparse = write(&dir, "rows.svm", "0:10\n0:99 1:3\n");
    same(read(&sparse, &["size", "w"]), &[0.0, 0.0, n, 3.0]);
    let sparse = write(&dir, "rows.svm", "0:10\n0:99\n");
    refused(
        read(&sparse, &["color"]),
        &["rows.svm:1, column color: \"10\"", "\"red\", \"blue\""],
    );
}

#[test]
fn what_is_no_parquet_and_what_is_not_there_say_so() {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, "rows.parquet", "PAR1 and then nothing of the kind");
    refused(read(&path, &["a"]), &["rows.parquet is not a Parquet file"]);
    refused(read(&dir.path().join("absent.csv"), &["a"]), &["absent.csv"]);
    let good = parquet(&dir, vec![("a", Arc::new(Int64Array::from(vec![1, 2])))]);
    let bytes = std::fs::read(&good).unwrap();
    for length in (0..bytes.len()).step_by(7) {
        std::fs::write(&good, &bytes[..length]).unwrap();
        assert!(read(&good, &["a"]).is_err(), "cut to {length}");
    }
}

#[test]
fn no_damaged_byte_of_a_parquet_file_ends_the_program() {
    let dir = TempDir::new().unwrap();
    let column = || Arc::new(Int64Array::from_iter_values(0..40)) as ArrayRef;
    let text = Arc::new(StringArray::from_iter_values((0..40).map(|row| row.to_string()))) as ArrayRef;
    let lists = Categories::Columns([("t".to_owned(), vec![Category::Text("7".to_owned())])].into());
    for codec in codecs() {
        let properties = WriterProperties::builder().set_compression(codec).build();
        let columns = vec![("a", column()), ("t", text.clone()), ("b", column())];
        let path = parquet_with(&dir, columns, properties);
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(3) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x80 | (at % 128) as u8;
            std::fs::write(&path, damaged).unwrap();
            // Some are read, because a value is as good as another; none may have other rows.
            if let Ok(table) = read_with(&path, &["a", "b", "t"], false, Some(&lists), None) {
                assert_eq!(table.rows() * 3, table.values.len());
            }
        }
    }
}
