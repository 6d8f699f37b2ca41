//! Reads a matrix from Parquet, some rows at a time, and checks the values (not `event_date`, which
//! follows from `ts`).

use std::collections::BTreeMap;
use std::fs::File;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringArray, TimestampMicrosecondArray};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use chrono::{DateTime, Utc};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use ranking::{Grade, Schema, Source};
use uuid::Uuid;

use super::{Case, MatrixError, Shown, columns};

/// The column that marks cases whose labels can still change.
const MATURE: &str = "mature";
/// Rows that are decoded at once: some megabytes, whatever the size of the file.
const BATCH_ROWS: usize = 8_192;

/// The mature cases of one Parquet file, some at a time. Checks each value, but not the rules that
/// span rows.
///
/// Each item is a [`MatrixError`] or the next cases, all of them whole.
pub(super) struct Cases<'a> {
    batches: ParquetRecordBatchReader,
    schema: &'a Schema,
    /// The case that the last batch ended with; the next one may go on with it.
    open: Option<Case>,
    /// Rows read.
    rows: usize,
}

impl<'a> Cases<'a> {
    /// # Errors
    /// A file that is not Parquet, or has other columns than a matrix.
    pub(super) fn of(file: File, schema: &'a Schema) -> Result<Cases<'a>, MatrixError> {
        let builder = open(file)?;
        check_columns(&builder, schema)?;
        Ok(Cases {
            batches: builder.build().map_err(|error| damaged(&error))?,
            schema,
            open: None,
            rows: 0,
        })
    }

    fn next_cases(&mut self) -> Result<Option<Vec<Case>>, MatrixError> {
        let Some(batch) = self.batches.next() else {
            return Ok(self.open.take().map(|case| vec![case]));
        };
        let batch = mature(batch.map_err(|error| damaged(&error))?)?;
        let columns = Columns::of(&batch, self.schema)?;
        let cases = columns.cases(self.open.take());
        let mut cases = cases.map_err(|error| error.behind(self.rows))?;
        self.rows += batch.num_rows();
        self.open = cases.pop();
        Ok(Some(cases))
    }
}

impl Iterator for Cases<'_> {
    type Item = Result<Vec<Case>, MatrixError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_cases().transpose()
    }
}

/// The features of the mature rows of one Parquet file, some rows at a time: row-major values.
pub(super) struct Features<'a> {
    batches: ParquetRecordBatchReader,
    schema: &'a Schema,
    rows: usize,
}

impl<'a> Features<'a> {
    /// # Errors
    /// A file that is not Parquet, or has other columns than a matrix.
    pub(super) fn of(file: File, schema: &'a Schema) -> Result<Features<'a>, MatrixError> {
        let builder = open(file)?;
        check_columns(&builder, schema)?;
        let names = schema.names().iter().map(String::as_str).chain([MATURE]);
        let needed = ProjectionMask::columns(builder.parquet_schema(), names);
        Ok(Features {
            batches: builder
                .with_projection(needed)
                .build()
                .map_err(|error| damaged(&error))?,
            schema,
            rows: 0,
        })
    }

    fn next_values(&mut self) -> Result<Option<Vec<f64>>, MatrixError> {
        let Some(batch) = self.batches.next() else {
            return Ok(None);
        };
        let batch = mature(batch.map_err(|error| damaged(&error))?)?;
        let names = self.schema.names();
        let width = names.len();
        let mut values = vec![0.0; batch.num_rows() * width];
        for (at, name) in names.iter().enumerate() {
            let column = number(&batch, name)?;
            for row in 0..batch.num_rows() {
                let value = feature(row, name, &column).map_err(|error| error.behind(self.rows))?;
                values[row * width + at] = value;
            }
        }
        self.rows += batch.num_rows();
        Ok(Some(values))
    }
}

impl Iterator for Features<'_> {
    type Item = Result<Vec<f64>, MatrixError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_values().transpose()
    }
}

/// The named columns of the mature rows of one Parquet file. Nothing else of it is read.
///
/// # Errors
/// A damaged file, or a column that is not there.
pub fn read_columns(file: File, names: &[&str]) -> Result<RecordBatch, MatrixError> {
    let builder = open(file)?;
    if let Some(missing) = names
        .iter()
        .find(|name| builder.schema().column_with_name(name).is_none())
    {
        return Err(MatrixError::MissingColumn {
            column: (*missing).to_owned(),
            needed: names.join(", "),
        });
    }
    let columns = names.iter().copied().chain([MATURE]);
    let needed = ProjectionMask::columns(builder.parquet_schema(), columns);
    let batches = builder
        .with_projection(needed)
        .build()
        .map_err(|error| damaged(&error))?;
    let schema = batches.schema();
    let batches = batches.map(|batch| mature(batch.map_err(|error| damaged(&error))?));
    let batches = batches.collect::<Result<Vec<_>, _>>()?;
    concat_batches(&schema, &batches).map_err(|error| damaged(&error))
}

fn open(file: File) -> Result<ParquetRecordBatchReaderBuilder<File>, MatrixError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| damaged(&error))?;
    Ok(builder.with_batch_size(BATCH_ROWS))
}

fn damaged(error: &dyn std::fmt::Display) -> MatrixError {
    MatrixError::Parquet(error.to_string())
}

fn check_columns(builder: &ParquetRecordBatchReaderBuilder<File>, schema: &Schema) -> Result<(), MatrixError> {
    let found = builder.schema();
    let names: Vec<&str> = columns(schema).collect();
    for field in found.fields() {
        if !names.contains(&field.name().as_str()) && field.name() != MATURE {
            return Err(MatrixError::UnknownColumn {
                column: field.name().clone(),
                allowed: names.join(", "),
            });
        }
    }
    match names.iter().find(|name| found.field_with_name(name).is_err()) {
        None => Ok(()),
        Some(missing) => Err(MatrixError::MissingColumn {
            column: (*missing).to_owned(),
            needed: names.join(", "),
        }),
    }
}

/// The rows whose labels can change no more.
fn mature(batch: RecordBatch) -> Result<RecordBatch, MatrixError> {
    let Some(column) = batch.column_by_name(MATURE) else {
        return Ok(batch);
    };
    let Some(is_mature) = column.as_boolean_opt() else {
        return Err(MatrixError::ColumnType {
            column: MATURE.to_owned(),
            found: column.data_type().to_string(),
            allowed: "true or false",
        });
    };
    filter_record_batch(&batch, is_mature).map_err(|error| damaged(&error))
}

/// The columns, converted to one type per kind.
struct Columns {
    qid: StringArray,
    lawyer_id: StringArray,
    label: Float64Array,
    grade: Float64Array,
    features: Vec<(String, Float64Array)>,
    position: Float64Array,
    legacy_score: Float64Array,
    groups: StringArray,
    cases_30d: Float64Array,
    monthly_capacity: Float64Array,
    last_offered_at: TimestampMicrosecondArray,
    source: StringArray,
    ts: TimestampMicrosecondArray,
}

impl Columns {
    fn of(batch: &RecordBatch, schema: &Schema) -> Result<Columns, MatrixError> {
        let features = schema
            .names()
            .iter()
            .map(|name| Ok((name.clone(), number(batch, name)?)))
            .collect::<Result<Vec<_>, MatrixError>>()?;
        Ok(Columns {
            qid: text(batch, "qid")?,
            lawyer_id: text(batch, "lawyer_id")?,
            label: number(batch, "label")?,
            grade: number(batch, "grade")?,
            features,
            position: number(batch, "position")?,
            legacy_score: number(batch, "legacy_score")?,
            groups: text(batch, "groups")?,
            cases_30d: number(batch, "cases_30d")?,
            monthly_capacity: number(batch, "monthly_capacity")?,
            last_offered_at: instant(batch, "last_offered_at")?,
            source: text(batch, "source")?,
            ts: instant(batch, "ts")?,
        })
    }

    /// Groups adjacent rows with the same qid into cases. The first rows may belong to `open`.
    fn cases(&self, open: Option<Case>) -> Result<Vec<Case>, MatrixError> {
        let mut cases: Vec<Case> = open.into_iter().collect();
        for row in 0..self.qid.len() {
            let (qid, ts, source) = (self.qid(row)?, self.ts(row)?, self.source(row)?);
            let shown = self.shown(row)?;
            match cases.last_mut() {
                Some(case) if case.qid == qid => {
                    if case.ts != ts {
                        let allowed = format!("{}, as in the case's first row", case.ts.to_rfc3339());
                        return Err(MatrixError::value(row, "ts", ts.to_rfc3339(), allowed));
                    }
                    if case.source != source {
                        let allowed = format!("{}, as in the case's first row", case.source.name());
                        return Err(MatrixError::value(row, "source", source.name(), allowed));
                    }
                    case.rows.push(shown);
                }
                _ => cases.push(Case {
                    qid,
                    ts,
                    source,
                    rows: vec![shown],
                }),
            }
        }
        Ok(cases)
    }

    fn shown(&self, row: usize) -> Result<Shown, MatrixError> {
        let features = self
            .features
            .iter()
            .map(|(name, column)| feature(row, name, column))
            .collect::<Result<Vec<f64>, MatrixError>>()?;
        let position = whole(row, "position", &self.position, 1)?
            .ok_or_else(|| MatrixError::value(row, "position", "null", "a whole number >= 1"))?;
        let legacy_score = present(&self.legacy_score, row);
        if let Some(score) = legacy_score.filter(|s| !s.is_finite()) {
            let allowed = "a finite number, or null";
            return Err(MatrixError::value(row, "legacy_score", score, allowed));
        }
        Ok(Shown {
            lawyer_id: self.lawyer_id(row)?,
            grade: self.grade(row)?,
            features,
            position,
            legacy_score,
            groups: self.groups(row)?,
            cases_30d: whole(row, "cases_30d", &self.cases_30d, 0)?,
            monthly_capacity: whole(row, "monthly_capacity", &self.monthly_capacity, 0)?,
            last_offered_at: if self.last_offered_at.is_null(row) {
                None
            } else {
                Some(moment(row, "last_offered_at", self.last_offered_at.value(row))?)
            },
        })
    }

    fn qid(&self, row: usize) -> Result<Uuid, MatrixError> {
        let text = some_text(row, "qid", &self.qid)?;
        Uuid::parse_str(text).map_err(|_| MatrixError::value(row, "qid", format!("{text:?}"), "a UUID"))
    }

    fn lawyer_id(&self, row: usize) -> Result<String, MatrixError> {
        let text = some_text(row, "lawyer_id", &self.lawyer_id)?;
        if text.is_empty() {
            let allowed = "an id of at least one character";
            return Err(MatrixError::value(row, "lawyer_id", "\"\"", allowed));
        }
        Ok(text.to_owned())
    }

    fn source(&self, row: usize) -> Result<Source, MatrixError> {
        let name = some_text(row, "source", &self.source)?;
        Source::from_name(name).ok_or_else(|| {
            let allowed = "legacy, ltr or interleaved";
            MatrixError::value(row, "source", format!("{name:?}"), allowed)
        })
    }

    fn ts(&self, row: usize) -> Result<DateTime<Utc>, MatrixError> {
        if self.ts.is_null(row) {
            return Err(MatrixError::value(row, "ts", "null", "a time"));
        }
        moment(row, "ts", self.ts.value(row))
    }

    fn grade(&self, row: usize) -> Result<Grade, MatrixError> {
        let label = present(&self.label, row);
        let of_label = label.and_then(Grade::from_label).ok_or_else(|| {
            let value = label.map_or("null".to_owned(), |l| l.to_string());
            MatrixError::value(row, "label", value, "0, 0.3, 0.6 or 1")
        })?;
        let grade = present(&self.grade, row);
        if grade == Some(f64::from(of_label.value())) {
            return Ok(of_label);
        }
        let value = grade.map_or("null".to_owned(), |g| g.to_string());
        let of_label = (of_label.value(), of_label.label());
        let allowed = format!("{}, the grade of label {}", of_label.0, of_label.1);
        Err(MatrixError::value(row, "grade", value, allowed))
    }

    fn groups(&self, row: usize) -> Result<BTreeMap<String, String>, MatrixError> {
        if self.groups.is_null(row) {
            return Ok(BTreeMap::new());
        }
        let text = self.groups.value(row);
        serde_json::from_str(text).map_err(|_| {
            let allowed = "a JSON object of texts, e.g. {\"gender\": \"F\"}";
            MatrixError::value(row, "groups", format!("{text:?}"), allowed)
        })
    }
}

fn some_text<'a>(row: usize, column: &str, values: &'a StringArray) -> Result<&'a str, MatrixError> {
    if values.is_null(row) {
        return Err(MatrixError::value(row, column, "null", "a text"));
    }
    Ok(values.value(row))
}

fn present(values: &Float64Array, row: usize) -> Option<f64> {
    values.is_valid(row).then(|| values.value(row))
}

/// A feature value: null and NaN are missing; infinities are an error.
fn feature(row: usize, name: &str, values: &Float64Array) -> Result<f64, MatrixError> {
    let value = present(values, row).unwrap_or(f64::NAN);
    if value.is_infinite() {
        let allowed = "a finite number, or null where the feature is missing";
        return Err(MatrixError::value(row, name, value, allowed));
    }
    Ok(value)
}

/// A whole number from `least` to 2^32 - 1; `None`: null.
fn whole(row: usize, name: &str, values: &Float64Array, least: u32) -> Result<Option<u32>, MatrixError> {
    let Some(value) = present(values, row) else {
        return Ok(None);
    };
    if value.fract() == 0.0 && value >= f64::from(least) && value <= f64::from(u32::MAX) {
        return Ok(Some(value as u32));
    }
    let allowed = format!("a whole number, {least} to {}", u32::MAX);
    Err(MatrixError::value(row, name, value, allowed))
}

fn moment(row: usize, name: &str, micros: i64) -> Result<DateTime<Utc>, MatrixError> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| {
        let value = format!("{micros} microseconds");
        MatrixError::value(row, name, value, "a time within the calendar")
    })
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    batch
        .column_by_name(name)
        .expect("`check_columns` has found every column")
}

fn as_type(
    batch: &RecordBatch,
    name: &str,
    fits: impl Fn(&DataType) -> bool,
    target: &DataType,
    allowed: &'static str,
) -> Result<ArrayRef, MatrixError> {
    let array = column(batch, name);
    let refuse = || MatrixError::ColumnType {
        column: name.to_owned(),
        found: array.data_type().to_string(),
        allowed,
    };
    // Some writers give a column without values the null type.
    if !fits(array.data_type()) && *array.data_type() != DataType::Null {
        return Err(refuse());
    }
    cast(array, target).map_err(|_| refuse())
}

/// A column of numbers.
pub(crate) fn number(batch: &RecordBatch, name: &str) -> Result<Float64Array, MatrixError> {
    let fits = DataType::is_numeric;
    let array = as_type(batch, name, fits, &DataType::Float64, "a number type")?;
    Ok(array.as_primitive::<Float64Type>().clone())
}

/// A column of texts.
pub(crate) fn text(batch: &RecordBatch, name: &str) -> Result<StringArray, MatrixError> {
    let fits = |t: &DataType| match t {
        DataType::Dictionary(_, value) => **value == DataType::Utf8,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        _ => false,
    };
    let array = as_type(batch, name, fits, &DataType::Utf8, "a text type")?;
    Ok(array.as_string::<i32>().clone())
}

/// A column of times.
pub(crate) fn instant(batch: &RecordBatch, name: &str) -> Result<TimestampMicrosecondArray, MatrixError> {
    let target = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fits = |t: &DataType| matches!(t, DataType::Timestamp(_, _));
    let array = as_type(batch, name, fits, &target, "a timestamp type")?;
    Ok(array.as_primitive::<TimestampMicrosecondType>().clone())
}
