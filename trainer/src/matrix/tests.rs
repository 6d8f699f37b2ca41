use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, StringArray, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Field, Schema as ArrowSchema};
use arrow::record_batch::RecordBatch;
use chrono::{Duration, NaiveDate, SubsecRound};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;

/// Reads the bytes of a Parquet file as a matrix.
fn read(bytes: Vec<u8>, schema: &Schema) -> Result<Matrix, MatrixError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let read = || -> anyhow::Result<Vec<Case>> {
        let stored = StoredMatrix::open(file.path(), 0, schema)?;
        stored.cases(0..stored.index().cases.len())
    };
    let schema = schema.clone();
    match read() {
        Ok(cases) => Ok(Matrix { schema, cases }),
        Err(error) => Err(error.downcast().unwrap()),
    }
}

/// A matrix on disk with these cases.
pub(crate) fn stored(dir: &Path, matrix: &Matrix) -> StoredMatrix {
    let path = dir.join("stored.parquet");
    std::fs::write(&path, encode(matrix).unwrap()).unwrap();
    StoredMatrix::open(&path, 0, &matrix.schema).unwrap()
}

/// Writes the cases as matrices of a day each, and a list of these days.
pub(crate) fn listed(dir: &Path, matrix: &Matrix) -> PathBuf {
    let mut by_day: BTreeMap<NaiveDate, Vec<Case>> = BTreeMap::new();
    for case in &matrix.cases {
        by_day.entry(case.ts.date_naive()).or_default().push(case.clone());
    }
    let day = |(date, cases): (NaiveDate, Vec<Case>)| {
        let schema = matrix.schema.clone();
        let bytes = encode(&Matrix { schema, cases }).unwrap();
        let path = dir.join(format!("{date}.parquet"));
        std::fs::write(&path, &bytes).unwrap();
        let sha256 = crate::files::sha256(&bytes);
        days::Day { date, path, sha256 }
    };
    let days = days::DayList {
        days: by_day.into_iter().map(day).collect(),
    };
    let path = dir.join(days::DAYS);
    crate::files::write_json(&path, &days).unwrap();
    path
}

/// The index of these cases.
pub(crate) fn index_of(cases: &[Case]) -> Index {
    let mut index = Index::default();
    cases.iter().for_each(|case| index.add(case));
    index
}

/// A fixed start, so that dates in tests are readable.
pub(crate) fn start() -> DateTime<Utc> {
    "2026-10-01T08:00:00Z".parse().unwrap()
}

/// A uniform draw from [0, 1).
pub(crate) fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Cases an hour apart with eight lawyers each. Their grades depend on an interaction that a
/// weighted sum cannot express: `area_match` helps where `price_fit` is high and hurts elsewhere.
/// They do not depend on groups. Some features are missing.
pub(crate) fn synthetic(cases: usize, seed: u64) -> Matrix {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let cases = (0..cases).map(|number| synthetic_case(number, &mut rng)).collect();
    Matrix {
        schema: Schema::default(),
        cases,
    }
}

fn synthetic_case(number: usize, rng: &mut ChaCha8Rng) -> Case {
    let (area, price) = (0, 9);
    let rows = (0..8).map(|at| {
        let mut features: Vec<f64> = (0..11).map(|_| uniform(rng)).collect();
        let utility = if features[price] > 0.5 {
            features[area]
        } else {
            1.0 - features[area]
        };
        let liking = utility + 0.05 * (uniform(rng) - 0.5);
        let grade = [0.70, 0.80, 0.90].iter().filter(|bound| liking > **bound).count();
        if uniform(rng) < 0.05 {
            features[6] = f64::NAN;
        }
        let gender = if uniform(rng) < 0.5 { "F" } else { "M" };
        Shown {
            lawyer_id: format!("adv_{}", (number * 3 + at * 7) % 101),
            grade: Grade::ALL[grade],
            legacy_score: number
                .is_multiple_of(2)
                .then(|| features[..5].iter().sum::<f64>() / 5.0),
            features,
            position: at as u32 + 1,
            groups: [("gender".to_owned(), gender.to_owned())].into(),
            cases_30d: Some((number + at) as u32 % 20),
            monthly_capacity: Some(30),
            last_offered_at: (at % 2 == 0).then(|| start().trunc_subsecs(6)),
        }
    });
    Case {
        rows: rows.collect(),
        qid: Uuid::from_u128(number as u128 + 1),
        ts: start() + Duration::hours(number as i64),
        source: Source::Legacy,
    }
}

/// As [`synthetic`], but clients want lawyers with a high feature 0, these tend to be shown first,
/// and a position is looked at with probability `1 / (1 + fall * (position - 1))`.
pub(crate) fn biased(cases: usize, seed: u64, fall: f64) -> Matrix {
    let mut matrix = synthetic(cases, seed);
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 1);
    for case in &mut matrix.cases {
        let noise: Vec<f64> = case.rows.iter().map(|_| uniform(&mut rng)).collect();
        let mut order: Vec<usize> = (0..case.rows.len()).collect();
        let displayed = |at: usize| case.rows[at].features[0] + noise[at];
        order.sort_by(|&a, &b| displayed(b).total_cmp(&displayed(a)));
        let mut rows: Vec<Shown> = order.iter().map(|&at| case.rows[at].clone()).collect();
        for (at, row) in rows.iter_mut().enumerate() {
            let examined = uniform(&mut rng) < 1.0 / (1.0 + fall * at as f64);
            let liking = row.features[0] + 0.3 * (uniform(&mut rng) - 0.5);
            let grade = [0.5, 0.7, 0.9].iter().filter(|bound| liking > **bound).count();
            row.position = at as u32 + 1;
            row.grade = if examined { Grade::ALL[grade] } else { Grade::Shown };
        }
        case.rows = rows;
    }
    matrix
}

fn batch_of(matrix: &Matrix) -> RecordBatch {
    let bytes = bytes::Bytes::from(encode(matrix).unwrap());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn read_batch(batch: &RecordBatch) -> Result<Matrix, MatrixError> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    read(bytes, &Schema::default())
}

/// The batch with the column of that name replaced or added; `None` removes it.
fn with_column(batch: &RecordBatch, name: &str, array: Option<ArrayRef>) -> RecordBatch {
    let schema = batch.schema();
    let mut columns: Vec<(Arc<Field>, ArrayRef)> = schema
        .fields()
        .iter()
        .cloned()
        .zip(batch.columns().iter().cloned())
        .filter(|(field, _)| field.name() != name)
        .collect();
    if let Some(array) = array {
        let field = Field::new(name, array.data_type().clone(), true);
        columns.push((Arc::new(field), array));
    }
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), arrays).unwrap()
}

/// A numeric column of the batch with one value replaced.
fn with_number(batch: &RecordBatch, name: &str, row: usize, value: Option<f64>) -> RecordBatch {
    let column = arrow::compute::cast(
        batch.column_by_name(name).unwrap(),
        &arrow::datatypes::DataType::Float64,
    )
    .unwrap();
    let column = column.as_any().downcast_ref::<Float64Array>().unwrap();
    let mut values: Vec<Option<f64>> = column.iter().collect();
    values[row] = value;
    with_column(batch, name, Some(Arc::new(Float64Array::from(values))))
}

fn with_text(batch: &RecordBatch, name: &str, row: usize, value: Option<&str>) -> RecordBatch {
    let column = batch.column_by_name(name).unwrap();
    let column = column.as_any().downcast_ref::<StringArray>().unwrap();
    let mut values: Vec<Option<&str>> = column.iter().collect();
    values[row] = value;
    with_column(batch, name, Some(Arc::new(StringArray::from(values))))
}

fn with_rows(batch: &RecordBatch, rows: &[u64]) -> RecordBatch {
    take_record_batch(batch, &UInt64Array::from(rows.to_vec())).unwrap()
}

#[test]
fn a_matrix_survives_the_file_exactly_and_the_same_matrix_is_the_same_file() {
    let matrix = synthetic(30, 1);
    let bytes = encode(&matrix).unwrap();
    assert_eq!(bytes, encode(&matrix).unwrap());
    let back = read(bytes, &Schema::default()).unwrap();
    // Debug text, because NaN (missing) does not equal itself.
    assert_eq!(format!("{back:?}"), format!("{matrix:?}"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn every_bad_value_is_named_with_row_column_and_what_is_allowed() {
    let batch = batch_of(&synthetic(4, 2));
    let label_and_grade = with_number(&batch, "label", 2, Some(0.5));
    let single: Vec<u64> = (0..9).collect();
    let qid = Uuid::from_u128(1).hyphenated().to_string();
    let cases: Vec<(RecordBatch, String)> = vec![
        (
            label_and_grade,
            "row 3, column label: 0.5; allowed: 0, 0.3, 0.6 or 1".into(),
        ),
        (
            with_number(&batch, "label", 2, None),
            "row 3, column label: null; allowed: 0, 0.3".into(),
        ),
        (
            with_number(&batch, "grade", 0, Some(9.0)),
            "row 1, column grade: 9; allowed:".into(),
        ),
        (
            with_number(&batch, "position", 1, Some(f64::NAN)),
            "row 2, column position: NaN; allowed: a whole number, 1".into(),
        ),
        (
            with_number(&batch, "position", 1, Some(0.0)),
            "row 2, column position: 0; allowed: a whole number, 1".into(),
        ),
        (
            with_number(&batch, "position", 1, None),
            "row 2, column position: null; allowed".into(),
        ),
        (
            with_number(&batch, "position", 1, Some(1.0)),
            "row 2, column position: 1; allowed: above 1".into(),
        ),
        (
            with_number(&batch, "geo", 3, Some(f64::INFINITY)),
            "row 4, column geo: inf; allowed: a finite number".into(),
        ),
        (
            with_number(&batch, "legacy_score", 3, Some(f64::NAN)),
            "row 4, column legacy_score: NaN; allowed: a finite number".into(),
        ),
        (
            with_number(&batch, "cases_30d", 3, Some(-1.0)),
            "row 4, column cases_30d: -1; allowed: a whole number, 0".into(),
        ),
        (
            with_text(&batch, "qid", 0, Some("case 1")),
            "row 1, column qid: \"case 1\"; allowed: a UUID".into(),
        ),
        (
            with_text(&batch, "qid", 0, None),
            "row 1, column qid: null; allowed: a text".into(),
        ),
        (
            with_text(&batch, "lawyer_id", 0, Some("")),
            "row 1, column lawyer_id: \"\"; allowed: an id".into(),
        ),
        (
            with_text(&batch, "lawyer_id", 1, Some("adv_0")),
            "row 2, column lawyer_id: \"adv_0\"; allowed: each lawyer only once per case".into(),
        ),
        (
            with_text(&batch, "source", 0, Some("model")),
            "row 1, column source: \"model\"; allowed: legacy, ltr or interleaved".into(),
        ),
        (
            with_text(&batch, "groups", 0, Some("F")),
            "row 1, column groups: \"F\"; allowed: a JSON object".into(),
        ),
        (
            with_text(&batch, "qid", 8, Some(&qid)),
            "row 9, column ts: 2026-10-01T09:00:00+00:00; allowed: 2026-10-01T08:00:00+00:00".into(),
        ),
        (
            with_rows(&batch, &single),
            "row 9, column qid: 00000000-0000-0000-0000-000000000002 has one row; allowed: at least two lawyers".into(),
        ),
        (
            with_rows(&batch, &[8, 9, 0, 1]),
            "row 3, column ts: 2026-10-01T08:00:00+00:00; allowed: 2026-10-01T09:00:00+00:00 (the case before it) or later".into(),
        ),
        (
            with_rows(&batch, &[0, 1, 8, 9, 2, 3]),
            format!("row 5, column qid: {qid}; allowed: adjacent rows for each case; this case began at row 1"),
        ),
        (
            with_rows(&batch, &[]),
            "column qid: no rows of mature cases; needed: at least one case".into(),
        ),
    ];
    for (batch, expected) in cases {
        let refusal = read_batch(&batch).unwrap_err().to_string();
        assert!(refusal.starts_with(&expected), "expected {expected:?}, got {refusal:?}");
    }
}

#[test]
fn columns_must_be_those_of_the_schema_and_of_their_type() {
    let batch = batch_of(&synthetic(2, 3));
    let rows = batch.num_rows();
    let extra: ArrayRef = Arc::new(Float64Array::from(vec![0.0; rows]));
    let words: ArrayRef = Arc::new(StringArray::from(vec!["x"; rows]));
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1; rows]));
    for (batch, expected) in [
        (
            with_column(&batch, "geo", None),
            "column geo: missing; needed: qid, lawyer_id",
        ),
        (
            with_column(&batch, "ts", None),
            "column ts: missing; needed: qid, lawyer_id",
        ),
        (
            with_column(&batch, "zodiac", Some(extra)),
            "column zodiac: not part of a matrix; allowed: qid",
        ),
        (
            with_column(&batch, "geo", Some(words)),
            "column geo: Utf8; allowed: a number type",
        ),
        (
            with_column(&batch, "qid", Some(numbers)),
            "column qid: Int32; allowed: a text type",
        ),
    ] {
        let refusal = read_batch(&batch).unwrap_err().to_string();
        assert!(refusal.starts_with(expected), "expected {expected:?}, got {refusal:?}");
    }
    let mut damaged = encode(&synthetic(2, 3)).unwrap();
    damaged.truncate(damaged.len() / 2);
    let refusal = read(damaged, &Schema::default()).unwrap_err().to_string();
    assert!(refusal.starts_with("not a readable Parquet file"), "{refusal}");
}

#[test]
fn a_matrix_without_any_positive_label_teaches_nothing_and_is_refused() {
    let mut matrix = synthetic(3, 4);
    for row in matrix.cases.iter_mut().flat_map(|case| &mut case.rows) {
        row.grade = Grade::Shown;
    }
    let refusal = read(encode(&matrix).unwrap(), &Schema::default()).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "column label: 0 in all 24 rows; needed: at least one label above 0, because nothing can be learned without one"
    );
}
