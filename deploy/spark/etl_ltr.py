#!/usr/bin/env python3
"""The matrices of `ltr-trainer etl`, made by Spark: the same files of lake/sql, over the same raw tables.

What differs from lake/src/engine.rs and days.rs is how tables are registered and how the result is written.
"""

import argparse
import json
import os
import re
import sys
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import ltr_lake
from ltr_lake import Lake, LakeError, RawFile
from ltr_rules import MICROS_A_DAY, Rules, add_arguments, between, checked, days, micros, start_us

SQL = Path(__file__).resolve().parents[2] / "lake" / "sql"
# What the results depend on, whatever the cluster's defaults are.
SESSION = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    # Features may differ by case alone.
    "spark.sql.caseSensitive": "true",
    # A batch is a row group of the matrix.
    "spark.sql.execution.arrow.maxRecordsPerBatch": str(ltr_lake.ROWS_A_GROUP),
}
EXAMPLES = """examples:
  etl_ltr.py --lake var/lake                                  all days
  etl_ltr.py --lake var/lake --day 2026-11-01 --json
  etl_ltr.py --lake var/lake --from 2026-10-01 --to 2026-10-31 --output var/october
  spark-submit deploy/spark/etl_ltr.py --lake s3://bucket/lake --as-of 2026-11-09T02:15:00Z --parallel 8

exit codes: 0 success, 1 failure, 2 wrong usage"""


def quoted(name: str) -> str:
    """A column's name in Spark SQL."""
    return "`" + name.replace("`", "``") + "`"


class Queries:
    """The files of lake/sql. Each is named after what it gives, and reads raw tables or other files by name."""

    def __init__(self, folder: Path) -> None:
        texts = {path.stem: path.read_text() for path in sorted(folder.glob("*.sql"))}
        self.texts = {name: re.sub(r"--.*", "", text) for name, text in texts.items()}
        for needed in ("matrix", "summary"):
            if needed not in self.texts:
                raise LakeError(f"{folder}: there is no file {needed}.sql; --sql names the folder lake/sql")
        self.words = {word for text in self.texts.values() for word in re.findall(r"\w+", text)}

    def reads(self, name: str) -> list[str]:
        """The other files that a query reads."""
        sources = re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", self.texts[name])
        return [source for source in dict.fromkeys(sources) if source in self.texts]

    def steps(self) -> list[str]:
        """What matrix and summary build on, in an order in which each comes after those that it reads."""
        order: list[str] = []

        def visit(name: str) -> None:
            for source in self.reads(name):
                visit(source)
            if name not in order:
                order.append(name)

        for result in ("matrix", "summary"):
            visit(result)
        return [name for name in order if name not in ("matrix", "summary")]

    def shared(self) -> set[str]:
        """The steps that more than one query reads."""
        readers = Counter(source for name in self.steps() + ["matrix", "summary"] for source in self.reads(name))
        return {name for name, count in readers.items() if count > 1}


class Etl:
    """Makes matrices. Everything that can be wrong with the lake's files is found before Spark starts."""

    def __init__(self, lake: Lake, rules: Rules, as_of_us: int, queries: Queries, features: list[str] | None) -> None:
        self.lake = lake
        self.rules = rules
        self.as_of_us = as_of_us
        self.queries = queries
        self.files = lake.raw_files(ltr_lake.TABLES)
        known = ltr_lake.feature_names(lake, self.files)
        unknown = [name for name in features or [] if name not in known]
        if unknown:
            raise LakeError(f"--features: {unknown[0]!r} is no feature of the lake; allowed: {', '.join(known)}")
        twice = [name for name, count in Counter(features or []).items() if count > 1]
        if twice:
            raise LakeError(f"--features: {twice[0]!r} is listed twice; allowed: each feature once")
        self.features = features or known
        after = [name for name, *_ in ltr_lake.AFTER_FEATURES]
        self.shown = [*ltr_lake.BEFORE_FEATURES, *self.features, *after]

    def inspect(self, chosen: list[date]) -> None:
        """Reads the footers of all files that some days need, and compares their columns."""
        needed: dict[str, set[RawFile]] = {}
        for day in chosen:
            for table, (first, last) in self.rules.sources(day).items():
                needed.setdefault(table, set()).update(between(self.files, table, first, last))
        for table, files in needed.items():
            ltr_lake.columns(self.lake, table, sorted(files), self.features)

    def open(self, spark, day: date):
        """A session with the tables, the parameters and the steps of a day, and the steps that it keeps."""
        session = spark.newSession()
        for table, (first, last) in self.rules.sources(day).items():
            self._register(session, table, between(self.files, table, first, last))
        windows = ", ".join(f"('{event}', {grade}L, {window}L)" for event, grade, window in self.rules.windows())
        session.sql(f"SELECT * FROM VALUES {windows} AS t(event, grade, window_us)").createTempView("windows")
        start = start_us(day)
        parameters = {
            "day_start_us": start,
            "day_end_us": start + MICROS_A_DAY,
            "as_of_us": self.as_of_us,
            "longest_us": self.rules.longest_us,
            "closed_us": self.rules.closed_us,
            "last_touch": int(self.rules.is_last_touch),
        }
        values = ", ".join(f"{value}L" for value in parameters.values())
        # As rows and not as constants: the code that Spark generates is then the same for every day.
        session.sql(f"SELECT * FROM VALUES ({values}) AS t({', '.join(parameters)})").createTempView("parameters")
        self._register_lawyers(session)
        session.table("impression_lawyers").select(*map(quoted, self.shown)).createTempView("shown")
        kept = []
        for name in self.queries.steps():
            frame = session.sql(self.queries.texts[name])
            if name in self.queries.shared():
                kept.append(frame.persist())
            frame.createTempView(name)
        return session, kept

    def _register_lawyers(self, session) -> None:
        """Registers the lawyers' file, which need not be there, as lake/src/lawyers.rs does."""
        rows = ltr_lake.lawyers(self.lake)
        types = {"from_us": "bigint", "cases_30d": "bigint", "monthly_capacity": "bigint", "last_offered_at": "timestamp"}
        names = rows.schema.names
        nothing = ", ".join(f"CAST(NULL AS {types.get(name, 'string')}) AS {name}" for name in names)
        # Not by createDataFrame: after that Spark takes no source of ours any more.
        values = ", ".join("(" + ", ".join(map(_literal, row.values())) + ")" for row in rows.to_pylist())
        known = f" UNION ALL SELECT * FROM VALUES {values} AS t({', '.join(names)})" if values else ""
        session.sql(f"SELECT {nothing} WHERE FALSE{known}").createTempView("lawyers")

    def make(self, spark, day: date, output: Lake, folder: str) -> dict:
        """Makes a day's matrix, puts it in its place, and says what came out."""
        session, kept = self.open(spark, day)
        try:
            if output.url == self.lake.url:
                # The note says of the file beside it that `ltr-trainer etl` made it, and needs not again.
                output.remove(f"{folder}{day}/{ltr_lake.NOTE}")
            path = f"{folder}{day}/{ltr_lake.MATRIX}"
            written = _write(self._matrix(session), output, path, ltr_lake.matrix_schema(self.features))
            facts = session.sql(self.queries.texts["summary"]).collect()
        finally:
            for frame in kept:
                frame.unpersist()
        return {
            "date": str(day),
            "path": f"{output.url}/{path}",
            "rows": written.rows,
            "grades": written.grades,
            "facts": dict(sorted((row.fact, row.number) for row in facts)),
            "sha256": written.sha256,
        }

    def _matrix(self, session):
        """The matrix's columns, in its order and types; the query has more."""
        from pyspark.sql.functions import col

        frame = session.sql(self.queries.texts["matrix"])
        types = {**_spark_types(), "float": "float", "date32[day]": "date"}
        schema = ltr_lake.matrix_schema(self.features)
        return frame.select(*[col(quoted(field.name)).cast(types[str(field.type)]) for field in schema])

    def _register(self, session, table: str, files: list[RawFile]) -> None:
        """Registers the files of a table under its name, with `ts_us`."""
        from lake_source import LakeSource
        from pyspark.sql.functions import unix_micros

        columns = ltr_lake.columns(self.lake, table, files, self.features)
        types = _spark_types()
        # Spark reads only the columns that the queries need; a source in Python has to be told.
        wanted = self.queries.words.union(self.shown) if self.lake.is_bucket else set(columns.names)
        spelled = [(quoted(field.name), types[str(field.type)]) for field in columns if field.name in wanted]
        schema = ", ".join(f"{name} {type_}" for name, type_ in spelled)
        if not files:
            nothing = ", ".join(f"CAST(NULL AS {type_}) AS {name}" for name, type_ in spelled)
            frame = session.sql(f"SELECT {nothing} WHERE FALSE")
        elif self.lake.is_bucket:
            session.dataSource.register(LakeSource)
            footers = ltr_lake.footers(self.lake, files)
            paths = json.dumps([(file.path, footer.row_groups) for file, footer in zip(files, footers)])
            options = {"lake": self.lake.url, "files": paths}
            frame = session.read.format(LakeSource.name()).schema(schema).options(**options).load()
        else:
            paths = [Path(self.lake.full(file.path)).as_uri() for file in files]
            frame = session.read.schema(schema).parquet(*paths)
        frame.withColumn("ts_us", unix_micros("ts_utc")).createTempView(table)


def _literal(value) -> str:
    """A value in Spark SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return f"{value}L"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"TIMESTAMP '{value.isoformat(sep=' ')}'"


def _spark_types() -> dict[str, str]:
    from lake_source import TYPES

    return {str(type_): name for type_, name in TYPES.items()}


def _write(frame, output: Lake, path: str, schema) -> ltr_lake.Written:
    """One task writes the whole file, so that a day's rows never pass through the driver."""

    def write(batches):
        import pyarrow as pa

        named = (batch.rename_columns(schema.names) for batch in batches)
        written = ltr_lake.write_matrix(output, path, schema, named)
        yield pa.RecordBatch.from_pylist([written._asdict()])

    # Spark takes a dot in a name for a field of a structure here, and has no way to quote it.
    numbered = frame.toDF(*[f"column_{number}" for number in range(len(schema))])
    made = numbered.coalesce(1).mapInArrow(write, "rows bigint, grades array<bigint>, sha256 string").collect()
    if not made:
        # Spark found out that there are no rows, and asked no task.
        return ltr_lake.write_matrix(output, path, schema, [])
    return ltr_lake.Written(made[0].rows, list(made[0].grades), made[0].sha256)


def start_session(name: str):
    """The session of this program, which can load its files wherever they run."""
    from pyspark import SparkConf
    from pyspark.sql import SparkSession

    # Nothing here goes through pandas.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")
    # With what spark-submit was told.
    conf = SparkConf()
    if conf.get("spark.master", "local[*]").startswith("local"):
        # A machine's own name need not lead to it.
        conf.setIfMissing("spark.driver.host", "127.0.0.1")
        conf.setIfMissing("spark.driver.bindAddress", "127.0.0.1")
        conf.setIfMissing("spark.ui.enabled", "false")
        conf.setIfMissing("spark.ui.showConsoleProgress", "false")
        # 200 by default, which is for a cluster: a day has little work for each.
        conf.setIfMissing("spark.sql.shuffle.partitions", str(os.cpu_count()))
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    for key, value in SESSION.items():
        conf.set(key, value)
    spark = SparkSession.builder.config(conf=conf).appName(name).getOrCreate()
    for module in ("ltr_lake.py", "lake_source.py"):
        spark.sparkContext.addPyFile(str(Path(__file__).with_name(module)))
    return spark


def run(args: argparse.Namespace) -> dict:
    """Makes the matrices of the days that are asked for, and their list."""
    lake = Lake(args.lake)
    etl = Etl(lake, args.rules, micros(args.as_of), Queries(args.sql), args.features)
    chosen = days(etl.files, args)
    if not chosen:
        known = sorted(day for table, day in etl.files if table == "impressions")
        held = f"{known[0]} to {known[-1]}" if known else "none"
        raise LakeError(f"no impressions in the range as of {args.as_of.isoformat()}; days with impressions: {held}")
    etl.inspect(chosen)
    output, folder = (Lake(args.output), "") if args.output else (lake, "ltr/processed/")
    spark = start_session("etl_ltr")
    spark.sparkContext.setLogLevel("ERROR")
    try:
        with ThreadPoolExecutor(args.parallel) as pool:
            made = list(pool.map(lambda day: etl.make(spark, day, output, folder), chosen))
    finally:
        spark.stop()
    listed = [{"date": day["date"], "path": day["path"], "sha256": day["sha256"]} for day in made if day["rows"]]
    path = f"{folder}{args.day or args.as_of.date()}/days.json"
    output.put(path, json.dumps({"days": listed}, indent=2).encode())
    return {"path": f"{output.url}/{path}", "days": made}


def show(report: dict) -> None:
    """The report as a table."""
    print(f"{'day':<12}{'rows':>10}{'grade 1':>10}{'grade 2':>10}{'grade 3':>10}{'cases':>10}{'immature':>10}")
    for day in report["days"]:
        numbers = [day["rows"], *day["grades"][1:], day["facts"]["cases"], day["facts"]["cases_immature"]]
        print(f"{day['date']:<12}" + "".join(f"{number:>10}" for number in numbers))
    print(f"list of the days: {report['path']}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Makes the training matrix of each day from the raw tables of the lake, in Spark.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    add = parser.add_argument
    add("--output", metavar="DIR|URL", help="write {day}/matrix.parquet here instead of into the lake")
    add("--features", nargs="+", metavar="NAME", help="the features, in order; default: those of the newest raw file")
    add("--sql", type=Path, default=SQL, metavar="DIR", help="the folder lake/sql; default: the one of this checkout")
    add("--parallel", type=int, choices=range(1, 65), default=2, metavar="N", help="days at once, 1 to 64; default: 2")
    add("--json", action="store_true", help="print the report as JSON instead of a table")
    return checked(parser, parser.parse_args())


def of_spark(error: Exception) -> str:
    """The cause in one line: what a worker says of the lake, or else Spark's own message, or how that begins."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    of_lake = [line for line in lines if "LakeError: " in line]
    of_spark = [line for line in lines if "Exception: [" in line]
    return re.sub(r"^.*?(LakeError|Exception): ", "", (of_lake + of_spark + lines)[0])


def main() -> int:
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    args = arguments()
    try:
        report = run(args)
    except LakeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (PySparkException, Py4JError) as error:
        print(f"error: Spark: {of_spark(error)}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        show(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
