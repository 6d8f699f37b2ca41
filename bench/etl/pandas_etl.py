"""The matrices of `ltr-trainer etl`, made by pandas: the same rules, vectorised, for the benchmark of the ETL.

Prints one JSON line with seconds, rows and the peak of memory. Impressions and actions of all days are in memory at
once; the features, which are most of the data, are read and written day by day. Only needed columns are read.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "spark"))

import ltr_lake  # noqa: E402
from ltr_lake import Lake, RawFile  # noqa: E402
from ltr_rules import EPOCH, MICROS_A_DAY, Files, add_arguments, between, checked, days, micros  # noqa: E402

IMPRESSIONS = ["event_id", "ts_utc", "case_id", "user_id", "salt_id", "request_id", "source", "origin", "lawyers"]
ACTIONS = [
    "event_id",
    "ts_utc",
    "case_id",
    "user_id",
    "salt_id",
    "event",
    "lawyer_id",
    "rank_pos",
    "request_id",
    "unbound",
]
KEYS = ["event_id", "position", "lawyer_id"]
LABELS = np.array([0.0, 0.3, 0.6, 1.0], dtype=np.float32)


def read(lake: Lake, table: str, files: list[RawFile], names: list[str], features: Sequence[str] = ()) -> pd.DataFrame:
    """The columns of some files, and features; a column that a file lacks is null."""
    columns = ltr_lake.columns(table, ltr_lake.footers(lake, files), features)
    names = [*names, *features]
    schema = pa.schema([columns.field(name) for name in names])
    parts = []
    for file in files:
        with lake.parquet(file.path) as parquet:
            there = [name for name in names if name in parquet.schema_arrow.names]
            part = parquet.read(columns=there)
        null = pa.nulls(part.num_rows)
        parts.append(pa.table([(part[f.name] if f.name in there else null).cast(f.type) for f in schema], schema))
    all_parts = pa.concat_tables(parts) if parts else schema.empty_table()
    if "ts_utc" in names:
        ts_us = all_parts["ts_utc"].cast(pa.int64())
        all_parts = all_parts.drop_columns("ts_utc").append_column("ts_us", ts_us)
    return all_parts.to_pandas()


def number(day: date) -> int:
    """Days since 1970."""
    return (day - EPOCH.date()).days


class Etl:
    """The rules for all days at once. A case is a number, and so is an impression: texts are compared once."""

    def __init__(self, lake: Lake, files: Files, args: argparse.Namespace, chosen: list[date]) -> None:
        self.lake, self.files, self.rules = lake, files, args.rules
        self.as_of_us = micros(args.as_of)
        self.days = [number(day) for day in chosen]
        self.sources = [self.rules.sources(day) for day in (chosen[0], chosen[-1])]
        self.features = ltr_lake.feature_names(lake, files)

    def table(self, name: str, columns: list[str]) -> pd.DataFrame:
        first, last = self.sources[0][name][0], self.sources[1][name][1]
        rows = read(self.lake, name, between(self.files, name, first, last), columns)
        rows = rows[rows.ts_us < self.as_of_us].assign(day=lambda rows: rows.ts_us // MICROS_A_DAY)
        return rows.fillna({"salt_id": ""})

    def kept(self) -> pd.DataFrame:
        """The impressions that count, once for each day (`of_day`) whose matrix they may matter for."""
        shown = self.table("impressions", IMPRESSIONS)
        shown["case"], self.cases = pd.factorize(shown.case_id)
        self.cases = pd.Index(self.cases)
        shown["impression"] = np.arange(len(shown))
        self.impressions = pd.Index(shown.event_id)
        of_days = shown.loc[shown.day.isin(self.days), ["case", "day"]].drop_duplicates()
        seen = of_days.rename(columns={"day": "of_day"}).merge(shown, on="case")
        first, last = seen.of_day - self.rules.case_days, seen.of_day + self.rules.days_behind
        seen = seen[(seen.day >= first) & (seen.day <= last)]
        by_gateway = seen.origin == "gateway"
        return seen[by_gateway | ~by_gateway.groupby([seen.case, seen.of_day]).transform("max")]

    def anchors(self, kept: pd.DataFrame) -> pd.DataFrame:
        """The first impression of each case, where that is on the day itself."""
        first = kept.sort_values(["ts_us", "event_id"]).drop_duplicates(["case", "of_day"])
        first = first[first.day == first.of_day].copy()
        first["mature"] = first.ts_us + self.rules.longest_us <= self.as_of_us
        return first

    def keys(self, wanted: pd.Series) -> pd.DataFrame:
        """Who was shown where, of some impressions. Read file by file: most rows are not wanted."""
        first, last = self.sources[0]["impression_lawyers"][0], self.sources[1]["impression_lawyers"][1]
        is_wanted = np.zeros(len(self.impressions), dtype=bool)
        is_wanted[wanted] = True
        parts = []
        for file in between(self.files, "impression_lawyers", first, last):
            rows = read(self.lake, "impression_lawyers", [file], KEYS)
            rows["impression"] = self.impressions.get_indexer(rows.pop("event_id"))
            parts.append(rows[(rows.impression >= 0) & is_wanted[rows.impression]])
        return pd.concat(parts)

    def grades(self, kept: pd.DataFrame, anchors: pd.DataFrame) -> pd.DataFrame:
        """The strongest action that counts, of each day, case and lawyer."""
        done = self.table("actions", ACTIONS)
        done["case"] = self.cases.get_indexer(done.pop("case_id"))
        windows = pd.DataFrame(self.rules.windows(), columns=["event", "grade", "window_us"])
        first = anchors[["case", "of_day", "impression", "ts_us"]]
        first = first.rename(columns={"impression": "anchor", "ts_us": "shown_us"})
        done = done.merge(windows, on="event").merge(first, on="case")
        done = done[(done.day >= done.of_day - 1) & (done.day <= done.of_day + self.rules.days_behind)]
        # What costs nothing comes first: an action outside its window does not count, bound or not.
        done = done[(done.ts_us >= done.shown_us) & (done.ts_us < done.shown_us + done.window_us)]
        done["action"] = np.arange(len(done))
        seen = kept[["case", "of_day", "impression", "user_id", "salt_id", "request_id"]]
        pairs = done.merge(seen, on=["case", "of_day"], suffixes=("", "_seen"))
        same_request = pairs.request_id.isna() | (pairs.request_id == pairs.request_id_seen)
        same_salt = pairs.salt_id == pairs.salt_id_seen
        is_bound = np.where(same_salt, pairs.user_id == pairs.user_id_seen, pairs.unbound == False)  # noqa: E712
        pairs = pairs.loc[same_request & is_bound, ["action", "impression", "rank_pos", "lawyer_id"]]
        keys = self.keys(pd.concat([pairs.impression, done.anchor]))
        pairs = pairs.rename(columns={"rank_pos": "position"})
        bound = pairs.merge(keys, on=["impression", "position", "lawyer_id"]).action.unique()
        first_shown = keys.rename(columns={"impression": "anchor"})[["anchor", "lawyer_id"]]
        counted = done[done.action.isin(bound)].merge(first_shown, on=["anchor", "lawyer_id"])
        return counted.groupby(["of_day", "case", "lawyer_id"], as_index=False).grade.max()

    def matrix(self, day: date, anchors: pd.DataFrame, grades: pd.DataFrame) -> pd.DataFrame:
        """The rows of one day, in the order of the matrix."""
        names = [name for name, *_ in ltr_lake.AFTER_FEATURES]
        of_day = between(self.files, "impression_lawyers", day, day)
        rows = read(self.lake, "impression_lawyers", of_day, [*ltr_lake.BEFORE_FEATURES, *names], self.features)
        rows["impression"] = self.impressions.get_indexer(rows.pop("event_id"))
        of_day = anchors[(anchors.of_day == number(day)) & (anchors.lawyers >= 2)]
        of_day = of_day[["case", "case_id", "impression", "source", "ts_us", "mature"]]
        rows = rows.merge(of_day, on="impression")
        of_day = grades.loc[grades.of_day == number(day), ["case", "lawyer_id", "grade"]]
        rows = rows.merge(of_day, on=["case", "lawyer_id"], how="left")
        rows["grade"] = rows.grade.fillna(0).astype("int64")
        rows["label"] = LABELS[rows.grade]
        rows["ts"] = pd.to_datetime(rows.ts_us, unit="us", utc=True)
        rows["event_date"] = day
        return rows.rename(columns={"case_id": "qid"}).sort_values(["ts_us", "qid", "position"])


def make(lake: Lake, args: argparse.Namespace, output: Lake) -> int:
    """Writes all matrices; returns their rows."""
    files = lake.raw_files()
    chosen = days(files, args)
    etl = Etl(lake, files, args, chosen)
    kept = etl.kept()
    anchors = etl.anchors(kept)
    grades = etl.grades(kept, anchors)
    schema, rows = ltr_lake.matrix_schema(etl.features), 0
    for day in chosen:
        matrix = etl.matrix(day, anchors, grades)[schema.names]
        table = pa.Table.from_pandas(matrix, schema=schema, preserve_index=False)
        rows += ltr_lake.write_matrix(output, f"{day}/{ltr_lake.MATRIX}", schema, [table]).rows
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--output", metavar="DIR", help="write {day}/matrix.parquet here; default: nowhere that stays")
    args = checked(parser, parser.parse_args())
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        rows = make(Lake(args.lake), args, Lake(args.output or scratch))
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "rows": rows, "peak_mib": peak / 1024}))


if __name__ == "__main__":
    main()
