use ranking::Grade;

use super::*;
use crate::files;
use crate::matrix::days::DayList;
use crate::matrix::tests::{listed, stored, synthetic};
use crate::matrix::{encode, values};
use crate::outcome::exit_code;

/// More rows than are decoded at once, so that cases lie across batches.
const MANY: usize = 2_500;

#[test]
fn passes_give_what_was_written_whatever_part_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let matrix = synthetic(MANY, 21);
    let one = stored(dir.path(), &matrix);
    let days = StoredMatrix::open(&listed(dir.path(), &matrix), 0, &matrix.schema).unwrap();
    for stored in [one, days] {
        let index = stored.index();
        assert_eq!(index.cases.len(), MANY);
        for cases in [0..MANY, 0..1, 1_000..1_100, MANY - 1..MANY, 7..7] {
            let expected = &matrix.cases[cases.clone()];
            // Debug text, because NaN (missing) does not equal itself.
            assert_eq!(
                format!("{:?}", stored.cases(cases.clone()).unwrap()),
                format!("{expected:?}")
            );
            let rows = index.rows(&cases);
            let mut found: Vec<u64> = Vec::new();
            let mut next = rows.start;
            let take = |row: usize, features: &[f64]| {
                assert_eq!(row, next);
                next += 1;
                found.extend(features.iter().map(|x| x.to_bits()));
                Ok(())
            };
            stored.each_row(rows.clone(), take).unwrap();
            let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<u64>>();
            assert_eq!(found, bits(values(expected)), "{cases:?}");
            assert_eq!(bits(stored.features(&rows.collect::<Vec<_>>()).unwrap()), found);
            let shown: Vec<_> = expected.iter().map(Case::shown).collect();
            assert_eq!(index.shown(cases).collect::<Vec<_>>(), shown);
        }
    }
}

#[test]
fn days_without_a_click_or_a_mature_case_are_allowed_and_a_list_without_any_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut matrix = synthetic(100, 22);
    let quiet = matrix.cases[30].ts.date_naive();
    let of_day = |case: &Case| case.ts.date_naive() == quiet;
    for row in matrix
        .cases
        .iter_mut()
        .filter(|case| of_day(case))
        .flat_map(|case| &mut case.rows)
    {
        row.grade = Grade::Shown;
    }
    let path = listed(dir.path(), &matrix);
    let open = || StoredMatrix::open(&path, 0, &matrix.schema);
    assert_eq!(open().unwrap().index().cases.len(), 100);

    // A day on which all windows are open still.
    let day = dir.path().join(format!("{quiet}.parquet"));
    let open_day = immature(&std::fs::read(&day).unwrap());
    std::fs::write(&day, &open_day).unwrap();
    relist(&path, |day| day.date == quiet, &open_day);
    let count = matrix.cases.iter().filter(|case| of_day(case)).count();
    assert_eq!(open().unwrap().index().cases.len(), 100 - count);

    let mut list: DayList = files::read_json(&path).unwrap();
    list.days.retain(|day| day.date == quiet);
    files::write_json(&path, &list).unwrap();
    let error = format!("{:#}", open().unwrap_err());
    assert!(error.contains("days.json (1 files): column qid: no rows"), "{error}");
}

#[test]
fn a_file_that_changes_between_two_passes_or_is_out_of_order_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let matrix = synthetic(100, 23);
    let path = listed(dir.path(), &matrix);
    let stored = StoredMatrix::open(&path, 0, &matrix.schema).unwrap();
    let list: DayList = files::read_json(&path).unwrap();
    let second = &list.days[1].path;
    let mut other = matrix.clone();
    other.cases.truncate(20);
    std::fs::write(second, encode(&other).unwrap()).unwrap();
    let named = |error: anyhow::Error| {
        let (text, file) = (format!("{error:#}"), second.display().to_string());
        assert!(text.contains(&file) && text.contains("made again"), "{text}");
        assert_eq!(exit_code(&Err(error)), 3, "a repetition does not help");
    };
    named(stored.cases(0..100).unwrap_err());
    named(stored.each_row(0..800, |_, _| Ok(())).unwrap_err());
    named(StoredMatrix::open(&path, 0, &matrix.schema).unwrap_err());

    relist(&path, |day| day.path == *second, &encode(&other).unwrap());
    let error = format!("{:#}", StoredMatrix::open(&path, 0, &matrix.schema).unwrap_err());
    assert!(error.contains(&second.display().to_string()), "{error}");
    assert!(
        error.contains("row 1, column ts") && error.contains("or later"),
        "{error}"
    );
}

/// The same cases, none of them mature.
fn immature(parquet: &[u8]) -> Vec<u8> {
    use arrow::array::{ArrayRef, BooleanArray};
    use arrow::record_batch::RecordBatch;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::copy_from_slice(parquet)).unwrap();
    let batch = reader.build().unwrap().next().unwrap().unwrap();
    let flag: ArrayRef = std::sync::Arc::new(BooleanArray::from(vec![false; batch.num_rows()]));
    let schema = batch.schema();
    let columns = schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .zip(batch.columns().iter().cloned());
    let batch = RecordBatch::try_from_iter(columns.chain([("mature".to_owned(), flag)])).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn relist(path: &Path, which: impl Fn(&crate::matrix::days::Day) -> bool, bytes: &[u8]) {
    let mut list: DayList = files::read_json(path).unwrap();
    for day in list.days.iter_mut().filter(|day| which(day)) {
        day.sha256 = files::sha256(bytes);
    }
    files::write_json(path, &list).unwrap();
}
