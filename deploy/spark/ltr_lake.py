"""The lake as Python sees it: the files of its raw tables, and the columns of a matrix.

The same rules as in lake/src (layout.rs, footer.rs, tables.rs, days.rs). Nothing here needs Spark.
"""

import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

MATRIX = "matrix.parquet"
NOTE = "matrix.json"
# How many footers are read at once: on S3 each of them waits for the network.
READERS = 16
# As lake/src/tables.rs writes its files.
ROWS_A_GROUP = 128 << 10
ZSTD = 3

# What a file says of itself in its footer: its number of records. Rows may be several a record.
RECORDS = "ltr.records"

_NAME = re.compile(r"ltr/raw/(\d{4})/(\d{2})/(\d{2})/([a-z_]+)/(\d{10,})(?:-(\d{10,}))?\.parquet")
_RESTORE = "put the missing file back, or remove the files of that day and table, and run sink --from-start"
_REMOVE = "remove the file and those behind it, of all tables of that day, and run sink --from-start"

TIME = pa.timestamp("us", "UTC")
_EVENT = [
    ("event_id", pa.string()),
    ("ts_utc", TIME),
    ("case_id", pa.string()),
    ("user_id", pa.string()),
    ("salt_id", pa.string()),
]
# What a matrix has of a lawyer beside the features, before and behind them.
BEFORE_FEATURES = ["event_id", "lawyer_id"]
AFTER_FEATURES = [
    ("position", pa.int64(), False),
    ("legacy_score", pa.float64(), True),
    ("groups", pa.string(), False),
    ("cases_30d", pa.int64(), True),
    ("monthly_capacity", pa.int64(), True),
    ("last_offered_at", TIME, True),
]
# The tables of a day.
NAMES = ("impressions", "impression_lawyers", "actions", "comparisons")
# Those that matrices are made from, with the columns that the SQL needs, also where there is no file yet.
TABLES = {
    "impressions": pa.schema(
        [
            *_EVENT,
            ("request_id", pa.string()),
            ("source", pa.string()),
            ("origin", pa.string()),
            ("lawyers", pa.int32()),
        ]
    ),
    "impression_lawyers": pa.schema(
        [
            ("event_id", pa.string()),
            ("ts_utc", TIME),
            ("case_id", pa.string()),
            ("position", pa.int32()),
            ("lawyer_id", pa.string()),
            *[(name, of) for name, of, _ in AFTER_FEATURES[1:]],
        ]
    ),
    "actions": pa.schema(
        [
            *_EVENT,
            ("event", pa.string()),
            ("lawyer_id", pa.string()),
            ("rank_pos", pa.int64()),
            ("request_id", pa.string()),
            ("unbound", pa.bool_()),
        ]
    ),
}


class LakeError(Exception):
    """A lake, or a file of it, that cannot be used as it is."""


class FileGone(LakeError):
    """A file that was replaced a day ago, and removed just now."""


class RawFile(NamedTuple):
    """The records `start` to `end` (exclusive) of one table and day, in the order of arrival.

    The name of a file that adds records says only where it begins. A file that replaces others says where it ends, too.
    """

    table: str
    day: date
    start: int
    end: int
    is_merged: bool = False

    @property
    def path(self) -> str:
        name = f"{self.start:010}-{self.end:010}" if self.is_merged else f"{self.start:010}"
        return f"ltr/raw/{self.day:%Y/%m/%d}/{self.table}/{name}.parquet"

    @staticmethod
    def parse(path: str) -> "RawFile | None":
        """The file at this path, as far as its name tells: without a name that says so, `end` is `start`.

        `None`: it is none of the raw tables'.
        """
        found = _NAME.fullmatch(path)
        if not found:
            return None
        year, month, day, table, start, end = found.groups()
        try:
            of_day = date(int(year), int(month), int(day))
        except ValueError:
            return None
        file = RawFile(table, of_day, int(start), int(end or start), end is not None)
        # Nothing but the one way of writing it.
        is_one = file.path == path and (file.start < file.end or not file.is_merged)
        return file if is_one and table in NAMES else None


def cover(files: list[RawFile]) -> list[RawFile]:
    """The files of one table and day that together have each record once, in order.

    A file that a larger one replaces is still there for a day, for those who listed it, and two that replace others may
    overlap: of the ways to put files end to end, the one that gets furthest counts, with as large files as there are.
    """
    # How far one gets from a start, and by which file: of those behind it, that is known already.
    best: dict[int, tuple[int, RawFile]] = {}
    for file in sorted(files, key=lambda file: (-file.start, file.end, file.is_merged)):
        far = best[file.end][0] if file.end in best else file.end
        known = best.get(file.start)
        if known is None or (far, file.end, file.is_merged) > (known[0], known[1].end, known[1].is_merged):
            best[file.start] = (far, file)
    chosen: list[RawFile] = []
    end = 0
    while end in best:
        chosen.append(best.pop(end)[1])
        end = chosen[-1].end
    for file in sorted(files):
        # What is added where others were merged meanwhile came too late: its writer sees that it does not count.
        is_late = not file.is_merged and any(
            other.is_merged and other.start <= file.start < other.end for other in chosen
        )
        if file.end > end and not is_late:
            raise LakeError(f"{file.path}: the file of its table before it ends with record {end}; {_RESTORE}")
    return chosen


class Footer(NamedTuple):
    """What the end of a file says."""

    schema: pa.Schema
    row_groups: int
    # As written; `None`: it is not said.
    records: str | None


class Lake:
    """A lake in a folder, or in a bucket: `s3://bucket/prefix`, with AWS_* from the environment."""

    def __init__(self, address: str) -> None:
        self.footers: dict[str, Footer] = {}
        url = urlsplit(address)
        self.is_bucket = url.scheme == "s3"
        if self.is_bucket:
            if not url.netloc or url.query or url.fragment:
                raise LakeError(f"lake {address!r}: allowed: s3://bucket or s3://bucket/prefix")
            self.root = f"{url.netloc}{url.path}".rstrip("/")
            self.url = f"s3://{self.root}"
        elif url.scheme not in ("", "file"):
            raise LakeError(f"lake {address!r}: allowed: a folder, file:///folder or s3://bucket/prefix")
        else:
            self.root = self.url = str(Path(url.path if url.scheme else address).absolute())

    def __reduce__(self):
        # A worker opens the lake with its own credentials: they do not travel.
        return Lake, (self.url,)

    @cached_property
    def store(self) -> fs.FileSystem:
        if not self.is_bucket:
            return fs.LocalFileSystem()
        environment = os.environ
        endpoint = urlsplit(environment.get("AWS_ENDPOINT_URL", ""))
        return fs.S3FileSystem(
            endpoint_override=endpoint.netloc or None,
            scheme=endpoint.scheme or "https",
            region=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1",
        )

    def full(self, path: str) -> str:
        """A path of the lake, as the store calls it."""
        return f"{self.root}/{path}"

    def raw_files(self, tables: Iterable[str] = NAMES) -> dict[tuple[str, date], list[RawFile]]:
        """The files of some tables that together have each record once, by table and day, the oldest day first."""
        try:
            found = self.store.get_file_info(
                fs.FileSelector(self.full("ltr/raw"), recursive=True, allow_not_found=True)
            )
        except OSError as error:
            raise LakeError(f"lake {self.url}: {error}") from None
        parsed = [RawFile.parse(info.path[len(self.root) + 1 :]) for info in found if info.is_file]
        if not any(parsed):
            raise LakeError(f"lake {self.url}: there is nothing under ltr/raw; `ltr-trainer sink` fills it")
        wanted = [file for file in parsed if file and file.table in tables]
        with ThreadPoolExecutor(READERS) as pool:
            counted = list(pool.map(self._counted, wanted))
        files: dict[tuple[str, date], list[RawFile]] = {}
        for file in filter(None, counted):
            files.setdefault((file.table, file.day), []).append(file)
        return {key: cover(some) for key, some in sorted(files.items())}

    def _counted(self, file: RawFile) -> RawFile | None:
        """The file with its end, if its name does not say it. `None`: it is gone."""
        if file.is_merged:
            return file
        try:
            records = self.footer(file.path).records
        except FileGone:
            return None
        if records is None or not re.fullmatch(r"0*[1-9]\d*", records, re.ASCII):
            said = "does not say" if records is None else f"has {records!r} for"
            raise LakeError(f"{file.path}: it {said} how many records it has ({RECORDS}); {_REMOVE}")
        return file._replace(end=file.start + int(records))

    def footer(self, path: str) -> Footer:
        """The footer of a raw file. Raw files never change: each is read once."""
        if path not in self.footers:
            with self.parquet(path) as parquet:
                facts = parquet.metadata.metadata or {}
                records = facts.get(RECORDS.encode())
                self.footers[path] = Footer(
                    parquet.schema_arrow.remove_metadata(),
                    parquet.num_row_groups,
                    None if records is None else records.decode(errors="replace"),
                )
        return self.footers[path]

    def parquet(self, path: str) -> pq.ParquetFile:
        """Opens a raw file; the caller closes it."""
        try:
            return pq.ParquetFile(self.store.open_input_file(self.full(path)))
        except FileNotFoundError:
            raise FileGone(f"{path}: it was removed after it was listed; run the program again") from None
        except (OSError, pa.ArrowException) as error:
            raise LakeError(f"{path}: it cannot be read: {error}; {_REMOVE}") from None

    def put(self, path: str, data: pa.Buffer | bytes) -> None:
        """Puts a file in the place of one that may be there, whole or not at all."""
        full = self.full(path)
        try:
            if self.is_bucket:
                with self.store.open_output_stream(full) as stream:
                    stream.write(data)
                return
            target = Path(full)
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
            try:
                with draft.open("xb") as file:
                    file.write(data)
                    os.fsync(file.fileno())
                draft.replace(target)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise LakeError(f"{full}: it cannot be written: {error}") from None

    def remove(self, path: str) -> None:
        """Removes a file, if it is there."""
        try:
            self.store.delete_file(self.full(path))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise LakeError(f"{self.full(path)}: it cannot be removed: {error}") from None


def footers(lake: Lake, files: Sequence[RawFile]) -> list[Footer]:
    """The footers of some files, in their order."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda file: lake.footer(file.path), files))


def plain(type_: pa.DataType) -> pa.DataType:
    """The type without the form that a writer chose for texts."""
    return pa.string() if pa.types.is_large_string(type_) or pa.types.is_string_view(type_) else type_


def columns(lake: Lake, table: str, files: Sequence[RawFile], features: Sequence[str]) -> pa.Schema:
    """The columns of some files together, and those that the lake's tables have anyway. Older files may lack some."""
    types: dict[str, tuple[pa.DataType, str]] = {}
    expected = TABLES[table]
    if table == "impression_lawyers":
        expected = pa.schema([*expected, *[(name, pa.float64()) for name in features]])
    for file, footer in zip(reversed(files), reversed(footers(lake, files))):
        for field in footer.schema:
            type_ = plain(field.type)
            known, where = types.setdefault(field.name, (type_, file.path))
            if field.name in expected.names:
                known, where = expected.field(field.name).type, "the lake's tables"
            if type_ != known:
                raise LakeError(f"{file.path}: column {field.name} is {type_}; in {where} it is {known}")
    for field in expected:
        types.setdefault(field.name, (field.type, ""))
    return pa.schema([(name, type_) for name, (type_, _) in types.items()])


# What holds of a lawyer from a time on; in the file that is `from_utc`, a time.
LAWYERS = "ltr/lawyers.parquet"
_OF_LAWYERS = pa.schema(
    [
        ("lawyer_id", pa.string()),
        ("from_us", pa.int64()),
        ("groups", pa.string()),
        ("cases_30d", pa.int64()),
        ("monthly_capacity", pa.int64()),
        ("last_offered_at", TIME),
    ]
)


def lawyers(lake: Lake) -> pa.Table:
    """The lawyers' file; no rows if there is none."""
    try:
        with lake.store.open_input_file(lake.full(LAWYERS)) as file:
            table = pq.read_table(file)
    except FileNotFoundError:
        return _OF_LAWYERS.empty_table()
    except (OSError, pa.ArrowInvalid) as error:
        raise LakeError(f"{LAWYERS}: {error}") from None
    try:
        columns = {"from_us": table["from_utc"].cast(TIME).cast(pa.int64())}
        for field in _OF_LAWYERS:
            if field.name in table.column_names:
                columns[field.name] = table[field.name].cast(field.type)
        if "lawyer_id" not in columns:
            raise KeyError("lawyer_id")
    except KeyError as error:
        raise LakeError(f"{LAWYERS}: there is no column {error}") from None
    except pa.ArrowInvalid as error:
        raise LakeError(f"{LAWYERS}: {error}") from None
    null = pa.nulls(table.num_rows)
    return pa.table([columns.get(field.name, null.cast(field.type)) for field in _OF_LAWYERS], _OF_LAWYERS)


def feature_names(lake: Lake, files: dict[tuple[str, date], list[RawFile]]) -> list[str]:
    """The features that the newest file of `impression_lawyers` has, in its order."""
    newest = [some[-1] for (table, _), some in files.items() if table == "impression_lawyers"][-1:]
    if not newest:
        raise LakeError(f"lake {lake.url}: there is no file of impression_lawyers, which names the features")
    names = footers(lake, newest)[0].schema.names
    try:
        return names[names.index("lawyer_id") + 1 : names.index("legacy_score")]
    except ValueError:
        raise LakeError(
            f"{newest[0].path}: there is no column lawyer_id or legacy_score, between which the features are"
        ) from None


def matrix_schema(features: list[str]) -> pa.Schema:
    """The columns of a matrix: name, type, and whether it may be null."""
    fields = [
        ("qid", pa.string(), False),
        ("lawyer_id", pa.string(), False),
        ("label", pa.float32(), False),
        ("grade", pa.int64(), False),
        *[(name, pa.float64(), True) for name in features],
        *AFTER_FEATURES,
        ("source", pa.string(), False),
        ("event_date", pa.date32(), False),
        ("ts", TIME, False),
        ("mature", pa.bool_(), False),
    ]
    return pa.schema([pa.field(*field) for field in fields])


class Written(NamedTuple):
    """A matrix that was written."""

    rows: int
    # By grade, 0 to 3.
    grades: list[int]
    sha256: str


def write_matrix(lake: Lake, path: str, schema: pa.Schema, batches) -> Written:
    """Writes a matrix, whole or not at all, from batches or tables in its order. Columns are matched by name."""
    sink, rows, grades = pa.BufferOutputStream(), 0, [0, 0, 0, 0]
    with pq.ParquetWriter(sink, schema, compression="zstd", compression_level=ZSTD) as writer:
        for batch in batches:
            fitted = pa.table([batch.column(field.name).cast(field.type) for field in schema], schema=schema)
            for grade in fitted.column("grade").value_counts():
                grades[grade["values"].as_py()] += grade["counts"].as_py()
            rows += fitted.num_rows
            writer.write_table(fitted, row_group_size=ROWS_A_GROUP)
    data = sink.getvalue()
    lake.put(path, data)
    return Written(rows, grades, hashlib.sha256(data).hexdigest())
