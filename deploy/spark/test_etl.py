"""DataFusion, Spark and pandas make the same matrices of a lake, and all readers count the same rows.

    BIN=target/release .tools/spark/bin/python deploy/spark/test_etl.py [-v] [Class.test]

`make test-spark` installs what it needs. BIN is the folder of ltr-host and ltr-trainer.
"""

import hashlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JError
from pyarrow import fs
from pyspark.errors import PySparkException

import made_lakes
from etl_ltr import SQL, Etl, Queries, of_spark, start_session
from ltr_lake import NAMES, RECORDS, TABLES, Lake, LakeError, RawFile, cover
from ltr_rules import ATTRIBUTIONS, Rules, micros

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("BIN", ROOT / "target/release")).absolute()
MOTO = ROOT / ".tools/bin/moto_server"
PATIENCE = 60
# Some cases of the first day are closed then, and no others.
AS_OF = "2026-09-08T08:00:00Z"
AS_OF_LAST_TOUCH = "2026-09-15T08:00:00Z"
DAYS = [date(2026, 9, day) for day in (1, 2, 3, 4)]
# Seeds of made-up events, and by which rules each of them is judged, under both attributions. By the second ones a case
# is still shown when its longest window is over.
SEEDS = {1: Rules(), 2: Rules(click_hours=2, contact_hours=26, contract_hours=25, case_days=34)}


def program(name: str) -> Path:
    path = BIN / name
    if not path.exists():
        raise unittest.TestCase.failureException(f"there is no {path}: run `make programs`, or set BIN to their folder")
    return path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Programs:
    """The gateway and the trainer, with everything that they keep in one folder."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.lake = folder / "lake"
        self.config: list[str | Path] = []
        self.environment = {
            **os.environ,
            "LTR_HOST__CLOCK": "header",
            "LTR_DATABASE__URL": f"sqlite://{folder}/ltr.db",
            "LTR_DATABASE__SPOOL_DIR": f"{folder}/spool",
            "LTR_MODELS__DIR": f"{folder}/models",
            "LTR_MODELS__CODE_CACHE_DIR": f"{folder}/code",
            "LTR_MODELS__TRUSTED_KEYS": f"{folder}/keys/trusted",
            "LTR_PUBLISH__SIGNING_KEY": f"{folder}/keys/publish.key",
            "LTR_PRIVACY__SALT_FILE": f"{folder}/keys/privacy.salt",
            "LTR_LAKE__DIR": str(self.lake),
            **settings,
        }

    def call(self, name: str, *arguments: str) -> str:
        command = [program(name), *self.config, *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(f"{name} {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def files(self, table: str) -> list[str]:
        """What readers are to read."""
        return self.call("ltr-trainer", "lake", "files", "--table", table).splitlines()

    def etl(self, as_of: str) -> dict:
        return json.loads(self.call("ltr-trainer", "etl", "--as-of", as_of, "--json"))

    def simulate(self, days: list[date]) -> None:
        """A marketplace day by day. The sink runs after each of them: late events come into files of their own."""
        port = free_port()
        roles = ["--role", "ingest", "--role", "rank", "--role", "admin"]
        token, entry = self.call("ltr-host", "token", "test", *roles).splitlines()[:2]
        self.environment["LTR_HOST__LISTEN"] = f"127.0.0.1:{port}"
        self.environment["LTR_CLIENT__TOKEN"] = token
        self.environment["LTR_ACCESS__TOKENS"] = f"[{entry}]"
        self.call("ltr-trainer", "keygen")
        command = [program("ltr-host"), "serve"]
        gateway = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            listening(gateway, port)
            for day in days:
                url = f"http://127.0.0.1:{port}"
                of_day = ["--from", f"{day}T00:00:00Z", "--days", "1", "--cases-per-day", "60", "--seed", str(day.day)]
                self.call("ltr-trainer", "simulate", "--url", url, *of_day)
                self.call("ltr-trainer", "sink")
        finally:
            gateway.terminate()
            gateway.wait()


def listening(server: subprocess.Popen, port: int) -> None:
    """Waits until a server takes connections."""
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > ends:
                raise AssertionError(f"{server.args[0]} does not take connections on port {port}") from None
            time.sleep(0.05)


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Calls etl_ltr.py as a user does."""
    script = [sys.executable, str(Path(__file__).with_name("etl_ltr.py")), *arguments]
    return subprocess.run(script, env={**os.environ, **environment}, capture_output=True, text=True)


def notes(lake: Path) -> dict[str, dict]:
    """What `ltr-trainer etl` noted of each day."""
    found = (lake / "ltr/processed").glob("*/matrix.json")
    return {path.parent.name: json.loads(path.read_text())["day"] for path in found}


class Case(unittest.TestCase):
    maxDiff = None

    def assert_same_matrices(self, expected: Path, made: Path) -> None:
        """Each day's rows, columns and types are the same, in the same order."""
        days = {path.parent.name for path in expected.glob("*/matrix.parquet")}
        self.assertTrue(days)
        self.assertEqual(days, {path.parent.name for path in made.glob("*/matrix.parquet")})
        for day in sorted(days):
            one, other = (pq.read_table(folder / day / "matrix.parquet") for folder in (expected, made))
            self.assertEqual(one.schema.remove_metadata(), other.schema.remove_metadata(), day)
            for name in one.schema.names:
                self.assertEqual(one[name].to_pylist(), other[name].to_pylist(), f"{day}: {name}")


class OfPrograms(Case):
    """A lake that the programs filled."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.programs = Programs(cls.folder)
        cls.lake = cls.programs.lake
        cls.programs.simulate(DAYS)
        cls.programs.etl(AS_OF)
        cls.matrices = cls.lake / "ltr/processed"

    def copy(self) -> Path:
        lake = Path(self.enterContext(tempfile.TemporaryDirectory())) / "lake"
        shutil.copytree(self.lake, lake)
        return lake

    def with_lake(self, lake: Path | str, **settings: str) -> Programs:
        """The programs on another lake."""
        return Programs(self.folder, **{"LTR_LAKE__DIR": str(lake), **settings})

    def test_spark_and_pandas_make_the_matrices_that_datafusion_makes(self) -> None:
        for folder in self.matrices.glob("*/matrix.parquet"):
            self.assertGreater(pq.read_metadata(folder).num_rows, 500)
        self.assertTrue(any(len(list(folder.iterdir())) > 1 for folder in self.lake.glob("ltr/raw/*/*/*/actions")))
        for attribution, as_of in zip(ATTRIBUTIONS, (AS_OF, AS_OF_LAST_TOUCH), strict=True):
            with self.subTest(attribution=attribution):
                self.compare(attribution, as_of)

    def compare(self, attribution: str, as_of: str) -> None:
        lake = self.copy()
        self.with_lake(lake, LTR_LABELS__ATTRIBUTION=attribution).etl(as_of)
        rules = Rules(attribution=attribution)
        output = self.folder / "spark" / attribution
        arguments = ["--lake", str(lake), "--as-of", as_of, "--output", str(output), "--json"]
        done = command(*arguments, "--attribution", attribution)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_same_matrices(lake / "ltr/processed", output)
        noted = notes(lake)
        report = json.loads(done.stdout)
        for day in report["days"]:
            note = noted.pop(day["date"])
            self.assertEqual(day["facts"], note["facts"])
            self.assertEqual((day["rows"], day["grades"]), (note["rows"], note["grades"]))
            self.assertEqual(day["sha256"], hashlib.sha256(Path(day["path"]).read_bytes()).hexdigest())
        self.assertEqual(noted, {})
        listed = json.loads(Path(report["path"]).read_text())["days"]
        self.assertEqual([day["date"] for day in listed], [str(day) for day in DAYS])
        pandas = self.folder / "pandas" / attribution
        of_pandas(lake, as_of, pandas, rules)
        self.assert_same_matrices(lake / "ltr/processed", pandas)

    def test_every_reader_counts_the_rows_that_inspect_counts_before_and_after_compaction(self) -> None:
        lake = self.copy()
        programs = self.with_lake(lake)
        counted = {"comparisons": made_lakes.add_comparisons(lake, DAYS[0])}
        days = json.loads(programs.call("ltr-trainer", "lake", "inspect", "--json"))
        self.assertEqual([day["comparisons"] for day in days if day["comparisons"]], [3])
        counted |= {table: sum(day[table] for day in days) for table in ("impressions", "actions")}
        shown = [pq.read_table(path, columns=["lawyers"])["lawyers"] for path in programs.files("impressions")]
        counted["impression_lawyers"] = sum(sum(column.to_pylist()) for column in shown)
        self.assertGreater(counted["actions"], 500)
        self.check_readers(lake, programs, counted)
        before = sorted(lake.glob("ltr/raw/*/*/*/*/*.parquet"))
        compacted = json.loads(programs.call("ltr-trainer", "lake", "compact", "--json"))
        self.assertGreater(compacted["merged"], 0)
        # Whoever listed them still finds them.
        self.assertLessEqual(set(before), set(lake.glob("ltr/raw/*/*/*/*/*.parquet")))
        listed = self.check_readers(lake, programs, counted)
        self.assertLess(listed, len(before))
        output = self.folder / "compacted"
        done = command("--lake", str(lake), "--as-of", AS_OF, "--output", str(output))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_same_matrices(self.matrices, output)

    def check_readers(self, lake: Path, programs: Programs, counted: dict[str, int]) -> int:
        """Each reader counts the rows of each table in the files that the trainer lists. Returns how many files."""
        here = Lake(str(lake))
        found = here.raw_files()
        spark = the_session()
        listed = 0
        for table in NAMES:
            paths = programs.files(table)
            listed += len(paths)
            files = [here.full(file.path) for (name, _), files in found.items() if name == table for file in files]
            self.assertEqual(files, paths)
            readers = {
                "duckdb": duckdb.read_parquet(paths).count("*").fetchall()[0][0],
                "pandas": len(pd.concat([pd.read_parquet(path) for path in paths])),
                "polars": pl.scan_parquet(paths).select(pl.len()).collect().item(),
                "spark": spark.read.parquet(*paths).count(),
            }
            self.assertEqual(readers, dict.fromkeys(readers, counted[table]), table)
        return listed

    def test_the_made_up_lakes_have_the_columns_of_this_one(self) -> None:
        for table in TABLES:
            found = pq.read_schema(self.programs.files(table)[-1])
            columns = [(name, found.field(name).type) for name in found.names]
            expected = [field for field in made_lakes.SCHEMAS[table] if field[0] not in made_lakes.FEATURES]
            before = [name for name, _ in expected].index("lawyer_id") + 1 if table == "impression_lawyers" else 0
            features = columns[before : len(columns) - len(expected) + before]
            self.assertEqual({str(type_) for _, type_ in features}, {"double"} if before else set())
            self.assertEqual([column for column in columns if column not in features], expected)

    def test_a_matrix_that_spark_made_in_the_lake_is_made_again_by_the_next_night(self) -> None:
        lake = self.copy()
        day = str(DAYS[1])
        done = command("--lake", str(lake), "--as-of", AS_OF, "--day", day)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"{day}  ", done.stdout)
        self.assert_same_matrices(self.matrices, lake / "ltr/processed")
        self.assertEqual(self.with_lake(lake).etl(AS_OF)["made"], [day])

    def test_the_lawyers_file_is_joined_as_of_then_alike(self) -> None:
        lake = Path(self.enterContext(tempfile.TemporaryDirectory())) / "lake"
        shutil.copytree(self.lake / "ltr/raw", lake / "ltr/raw")
        shown = [pq.read_table(path) for path in lake.glob("ltr/raw/*/*/*/impression_lawyers/*.parquet")]
        for path in lake.glob("ltr/raw/*/*/*/impression_lawyers/*.parquet"):
            # The file says what impressions do not.
            table = pq.read_table(path)
            at = table.column_names.index("groups")
            nothing = pa.array(["{}"] * table.num_rows, table.schema.field(at).type)
            pq.write_table(table.set_column(at, table.schema.field(at), nothing), path)
        known = sorted({name for table in shown for name in table["lawyer_id"].to_pylist()})[::2]
        then, later = datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 9, 3, 12, tzinfo=UTC)
        rows = [
            {
                "lawyer_id": name,
                "from_utc": start,
                "groups": json.dumps({"gender": "fm"[at % 2]}),
                "cases_30d": at % 7 + number,
                "monthly_capacity": 9,
            }
            for at, name in enumerate(known)
            for number, start in enumerate((then, later))
        ]
        pq.write_table(pa.Table.from_pylist(rows), lake / "ltr/lawyers.parquet")
        self.with_lake(lake).etl(AS_OF)
        output = self.folder / "lawyers"
        done = command("--lake", str(lake), "--as-of", AS_OF, "--output", str(output))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_same_matrices(lake / "ltr/processed", output)
        changed = [
            day
            for day in map(str, DAYS)
            if pq.read_table(output / day / "matrix.parquet") != pq.read_table(self.matrices / day / "matrix.parquet")
        ]
        self.assertEqual(changed, [str(day) for day in DAYS], "the file says something of every day")

    def test_a_file_that_is_damaged_inside_is_named(self) -> None:
        lake = self.copy()
        path = sorted(lake.glob("ltr/raw/2026/09/01/actions/*.parquet"))[0]
        content = bytearray(path.read_bytes())
        # The head of the first page, of a column that the queries read.
        content[4:64] = b"\xff" * 60
        path.write_bytes(content)
        etl = Etl(Lake(str(lake)), Rules(), micros(datetime.fromisoformat(AS_OF)), Queries(SQL), None)
        etl.inspect(DAYS[:1])
        with self.assertRaises((PySparkException, Py4JError)) as caught:
            etl.make(the_session(), DAYS[0], Lake(str(self.folder / "damaged")), "")
        self.assertIn(str(path), of_spark(caught.exception))

    def test_a_lake_in_a_bucket_gives_the_same_matrices(self) -> None:
        environment = bucket(self)
        store = Lake("s3://lake/a/prefix")
        for path in self.lake.glob("ltr/raw/**/*.parquet"):
            store.put(str(path.relative_to(self.lake)), path.read_bytes())
        programs = self.with_lake(store.url)
        listed = programs.files("actions")
        # What a day had before it was compacted stays there. The nights have compacted all but the last days.
        programs.call("ltr-trainer", "lake", "compact", "--open-from", "2100-01-01")
        files = [f"{store.url}/{file.path}" for some in store.raw_files(["actions"]).values() for file in some]
        self.assertEqual(files, programs.files("actions"))
        self.assertNotEqual(files, listed)
        done = command("--lake", "s3://lake/a/prefix", "--as-of", AS_OF, "--json", **environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        made = self.folder / "bucket"
        report = json.loads(done.stdout)
        for day in report["days"]:
            path = made / day["date"] / "matrix.parquet"
            path.parent.mkdir(parents=True)
            self.assertEqual(day["path"], f"s3://lake/a/prefix/ltr/processed/{day['date']}/matrix.parquet")
            with store.store.open_input_file(day["path"].removeprefix("s3://")) as file:
                path.write_bytes(file.read())
        self.assert_same_matrices(self.matrices, made)


def of_pandas(lake: Path, as_of: str, output: Path, rules: Rules = Rules()) -> None:
    script = ROOT / "bench/etl/pandas_etl.py"
    arguments = ["--lake", str(lake), "--as-of", as_of, "--output", str(output)]
    for name, value in vars(rules).items():
        arguments += [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr)


def bucket(case: Case) -> dict[str, str]:
    """Starts an S3 server with a bucket, and points this process to it."""
    if not MOTO.exists():
        case.fail(f"there is no {MOTO}: run `make setup-servers`")
    port = free_port()
    server = subprocess.Popen(
        [MOTO, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    case.addCleanup(lambda: (server.terminate(), server.wait()))
    listening(server, port)
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    case.enterContext(unittest.mock.patch.dict(os.environ, environment))
    endpoint = f"127.0.0.1:{port}"
    store = fs.S3FileSystem(endpoint_override=endpoint, scheme="http", region="us-east-1", allow_bucket_creation=True)
    store.create_dir("lake")
    return environment


SESSIONS: list = []


def the_session():
    """One session for all tests of this process. Its results come in several partitions, as on a cluster."""
    if not SESSIONS:
        several = "--conf spark.sql.adaptive.coalescePartitions.enabled=false --conf spark.sql.shuffle.partitions=3"
        os.environ["PYSPARK_SUBMIT_ARGS"] = f"{several} pyspark-shell"
        SESSIONS.append(start_session("test_etl"))
        del os.environ["PYSPARK_SUBMIT_ARGS"]
        SESSIONS[0].sparkContext.setLogLevel("ERROR")
    return SESSIONS[0]


def tearDownModule() -> None:
    for session in SESSIONS:
        session.stop()


class OfMadeUpEvents(Case):
    """Ties in time, repeated impressions, late, early and unbound actions, pseudonyms, files of a former program."""

    def test_all_engines_agree_on_events_that_are_hard_to_attribute(self) -> None:
        facts: set[str] = set()
        for seed, attribution in itertools.product(SEEDS, ATTRIBUTIONS):
            rules = replace(SEEDS[seed], attribution=attribution)
            with self.subTest(seed=seed, attribution=attribution), tempfile.TemporaryDirectory() as folder:
                facts |= self.compare(Path(folder), seed, rules)
        kinds = ["counted", "other_impression", "unbound", "not_shown", "before_impression", "after_window"]
        self.assertEqual(facts, {"cases", "cases_immature", "cases_single", *(f"actions_{kind}" for kind in kinds)})

    def compare(self, folder: Path, seed: int, rules: Rules) -> set[str]:
        programs = Programs(folder)
        made_lakes.write(programs.lake, seed)
        config = folder / "ltr.toml"
        config.write_text(made_lakes.configuration(rules))
        programs.config = ["--config", config]
        as_of = made_lakes.AS_OF.isoformat()
        programs.etl(as_of)
        noted = notes(programs.lake)
        etl = Etl(Lake(str(programs.lake)), rules, micros(made_lakes.AS_OF), Queries(SQL), None)
        self.assertEqual(etl.features, made_lakes.FEATURES)
        days = [date.fromisoformat(day) for day in noted]
        etl.inspect(days)
        for day in days:
            made = etl.make(the_session(), day, Lake(str(folder / "spark")), "")
            self.assertEqual(made["facts"], noted[str(day)]["facts"])
        self.assert_same_matrices(programs.lake / "ltr/processed", folder / "spark")
        of_pandas(programs.lake, as_of, folder / "pandas", rules)
        self.assert_same_matrices(programs.lake / "ltr/processed", folder / "pandas")
        self.check_chosen_features(folder, etl, days[0])
        grades = [sum(day["grades"][grade] for day in noted.values()) for grade in range(4)]
        self.assertGreater(min(grades), 0)
        return {fact for day in noted.values() for fact, number in day["facts"].items() if number}

    def check_chosen_features(self, folder: Path, of_all: Etl, day: date) -> None:
        chosen = [made_lakes.FEATURES[2], made_lakes.FEATURES[0]]
        etl = Etl(of_all.lake, of_all.rules, of_all.as_of_us, of_all.queries, chosen)
        etl.inspect([day])
        etl.make(the_session(), day, Lake(str(folder / "chosen")), "")
        made, full = (pq.read_table(folder / run / f"{day}/matrix.parquet") for run in ("chosen", "spark"))
        names = [name for name in full.column_names if name not in made_lakes.FEATURES]
        self.assertEqual(made.column_names, [*names[:4], *chosen, *names[4:]])
        self.assertEqual(made.to_pylist(), full.select(made.column_names).to_pylist())


class Refused(Case):
    """Spark is not started for what is wrong before it."""

    def setUp(self) -> None:
        self.lake = Path(self.enterContext(tempfile.TemporaryDirectory()))
        made_lakes.write(self.lake, 1)

    def refused(self, *arguments: str) -> str:
        done = command("--lake", str(self.lake), "--as-of", "2026-11-09T08:00:00Z", *arguments)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, r"\Aerror: [^\n]+\n\Z")
        self.assertEqual(list(self.lake.glob("ltr/processed/*")), [])
        return done.stderr

    def day_of_several(self) -> list[Path]:
        """The files of the actions of a day that has more than one."""
        for chosen in Lake(str(self.lake)).raw_files(["actions"]).values():
            if len(chosen) > 1:
                return [self.lake / file.path for file in chosen]
        self.fail("no day has more than one file of actions")

    def test_a_file_that_is_missing_between_others(self) -> None:
        first, second, *_ = self.day_of_several()
        for path in first.parent.iterdir():
            if path != second:
                path.unlink()
        said = self.refused()
        self.assertIn(f"{second.relative_to(self.lake)}: the file of its table before it ends with record 0", said)

    def test_a_file_that_is_cut_short(self) -> None:
        first, *_ = self.day_of_several()
        first.write_bytes(first.read_bytes()[:-7])
        self.assertIn(f"{first.relative_to(self.lake)}: it cannot be read", self.refused())

    def test_a_file_that_does_not_say_how_many_records_it_has(self) -> None:
        first, *_ = sorted(self.lake.glob("ltr/raw/*/*/*/actions/??????????.parquet"))
        rows = pq.read_table(first).replace_schema_metadata()
        without, none = "it does not say how many records it has", "it has '0' for how many records it has"
        for facts, said in [({}, without), ({RECORDS: "0"}, none)]:
            pq.write_table(rows.replace_schema_metadata(facts), first)
            self.assertIn(f"{first.relative_to(self.lake)}: {said}", self.refused())

    def test_a_column_of_another_type(self) -> None:
        first, *_ = self.day_of_several()
        table = pq.read_table(first)
        column = table.schema.get_field_index("rank_pos")
        table = table.set_column(column, "rank_pos", table["rank_pos"].cast(pa.string()))
        pq.write_table(table.replace_schema_metadata({RECORDS: str(len(table))}), first)
        self.assertIn(f"{first.relative_to(self.lake)}: column rank_pos is string", self.refused())

    def test_a_feature_that_the_lake_does_not_have(self) -> None:
        said = self.refused("--features", "price", "prize")
        self.assertIn("--features: 'prize' is no feature of the lake; allowed: price, Price, area match", said)

    def test_a_feature_that_is_named_twice(self) -> None:
        self.assertIn("--features: 'price' is listed twice", self.refused("--features", "price", "price"))

    def test_days_that_the_lake_does_not_have(self) -> None:
        self.assertIn("days with impressions: 2026-10-01 to 2026-11-0", self.refused("--from", "2030-01-01"))

    def test_a_lake_that_is_none(self) -> None:
        self.assertIn("there is nothing under ltr/raw", self.refused("--lake", str(self.lake / "ltr")))
        self.assertIn("allowed: a folder, file:///folder or s3://bucket/prefix", self.refused("--lake", "gs://a/b"))

    def test_wrong_usage_is_exit_code_2_and_help_has_examples(self) -> None:
        lake = ["--lake", str(self.lake)]
        for wrong, said in [
            (["--as-of", "yesterday", *lake], "'yesterday' is no time; allowed: RFC 3339"),
            (["--as-of", "2026-11-09T08:00:00", *lake], "allowed: RFC 3339"),
            (["--day", "2026-02-30", *lake], "'2026-02-30' is no day; allowed: YYYY-MM-DD"),
            (["--day", "2026-02-01", "--to", "2026-02-02", *lake], "--day cannot be used with --from or --to"),
            (["--from", "2026-02-03", "--to", "2026-02-02", *lake], "--from 2026-02-03 is after --to 2026-02-02"),
            (["--click-hours", "0", *lake], "'0'; allowed: a whole number from 1 to 8760"),
            (["--attribution", "all", *lake], "choose from 'first_impression', 'last_touch'"),
            ([], "--lake"),
        ]:
            done = command(*wrong)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(said, done.stderr)
        done = command("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("etl_ltr.py --lake var/lake --day 2026-11-01", done.stdout)


class Names(unittest.TestCase):
    """The same rules as in lake/src/layout.rs."""

    def file(self, start: int, end: int, is_merged: bool) -> RawFile:
        return RawFile("actions", date(2026, 10, 1), start, end, is_merged)

    def test_a_name_is_read_as_it_is_written_and_no_other_way(self) -> None:
        folder = "ltr/raw/2026/10/01/actions"
        merged, added = f"{folder}/0000000003-0000000012.parquet", f"{folder}/0000000003.parquet"
        self.assertEqual(self.file(3, 12, True).path, merged)
        self.assertEqual(RawFile.parse(merged), self.file(3, 12, True))
        self.assertEqual(self.file(3, 12, False).path, added)
        self.assertEqual(RawFile.parse(added), self.file(3, 3, False))
        for table in NAMES:
            self.assertEqual(RawFile.parse(added.replace("actions", table)).table, table)
        for other in [
            f"{folder}/3-12.parquet",
            f"{folder}/3.parquet",
            f"{folder}/0000000012-0000000003.parquet",
            f"{folder}/0000000003-0000000003.parquet",
            "ltr/raw/2026/13/01/actions/0000000003-0000000012.parquet",
            "ltr/raw/2026/10/1/actions/0000000003-0000000012.parquet",
            "ltr/raw/2026/10/01/others/0000000003-0000000012.parquet",
            "ltr/raw/2026/10/01/rejected/0000000003-0000000012.parquet",
            "2026/10/01/actions/0000000003-0000000012.parquet",
            f"{merged}.tmp",
        ]:
            self.assertIsNone(RawFile.parse(other), other)

    def test_each_record_is_in_one_of_the_chosen_files(self) -> None:
        def chosen(*files: tuple[int, int, bool]) -> list[tuple[int, int]]:
            return [(file.start, file.end) for file in cover([self.file(*file) for file in files])]

        added, merged = False, True
        self.assertEqual(chosen(), [])
        self.assertEqual(chosen((5, 9, added), (0, 5, added)), [(0, 5), (5, 9)])
        replaced = [(0, 5, added), (5, 9, added), (0, 9, merged), (9, 10, added)]
        self.assertEqual(chosen(*replaced), [(0, 9), (9, 10)])
        # Somebody was slow, and put a file where others were merged and removed meanwhile.
        self.assertEqual(chosen((0, 9, merged), (5, 12, added), (9, 10, added)), [(0, 9), (9, 10)])
        for broken in [
            [(1, 5, added)],
            [(0, 5, added), (6, 9, added)],
            [(0, 5, added), (3, 9, merged)],
            [(0, 5, merged), (3, 9, merged)],
        ]:
            with self.assertRaises(LakeError):
                chosen(*broken)


if __name__ == "__main__":
    unittest.main()
