//! The training matrix, day by day: a day's matrix is a function of some days' files, the rules and the
//! time, and is made again when one of them differs from what is noted beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path as OsPath, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema as ArrowSchema, SchemaRef, TimeUnit};
use chrono::{DateTime, Days, Duration, NaiveDate, NaiveTime, Utc};
use futures_util::TryStreamExt;
use object_store_lake::path::Path;
use parquet::arrow::ArrowWriter;
use ranking::evidence::{ComparedCase, Coverage};
use ranking::outcomes::{Displayed, REST_DAYS};
use ranking::{Attribution, Grade, Schema, Windows};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::LakeError;
use crate::compared::{Reader, coverage};
use crate::displayed::{displayed, returned};
use crate::engine::{
    COMPARED, COVERAGE, DISPLAYED, DRAFTED, Engine, LABELS, RETURNED, STEPS, SUMMARY, failed, named, numbers,
};
use crate::error::never;
use crate::lawyers::{LAWYERS, lawyers};
use crate::layout::{RawFile, Table};
use crate::place::{Broken, Files, Lake};
use crate::tables::{Tables, properties};

/// Name of a day's matrix.
pub const MATRIX: &str = "matrix.parquet";
/// Name of the note beside it.
const NOTE: &str = "matrix.json";
/// Raised when a day's matrix comes out differently from the same files by the same SQL.
const FORM: u32 = 1;

/// By which rules actions become labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// The attribution windows.
    pub windows: Windows,
    /// Which impression an action counts for.
    pub attribution: Attribution,
    /// How many days before its first impression a case is looked for: one that was shown before that is
    /// another query.
    pub case_days: u32,
}

impl Rules {
    /// How long after its first impression a case's labels can change.
    fn closed_after(&self) -> Duration {
        self.attribution.closed_after(&self.windows)
    }
}

/// What a day's matrix was made from, and what came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    form: u32,
    rules: Rules,
    features: Vec<String>,
    /// SHA-256 of the SQL.
    sql: String,
    /// Of the lawyers' file: see [`Lake::mark`].
    lawyers: Option<String>,
    /// Up to when events count, if a window of the day was open then.
    as_of: Option<DateTime<Utc>>,
    /// `table/day` and how many of its events there were.
    inputs: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    made_from: Note,
    day: DayReport,
    /// Of the matrix: see [`Lake::mark`].
    mark: String,
}

/// The matrix of one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayReport {
    /// The day on which its cases were first shown, in UTC.
    pub date: NaiveDate,
    /// Rows.
    pub rows: u64,
    /// Rows by grade, 0 to 3.
    pub grades: [u64; 4],
    /// Cases, also those left out, and actions by what became of them.
    pub facts: BTreeMap<String, u64>,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// (case, lawyer, label) of a row with a label above 0.
pub type Labelled = (Uuid, String, f32);

/// A matrix that was made and is not noted as done.
pub struct Refreshed {
    /// What came out.
    pub report: DayReport,
    /// Its closed cases.
    pub closed: Vec<Uuid>,
    /// Their labels above 0.
    pub labels: Vec<Labelled>,
    /// Those that the gateway displayed, if all of the day's cases are closed.
    pub displayed: Option<Vec<Displayed>>,
    /// Those of them of which both rankings are known: compared because a sampler chose them, or drafted.
    pub compared: Vec<ComparedCase>,
    /// What the log says of the actions of such a day.
    pub coverage: Coverage,
    note: Note,
}

/// Makes the matrices of days.
pub struct Etl<'a> {
    lake: &'a Lake,
    tables: Tables,
    rules: Rules,
    as_of: DateTime<Utc>,
    files: Files,
    broken: Broken,
    /// The lawyers' file, and its mark.
    lawyers: RecordBatch,
    lawyers_mark: Option<String>,
}

impl Etl<'_> {
    /// Looks at what the lake has. `as_of`: the time that counts as now.
    ///
    /// # Errors
    /// A lake that cannot be read; a feature that has the name of another column.
    pub async fn new<'a>(
        lake: &'a Lake,
        features: &Schema,
        rules: Rules,
        as_of: DateTime<Utc>,
    ) -> Result<Etl<'a>, LakeError> {
        let (files, broken) = lake.raw_files().await?;
        let lawyers_mark = lake.mark(&Path::from(LAWYERS)).await?;
        Ok(Etl {
            lawyers: lawyers(lake).await?,
            lawyers_mark,
            lake,
            tables: Tables::new(features)?,
            rules,
            as_of,
            files,
            broken,
        })
    }

    /// The days with impressions before `as_of`, the oldest first.
    pub fn days(&self) -> Vec<NaiveDate> {
        let known = self.files.keys().chain(self.broken.keys());
        let days = known.filter(|(table, _)| *table == Table::Impressions);
        let days: BTreeSet<NaiveDate> = days.filter_map(|(_, day)| *day).collect();
        days.into_iter().filter(|day| start_of(*day) < self.as_of).collect()
    }

    /// Whether a day's matrix is what it would be now.
    ///
    /// # Errors
    /// A lake that cannot be read, or a damaged file that the matrix would be made from.
    pub async fn is_current(&self, day: NaiveDate) -> Result<bool, LakeError> {
        for (table, days) in self.sources(day) {
            self.none_broken(table, &days)?;
        }
        let Some(bytes) = self.lake.get(&processed(day, NOTE)).await? else {
            return Ok(false);
        };
        // What cannot be read was not written to its end, or by a newer program: made again.
        let Some(kept) = serde_json::from_slice::<Kept>(&bytes).ok() else {
            return Ok(false);
        };
        // The matrix may be gone, or another one than the note says: a run may have ended between the two.
        let is_there = self.lake.mark(&processed(day, MATRIX)).await? == Some(kept.mark);
        Ok(is_there && kept.made_from == self.note(day))
    }

    /// The report of a day whose matrix is current.
    ///
    /// # Errors
    /// A lake that cannot be read.
    pub async fn report(&self, day: NaiveDate) -> Result<Option<DayReport>, LakeError> {
        let bytes = self.lake.get(&processed(day, NOTE)).await?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok().map(|kept| kept.day)))
    }

    /// Makes a day's matrix and puts it in its place. It counts as made once [`Etl::note_done`] was called,
    /// after its labels are where they belong.
    ///
    /// # Errors
    /// A lake that cannot be read or written, or holds a damaged file.
    pub async fn make(&self, day: NaiveDate) -> Result<Refreshed, LakeError> {
        let engine = Engine::new(self.lake)?;
        self.register(&engine, day).await?;
        for query in STEPS {
            engine.keep(query).await?;
        }
        let (bytes, rows, grades) = self.matrix(&engine).await?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        self.lake.put(&processed(day, MATRIX), bytes.into()).await?;
        let (closed, labels) = labels(&engine.rows(LABELS).await?)?;
        let is_closed = self.as_of >= self.closes(day);
        let (displayed, compared, coverage) = if is_closed {
            let displayed = self.displayed(&engine, day).await?;
            let coverage = coverage(&facts(&engine.rows(COVERAGE).await?)?);
            (Some(displayed), self.compared(&engine, day).await?, coverage)
        } else {
            (None, Vec::new(), Coverage::default())
        };
        Ok(Refreshed {
            report: DayReport {
                date: day,
                rows,
                grades,
                facts: facts(&engine.rows(SUMMARY).await?)?,
                sha256,
            },
            closed,
            labels,
            displayed,
            compared,
            coverage,
            note: self.note(day),
        })
    }

    /// The closed cases as the gateway displayed them. A damaged file of an earlier day stops no other day: whoever is in
    /// it may count once more.
    async fn displayed(&self, engine: &Engine<'_>, day: NaiveDate) -> Result<Vec<Displayed>, LakeError> {
        let first = day.checked_sub_days(Days::new(REST_DAYS)).unwrap_or(NaiveDate::MIN);
        let last = day.pred_opt().unwrap_or(day);
        let earlier: Vec<RawFile> = self.files_of(Table::Impressions, first..=last).cloned().collect();
        let table = Table::Impressions;
        engine.add_files("earlier", table, &self.tables, &earlier).await?;
        let before = returned(&engine.rows(RETURNED).await?)?;
        displayed(&engine.rows(DISPLAYED).await?, &before)
    }

    /// The closed cases of which both rankings are known. A copy of a request may be ranked a moment after it, on the next day.
    async fn compared(&self, engine: &Engine<'_>, day: NaiveDate) -> Result<Vec<ComparedCase>, LakeError> {
        let days = day..=day.succ_opt().unwrap_or(day);
        self.none_broken(Table::Comparisons, &days)?;
        let files: Vec<RawFile> = self.files_of(Table::Comparisons, days).cloned().collect();
        let table = Table::Comparisons;
        engine.add_files(table.name(), table, &self.tables, &files).await?;
        let mut reader = Reader::default();
        let mut stream = engine.stream(COMPARED).await?;
        while let Some(batch) = stream.try_next().await.map_err(failed(COMPARED.name))? {
            reader.add_compared(&batch)?;
        }
        let mut drafts = Reader::default();
        let mut stream = engine.stream(DRAFTED).await?;
        while let Some(batch) = stream.try_next().await.map_err(failed(DRAFTED.name))? {
            drafts.add_drafted(&batch)?;
        }
        Ok([reader.finish(), drafts.finish()].concat())
    }

    fn none_broken(&self, table: Table, days: &std::ops::RangeInclusive<NaiveDate>) -> Result<(), LakeError> {
        let range = (table, Some(*days.start()))..=(table, Some(*days.end()));
        match self.broken.range(range).next() {
            Some((_, error)) => Err(error.again()),
            None => Ok(()),
        }
    }

    /// Notes that a day's matrix is made.
    ///
    /// # Errors
    /// A lake that cannot be written; a matrix that another run has made again meanwhile.
    pub async fn note_done(&self, made: &Refreshed) -> Result<(), LakeError> {
        let path = processed(made.report.date, MATRIX);
        let mark = self.lake.mark(&path).await?;
        let there = self.lake.get(&path).await?;
        let is_own = there.is_some_and(|bytes| hex::encode(Sha256::digest(&bytes)) == made.report.sha256);
        let mark = mark.filter(|_| is_own).ok_or_else(|| LakeError::Busy {
            path: path.to_string(),
            problem: "another run has written it meanwhile; run etl again".to_owned(),
        })?;
        let kept = Kept {
            mark,
            made_from: made.note.clone(),
            day: made.report.clone(),
        };
        let text = serde_json::to_vec_pretty(&kept).expect("a note has texts and whole numbers alone");
        self.lake.put(&processed(made.report.date, NOTE), text.into()).await
    }

    /// The days whose events a day's matrix is made from: of impressions, of their lawyers and of actions.
    fn sources(&self, day: NaiveDate) -> [(Table, std::ops::RangeInclusive<NaiveDate>); 3] {
        let first = day.checked_sub_days(Days::new(u64::from(self.rules.case_days)));
        let first = first.unwrap_or(NaiveDate::MIN);
        let behind = |time: Duration| {
            let days = time.num_hours().unsigned_abs().div_ceil(24);
            day.checked_add_days(Days::new(days)).unwrap_or(NaiveDate::MAX)
        };
        let shown = behind(self.rules.windows.longest());
        // An action may be dated before the impression that it follows, by a clock that is wrong.
        let before = day.pred_opt().unwrap_or(day);
        [
            (Table::Impressions, first..=shown),
            (Table::ImpressionLawyers, day..=shown),
            (Table::Actions, before..=behind(self.rules.closed_after())),
        ]
    }

    fn files_of(&self, table: Table, days: std::ops::RangeInclusive<NaiveDate>) -> impl Iterator<Item = &RawFile> {
        let range = (table, Some(*days.start()))..=(table, Some(*days.end()));
        self.files.range(range).flat_map(|(_, files)| files)
    }

    fn note(&self, day: NaiveDate) -> Note {
        let mut inputs = BTreeMap::new();
        for (table, days) in self.sources(day) {
            for file in self.files_of(table, days) {
                let day = file.day.unwrap_or_default();
                // The last file of a day ends with all of its events.
                inputs.insert(format!("{}/{day}", table.name()), file.to);
            }
        }
        let mut sql = Sha256::new();
        for query in STEPS.into_iter().chain([crate::engine::MATRIX, LABELS]) {
            sql.update(query.sql);
        }
        Note {
            form: FORM,
            rules: self.rules.clone(),
            features: self.tables.features().names().to_vec(),
            sql: hex::encode(sql.finalize()),
            lawyers: self.lawyers_mark.clone(),
            as_of: (self.as_of < self.closes(day)).then_some(self.as_of),
            inputs,
        }
    }

    /// When the labels of a day's last case can change no more.
    fn closes(&self, day: NaiveDate) -> DateTime<Utc> {
        start_of(day) + Duration::days(1) + self.rules.closed_after()
    }

    async fn register(&self, engine: &Engine<'_>, day: NaiveDate) -> Result<(), LakeError> {
        for (table, days) in self.sources(day) {
            let files: Vec<RawFile> = self.files_of(table, days).cloned().collect();
            engine.add_files(table.name(), table, &self.tables, &files).await?;
        }
        let windows = &self.rules.windows;
        let kinds = [
            ranking::ActionKind::ClickProfile,
            ranking::ActionKind::ContactMade,
            ranking::ActionKind::ContractSigned,
        ];
        let micros = |duration: Duration| duration.num_microseconds().unwrap_or(i64::MAX);
        let columns = [
            ("grade", kinds.map(|kind| i64::from(Grade::from(kind).value())).to_vec()),
            ("window_us", kinds.map(|kind| micros(windows.of(kind))).to_vec()),
        ];
        engine.add_rows("windows", &named(&kinds.map(ranking::ActionKind::name), &columns))?;
        let parameters = [
            ("day_start_us", start_of(day).timestamp_micros()),
            ("day_end_us", (start_of(day) + Duration::days(1)).timestamp_micros()),
            ("as_of_us", self.as_of.timestamp_micros()),
            ("longest_us", micros(windows.longest())),
            ("closed_us", micros(self.rules.closed_after())),
            (
                "last_touch",
                i64::from(self.rules.attribution == Attribution::LastTouch),
            ),
        ];
        engine.add_rows("parameters", &numbers(&parameters))?;
        engine.add_rows("lawyers", &self.lawyers)?;
        let features = self.tables.features().names().iter().map(String::as_str);
        let columns = ["event_id", "lawyer_id"].into_iter().chain(features).chain(OF_LAWYER);
        engine.add_columns("shown", Table::ImpressionLawyers, columns).await
    }

    /// The matrix as a Parquet file, its rows, and its rows by grade.
    async fn matrix(&self, engine: &Engine<'_>) -> Result<(Vec<u8>, u64, [u64; 4]), LakeError> {
        let fault = |problem: String| LakeError::File {
            path: MATRIX.to_owned(),
            problem,
            remedy: "this is a fault of the program",
        };
        let schema = self.matrix_schema();
        let mut bytes = Vec::new();
        let writer = ArrowWriter::try_new(&mut bytes, schema.clone(), Some(properties()));
        let mut writer = writer.map_err(|error| fault(never(error)))?;
        let (mut rows, mut grades) = (0, [0; 4]);
        let mut stream = engine.stream(crate::engine::MATRIX).await?;
        while let Some(batch) = stream.try_next().await.map_err(failed(crate::engine::MATRIX.name))? {
            let batch = fitted(&batch, &schema).map_err(|error| fault(never(error)))?;
            for grade in batch.column(3).as_primitive::<Int64Type>().values() {
                grades[usize::try_from(*grade).unwrap_or_default().min(3)] += 1;
            }
            rows += batch.num_rows() as u64;
            writer.write(&batch).map_err(|error| fault(never(error)))?;
        }
        writer.close().map_err(|error| fault(never(error)))?;
        Ok((bytes, rows, grades))
    }

    fn matrix_schema(&self) -> SchemaRef {
        let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let mut fields = vec![
            Field::new("qid", DataType::Utf8, false),
            Field::new("lawyer_id", DataType::Utf8, false),
            Field::new("label", DataType::Float32, false),
            Field::new("grade", DataType::Int64, false),
        ];
        let features = self.tables.features().names().iter();
        fields.extend(features.map(|name| Field::new(name, DataType::Float64, true)));
        fields.extend([
            Field::new("position", DataType::Int64, false),
            Field::new("legacy_score", DataType::Float64, true),
            Field::new("groups", DataType::Utf8, false),
            Field::new("cases_30d", DataType::Int64, true),
            Field::new("monthly_capacity", DataType::Int64, true),
            Field::new("last_offered_at", time(), true),
            Field::new("source", DataType::Utf8, false),
            Field::new("event_date", DataType::Date32, false),
            Field::new("ts", time(), false),
            Field::new("mature", DataType::Boolean, false),
        ]);
        ArrowSchema::new(fields).into()
    }
}

impl Lake {
    /// The file with a day's matrix: where it is, or else a copy of it under `copies`, for programs that read files.
    ///
    /// # Errors
    /// A lake that cannot be read; a matrix that was made again meanwhile; a copy that cannot be written.
    pub async fn local_matrix(&self, day: &DayReport, copies: &OsPath) -> Result<PathBuf, LakeError> {
        let path = processed(day.date, MATRIX);
        if let Some(file) = self.file(&path) {
            return Ok(file);
        }
        let file = copies.join(path.as_ref());
        let is = |bytes: &[u8]| hex::encode(Sha256::digest(bytes)) == day.sha256;
        if tokio::fs::read(&file).await.is_ok_and(|bytes| is(&bytes)) {
            return Ok(file);
        }
        let bytes = self.get(&path).await?.filter(|bytes| is(bytes));
        let bytes = bytes.ok_or_else(|| LakeError::File {
            path: path.to_string(),
            problem: "it was made again, or is gone".to_owned(),
            remedy: "run etl again",
        })?;
        let copies = Lake::open(&copies.display().to_string())?;
        copies.put(&path, bytes).await?;
        Ok(file)
    }
}

/// What the matrix has of a lawyer behind the features.
const OF_LAWYER: [&str; 6] = [
    "position",
    "legacy_score",
    "groups",
    "cases_30d",
    "monthly_capacity",
    "last_offered_at",
];

/// The columns of a schema, in its order and types: each engine has its own.
fn fitted(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
    let columns = schema.fields().iter().map(|field| {
        let column = batch.column_by_name(field.name());
        let column =
            column.ok_or_else(|| arrow::error::ArrowError::SchemaError(format!("no column {}", field.name())))?;
        cast(column, field.data_type())
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}

fn start_of(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

fn processed(day: NaiveDate, name: &str) -> Path {
    Path::from(format!("ltr/processed/{day}/{name}"))
}

/// A column of texts, whatever form the engine gives it.
pub(crate) fn texts(batch: &RecordBatch, at: usize) -> Result<arrow::array::StringArray, LakeError> {
    let column = cast(batch.column(at), &DataType::Utf8).map_err(|error| unexpected(&error))?;
    Ok(column.as_string::<i32>().clone())
}

pub(crate) fn whole(batch: &RecordBatch, at: usize) -> Result<arrow::array::Int64Array, LakeError> {
    let column = cast(batch.column(at), &DataType::Int64).map_err(|error| unexpected(&error))?;
    Ok(column.as_primitive::<Int64Type>().clone())
}

fn unexpected(error: &arrow::error::ArrowError) -> LakeError {
    LakeError::File {
        path: "lake/sql".to_owned(),
        problem: never(error),
        remedy: "this is a fault of the program",
    }
}

fn facts(batches: &[RecordBatch]) -> Result<BTreeMap<String, u64>, LakeError> {
    let mut facts = BTreeMap::new();
    for batch in batches {
        let (names, numbers) = (texts(batch, 0)?, whole(batch, 1)?);
        for (name, number) in names.iter().zip(numbers.values()) {
            facts.insert(name.unwrap_or_default().to_owned(), number.unsigned_abs());
        }
    }
    Ok(facts)
}

/// The closed cases, and their labels above 0.
fn labels(batches: &[RecordBatch]) -> Result<(Vec<Uuid>, Vec<Labelled>), LakeError> {
    let (mut closed, mut labels) = (Vec::new(), Vec::new());
    for batch in batches {
        let (cases, lawyers, grades) = (texts(batch, 0)?, texts(batch, 1)?, whole(batch, 2)?);
        for row in 0..batch.num_rows() {
            // Its parser has let nothing else into the raw tables.
            let Ok(case) = Uuid::parse_str(cases.value(row)) else {
                continue;
            };
            if closed.last() != Some(&case) {
                closed.push(case);
            }
            let grade = u8::try_from(grades.value(row)).ok().and_then(Grade::from_value);
            if let Some(grade) = grade.filter(|grade| *grade > Grade::Shown) {
                labels.push((case, lawyers.value(row).to_owned(), grade.label() as f32));
            }
        }
    }
    Ok((closed, labels))
}
