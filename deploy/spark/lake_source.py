"""Files of a lake in a bucket as rows of Spark, without a Hadoop connector: workers read them through pyarrow."""

import json
from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition
from pyspark.sql.types import StructType

from ltr_lake import TIME, Lake, LakeError

# Spark's names of the types that the raw tables have.
TYPES = {
    pa.string(): "string",
    pa.bool_(): "boolean",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float64(): "double",
    TIME: "timestamp",
}
_ARROW = {name: type_ for type_, name in TYPES.items()}


class RowGroup(InputPartition):
    """One row group of a file: what a task reads."""

    def __init__(self, path: str, group: int) -> None:
        self.path = path
        self.group = group


class LakeSource(DataSource):
    """Options: `lake`, its address, and `files`, JSON with the path and the number of row groups of each file."""

    @classmethod
    def name(cls) -> str:
        return "ltr_lake"

    def reader(self, schema: StructType) -> DataSourceReader:
        return RowGroups(self.options["lake"], json.loads(self.options["files"]), schema)


class RowGroups(DataSourceReader):
    """Reads the columns of a schema; those that a file lacks are null."""

    def __init__(self, lake: str, files: list[tuple[str, int]], schema: StructType) -> None:
        self.lake = lake
        self.files = files
        self.columns = [(field.name, field.dataType.simpleString()) for field in schema]

    def partitions(self) -> list[InputPartition]:
        return [RowGroup(path, group) for path, groups in self.files for group in range(groups)]

    def read(self, partition: RowGroup) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([(name, _ARROW[type_]) for name, type_ in self.columns])
        with Lake(self.lake).parquet(partition.path) as parquet:
            there = [name for name in schema.names if name in parquet.schema_arrow.names]
            try:
                for batch in parquet.iter_batches(row_groups=[partition.group], columns=there):
                    yield _fitted(batch, schema)
            except (OSError, pa.ArrowException) as error:
                raise LakeError(f"{partition.path}: it cannot be read: {error}") from error


def _fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of a schema. Spark compares nullability, too: as declared here, not as the file has it."""
    there = set(batch.schema.names)
    nothing = pa.nulls(batch.num_rows)
    arrays = [(batch.column(field.name) if field.name in there else nothing).cast(field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
