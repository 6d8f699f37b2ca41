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
from datetime import date, timedelta
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
PAIRS = ["action", "case", "of_day", "grade", "rank_pos", "lawyer_id", "impression", "ts_us_seen", "event_id_seen"]
LABELS = np.array([0.0, 0.3, 0.6, 1.0], dtype=np.float32)


def read(lake: Lake, table: str, files: list[RawFile], names: list[str], features: Sequence[str] = ()) -> pd.DataFrame:
    """The columns of some files, and features; a column that a file lacks is null."""
    columns = ltr_lake.columns(lake, table, files, features)
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
        first, last = seen.of_day - self.rules.case_days, seen.of_day + self.rules.days_shown
        seen = seen[(seen.day >= first) & (seen.day <= last)]
        by_gateway = seen.origin == "gateway"
        ranked = by_gateway & self.within_longest(seen)
        trusted = seen[by_gateway | ~ranked.groupby([seen.case, seen.of_day]).transform("max")]
        # The gateway's and a client's may begin on different days: each is a query of its day.
        firsts = trusted.sort_values(["ts_us", "event_id"]).groupby(["case", "of_day", "origin"])
        first = firsts[["ts_us", "user_id", "salt_id"]].transform("first").loc[trusted.index]
        is_of_day = first.ts_us // MICROS_A_DAY == trusted.of_day
        is_user = (trusted.user_id == first.user_id) | (trusted.salt_id != first.salt_id)
        return trusted[is_of_day & is_user & (trusted.ts_us < first.ts_us + self.rules.longest_us)]

    def within_longest(self, seen: pd.DataFrame) -> pd.Series:
        """Whether impressions are within the longest window of their case's first."""
        return seen.ts_us < seen.groupby(["case", "of_day"]).ts_us.transform("min") + self.rules.longest_us

    def anchors(self, kept: pd.DataFrame) -> pd.DataFrame:
        """The first impression of each case, where that is on the day itself."""
        first = kept.sort_values(["ts_us", "event_id"]).drop_duplicates(["case", "of_day"])
        first = first[first.day == first.of_day].copy()
        first["mature"] = first.ts_us + self.rules.closed_us <= self.as_of_us
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

    def counted(self, kept: pd.DataFrame, anchors: pd.DataFrame) -> pd.DataFrame:
        """The actions that count for each day and case, with the impression that each is about."""
        done = self.table("actions", ACTIONS)
        done["case"] = self.cases.get_indexer(done.pop("case_id"))
        windows = pd.DataFrame(self.rules.windows(), columns=["event", "grade", "window_us"])
        first = anchors[["case", "of_day", "impression", "ts_us"]]
        first = first.rename(columns={"impression": "first", "ts_us": "first_us"})
        done = done.merge(windows, on="event").merge(first, on="case")
        done = done[(done.day >= done.of_day - 1) & (done.day <= done.of_day + self.rules.days_closed)]
        if not self.rules.is_last_touch:
            # What costs nothing comes first: an action outside its window does not count, bound or not.
            done = done[in_window(done, done.first_us)]
        done["action"] = np.arange(len(done))
        seen = kept[["case", "of_day", "impression", "event_id", "ts_us", "user_id", "salt_id", "request_id"]]
        pairs = done.merge(seen, on=["case", "of_day"], suffixes=("", "_seen"))
        if self.rules.is_last_touch:
            # Of an impression that an action comes too late for, no earlier one has a window that is still open.
            pairs = pairs[in_window(pairs, pairs.ts_us_seen)]
        same_request = pairs.request_id.isna() | (pairs.request_id == pairs.request_id_seen)
        same_salt = pairs.salt_id == pairs.salt_id_seen
        is_bound = np.where(same_salt, pairs.user_id == pairs.user_id_seen, pairs.unbound == False)  # noqa: E712
        pairs = pairs.loc[same_request & is_bound, PAIRS].rename(columns={"rank_pos": "position"})
        keys = self.keys(pd.concat([pairs.impression, done["first"]]))
        fitting = pairs.merge(keys, on=["impression", "position", "lawyer_id"])
        if self.rules.is_last_touch:
            fitting = fitting.sort_values(["ts_us_seen", "event_id_seen"])
            return fitting.drop_duplicates("action", keep="last").rename(columns={"ts_us_seen": "shown_us"})
        done = done.rename(columns={"first": "impression", "first_us": "shown_us"})
        return done[done.action.isin(fitting.action)].merge(keys, on=["impression", "lawyer_id"])

    def queries(self, kept: pd.DataFrame, anchors: pd.DataFrame, counted: pd.DataFrame) -> pd.DataFrame:
        """The impression that is each case's query: the one of its strongest action, or else its first."""
        counted = counted.assign(event_id=self.impressions[counted.impression])
        last = counted.sort_values(["grade", "shown_us", "event_id"]).drop_duplicates(["case", "of_day"], keep="last")
        last = last[["case", "of_day", "impression"]].rename(columns={"impression": "touched"})
        cases = anchors[["case", "case_id", "of_day", "impression", "ts_us", "mature"]]
        cases = cases.merge(last, on=["case", "of_day"], how="left")
        cases["impression"] = cases.pop("touched").fillna(cases.impression).astype("int64")
        return cases.merge(kept[["of_day", "impression", "day", "source", "lawyers"]], on=["of_day", "impression"])

    def matrix(self, day: date, queries: pd.DataFrame, grades: pd.DataFrame) -> pd.DataFrame:
        """The rows of one day, in the order of the matrix."""
        names = [*ltr_lake.BEFORE_FEATURES, *[name for name, *_ in ltr_lake.AFTER_FEATURES]]
        of_day = queries[(queries.of_day == number(day)) & (queries.lawyers >= 2)]
        shown_on = [EPOCH.date() + timedelta(int(shown)) for shown in sorted(of_day.day.unique())]
        of_day = of_day[["case", "case_id", "impression", "source", "ts_us", "mature"]]
        parts = []
        for shown in shown_on or [day]:
            files = between(self.files, "impression_lawyers", shown, shown)
            rows = read(self.lake, "impression_lawyers", files, names, self.features)
            rows["impression"] = self.impressions.get_indexer(rows.pop("event_id"))
            parts.append(rows.merge(of_day, on="impression"))
        rows = pd.concat(parts)
        of_day = grades.loc[grades.of_day == number(day), ["case", "lawyer_id", "grade"]]
        rows = rows.merge(of_day, on=["case", "lawyer_id"], how="left")
        rows["grade"] = rows.grade.fillna(0).astype("int64")
        rows["label"] = LABELS[rows.grade]
        rows["ts"] = pd.to_datetime(rows.ts_us, unit="us", utc=True)
        rows["event_date"] = day
        return rows.rename(columns={"case_id": "qid"}).sort_values(["ts_us", "qid", "position"])


def in_window(actions: pd.DataFrame, shown_us: pd.Series) -> pd.Series:
    """Whether actions are inside their windows, which begin at these times."""
    return (actions.ts_us >= shown_us) & (actions.ts_us < shown_us + actions.window_us)


def make(lake: Lake, args: argparse.Namespace, output: Lake) -> int:
    """Writes all matrices; returns their rows."""
    files = lake.raw_files(ltr_lake.TABLES)
    chosen = days(files, args)
    etl = Etl(lake, files, args, chosen)
    kept = etl.kept()
    anchors = etl.anchors(kept)
    counted = etl.counted(kept, anchors)
    queries = etl.queries(kept, anchors, counted)
    grades = counted.merge(queries[["of_day", "impression"]], on=["of_day", "impression"])
    grades = grades.groupby(["of_day", "case", "lawyer_id"], as_index=False).grade.max()
    schema, rows = ltr_lake.matrix_schema(etl.features), 0
    for day in chosen:
        matrix = etl.matrix(day, queries, grades)[schema.names]
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
