//! Runs `lake/sql` over the files of some days, with DataFusion.
//!
//! The SQL is shared with Spark. What differs is here and small: how tables are registered, and that a
//! time's microseconds are a number, `ts_us`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use datafusion::datasource::MemTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::LakeError;
use crate::layout::{RawFile, Table};
use crate::place::Lake;
use crate::tables::Tables;

/// Under which DataFusion finds the lake's store.
const STORE: &str = "lake://lake";
/// Memory for joins and sorts; beyond it they go on on disk.
const MEMORY: usize = 1 << 30;

/// A query of `lake/sql`: the name under which others find what it gives, and its text.
#[derive(Clone, Copy)]
pub(crate) struct Query {
    pub name: &'static str,
    pub sql: &'static str,
}

/// Those that others build on, in order.
pub(crate) const STEPS: [Query; 6] = [
    Query {
        name: "kept",
        sql: include_str!("../sql/kept.sql"),
    },
    Query {
        name: "anchors",
        sql: include_str!("../sql/anchors.sql"),
    },
    Query {
        name: "outcomes",
        sql: include_str!("../sql/outcomes.sql"),
    },
    Query {
        name: "queries",
        sql: include_str!("../sql/queries.sql"),
    },
    Query {
        name: "grades",
        sql: include_str!("../sql/grades.sql"),
    },
    Query {
        name: "lawyers_then",
        sql: include_str!("../sql/lawyers_then.sql"),
    },
];
pub(crate) const MATRIX: Query = Query {
    name: "matrix",
    sql: include_str!("../sql/matrix.sql"),
};
pub(crate) const SUMMARY: Query = Query {
    name: "summary",
    sql: include_str!("../sql/summary.sql"),
};
pub(crate) const DISPLAYED: Query = Query {
    name: "displayed",
    sql: include_str!("../sql/displayed.sql"),
};
pub(crate) const RETURNED: Query = Query {
    name: "returned",
    sql: include_str!("../sql/returned.sql"),
};
pub(crate) const COMPARED: Query = Query {
    name: "compared",
    sql: include_str!("../sql/compared.sql"),
};
pub(crate) const DRAFTED: Query = Query {
    name: "drafted",
    sql: include_str!("../sql/drafted.sql"),
};
pub(crate) const COVERAGE: Query = Query {
    name: "coverage",
    sql: include_str!("../sql/coverage.sql"),
};
pub(crate) const LABELS: Query = Query {
    name: "labels",
    sql: include_str!("../sql/labels.sql"),
};

/// A session of the engine over some files.
pub(crate) struct Engine<'a> {
    lake: &'a Lake,
    session: SessionContext,
}

impl Engine<'_> {
    pub(crate) fn new(lake: &Lake) -> Result<Engine<'_>, LakeError> {
        let opened = RuntimeEnvBuilder::new().with_memory_limit(MEMORY, 1.0).build_arc();
        let runtime = opened.map_err(failed("the engine"))?;
        let url = url::Url::parse(STORE).expect("a constant");
        runtime.register_object_store(&url, lake.store());
        // Rows come out in the order that the SQL asks for, whatever the number of processors.
        let config = SessionConfig::new().with_information_schema(false);
        Ok(Engine {
            lake,
            session: SessionContext::new_with_config_rt(config, runtime),
        })
    }

    /// Registers files of a table under a name.
    pub(crate) async fn add_files(
        &self,
        name: &'static str,
        table: Table,
        tables: &Tables,
        files: &[RawFile],
    ) -> Result<(), LakeError> {
        let schema = tables.schema(table);
        if files.is_empty() {
            self.add_rows("raw", &RecordBatch::new_empty(schema))?;
        } else {
            self.add_listing("raw", schema, files).map_err(failed(name))?;
        }
        // A view, so that only the columns that are asked for are read.
        let view = "SELECT *, CAST(ts_utc AS BIGINT) AS ts_us FROM raw";
        let frame = self.session.sql(view).await.map_err(failed(name))?;
        self.session.deregister_table("raw").map_err(failed(name))?;
        self.session
            .register_table(name, frame.into_view())
            .map_err(failed(name))?;
        Ok(())
    }

    fn add_listing(&self, name: &str, schema: SchemaRef, files: &[RawFile]) -> Result<(), DataFusionError> {
        let urls = files
            .iter()
            .map(|file| ListingTableUrl::parse(format!("{STORE}/{}", self.lake.full(&file.path()))))
            .collect::<Result<Vec<_>, _>>()?;
        let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
        let config = ListingTableConfig::new_with_multi_paths(urls)
            .with_listing_options(options)
            // Columns that older files lack are null.
            .with_schema(schema);
        self.session
            .register_table(name, Arc::new(ListingTable::try_new(config)?))?;
        Ok(())
    }

    /// Registers rows under a name.
    pub(crate) fn add_rows(&self, name: &'static str, rows: &RecordBatch) -> Result<(), LakeError> {
        let table = MemTable::try_new(rows.schema(), vec![vec![rows.clone()]]).map_err(failed(name))?;
        self.session
            .register_table(name, Arc::new(table))
            .map_err(failed(name))?;
        Ok(())
    }

    /// Registers the part of a table that others need often, by its columns.
    pub(crate) async fn add_columns(
        &self,
        name: &'static str,
        of: Table,
        columns: impl Iterator<Item = &str>,
    ) -> Result<(), LakeError> {
        let quoted: Vec<String> = columns
            .map(|column| format!("\"{}\"", column.replace('"', "\"\"")))
            .collect();
        let view = format!("SELECT {} FROM {}", quoted.join(", "), of.name());
        let frame = self.session.sql(&view).await.map_err(failed(name))?;
        self.session
            .register_table(name, frame.into_view())
            .map_err(failed(name))?;
        Ok(())
    }

    /// Runs a query, and keeps what it gives under its name for those that follow.
    pub(crate) async fn keep(&self, query: Query) -> Result<(), LakeError> {
        let frame = self.session.sql(query.sql).await.map_err(failed(query.name))?;
        let kept = frame.cache().await.map_err(failed(query.name))?;
        self.session
            .register_table(query.name, kept.into_view())
            .map_err(failed(query.name))?;
        Ok(())
    }

    pub(crate) async fn rows(&self, query: Query) -> Result<Vec<RecordBatch>, LakeError> {
        let frame = self.session.sql(query.sql).await.map_err(failed(query.name))?;
        frame.collect().await.map_err(failed(query.name))
    }

    pub(crate) async fn stream(&self, query: Query) -> Result<SendableRecordBatchStream, LakeError> {
        let frame = self.session.sql(query.sql).await.map_err(failed(query.name))?;
        frame.execute_stream().await.map_err(failed(query.name))
    }
}

pub(crate) fn failed(query: &'static str) -> impl Fn(DataFusionError) -> LakeError {
    move |error| LakeError::Query { query, error }
}

/// A table of one row of numbers.
pub(crate) fn numbers(columns: &[(&'static str, i64)]) -> RecordBatch {
    let columns = columns
        .iter()
        .map(|&(name, number)| (name, Arc::new(Int64Array::from(vec![number])) as ArrayRef));
    RecordBatch::try_from_iter(columns).expect("columns of one row each")
}

/// A table of names and numbers.
pub(crate) fn named(names: &[&str], columns: &[(&'static str, Vec<i64>)]) -> RecordBatch {
    let mut all: Vec<(&str, ArrayRef)> = vec![("event", Arc::new(StringArray::from(names.to_vec())))];
    for (name, numbers) in columns {
        all.push((name, Arc::new(Int64Array::from(numbers.clone()))));
    }
    RecordBatch::try_from_iter(all).expect("columns of one length")
}
