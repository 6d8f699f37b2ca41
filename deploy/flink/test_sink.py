"""Does Flink plan sink.sql, and does the plan do what the sink does?

Kafka, Parquet and S3 cannot be had here. The test puts files of JSON in their places; the queries are untouched.

    .tools/flink/bin/python deploy/flink/test_sink.py [-v]
"""

import json
import re
import tempfile
import unittest
from pathlib import Path

from pyflink.table import EnvironmentSettings, TableEnvironment

SINK = Path(__file__).with_name("sink.sql")
FEATURES = ["area_match", "similarity", "success_rate", "geo", "qualification", "urgency"]
FEATURES += ["review", "soft_skill", "firm_reputation", "price_fit", "maturity"]

SHOWN = {
    "schema_version": 2,
    "event": "impression",
    "event_id": "00000000-0000-0000-0000-000000000001",
    "ts_utc": "2026-10-01T23:59:59.123456Z",
    "case_id": "00000000-0000-0000-0000-00000000000c",
    "user_id": "00000000-0000-0000-0000-00000000000a",
    "request_id": "00000000-0000-0000-0000-00000000000e",
    "source": "legacy",
    "model_version": None,
    "lawyer_ids": ["b", "a"],
    "weights_used": {"geo": 0.25},
    "features": [[0.5, None, *[0.25] * 9], [0.125, 1.0, *[0.75] * 9]],
    "legacy_scores": [0.5, 0.25],
    "groups": [{"gender": "F"}, {}],
    "cases_30d": [3, 4],
    "monthly_capacity": [10, 20],
    "last_offered_at": [None, "2026-09-30T00:00:00Z"],
    "origin": "gateway",
    "policy": "none",
}
CLICK = {
    "event": "click_profile",
    "event_id": "00000000-0000-0000-0000-000000000002",
    "ts_utc": "2026-10-02T00:00:00Z",
    "case_id": SHOWN["case_id"],
    "user_id": SHOWN["user_id"],
    "lawyer_id": "a",
    "rank_pos": 2,
    "unbound": False,
}
NEW = {**CLICK, "event": "something_new", "event_id": "00000000-0000-0000-0000-000000000003"}
# As an older client posts it: what it does not say is null.
PLAIN = {key: SHOWN[key] for key in ("event", "ts_utc", "case_id", "user_id", "request_id", "source", "features")}
PLAIN |= {"event_id": "00000000-0000-0000-0000-000000000004", "lawyer_ids": ["c", "d"]}
# As the gateway writes it: request and case are its key, and the user is a pseudonym.
COMPARED = {
    "event": "comparison",
    "request_id": SHOWN["request_id"],
    "ts_utc": "2026-10-03T12:00:00Z",
    "case_id": SHOWN["case_id"],
    "user_pseudonym": "00000000-0000-0000-0000-0000000000aa",
    "model_version": "v7",
    "outcome": "ok",
    "score_us": 830,
    "trigger": "sampled",
    "salt_id": "00000000-0000-0000-0000-0000000000bb",
    "rows": [
        {
            "lawyer_id": "b",
            "rank_legacy": 1,
            "rank_ltr": 2,
            "label": None,
            "fair_legacy": 0.5,
            "fair_ltr": 0.25,
            "groups": {"gender": "F"},
        },
        {
            "lawyer_id": "a",
            "rank_legacy": 2,
            "rank_ltr": None,
            "label": None,
            "fair_legacy": 0.75,
            "fair_ltr": None,
            "groups": {},
        },
    ],
}
NOBODY = {**COMPARED, "case_id": "00000000-0000-0000-0000-00000000000d", "outcome": "too_few", "rows": []}


class Sink(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        lines = [json.dumps(event) for event in (SHOWN, CLICK, NEW, CLICK, PLAIN, COMPARED, NOBODY, COMPARED)]
        (self.folder / "events.ndjson").write_text("\n".join([*lines[:2], '{"event": ', *lines[2:]]) + "\n")
        self.environment = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
        self.environment.get_config().set("parallelism.default", "1")
        text = re.sub(r"--.*", "", SINK.read_text())
        before, self.inserts = text.split("EXECUTE ")
        for statement in filter(str.strip, before.split(";")):
            self.define(statement.strip())

    def define(self, statement: str) -> None:
        option = re.fullmatch(r"SET '(.*)' = '(.*)'", statement)
        if option:
            self.environment.get_config().set(*option.groups())
        else:
            self.environment.execute_sql(self.with_files(statement))

    def with_files(self, statement: str) -> str:
        """The statement with files instead of what cannot be had here."""
        source = rf"'connector' = 'filesystem', 'path' = '{self.folder}/events.ndjson'"
        statement = re.sub(r"'connector' = 'kafka',.*?'earliest-offset'", source, statement, flags=re.DOTALL)
        statement = statement.replace("s3://bucket/flink", str(self.folder))
        return re.sub(r"'format' = 'parquet'.*\)", "'format' = 'json')", statement, flags=re.DOTALL)

    def rows(self, table: str) -> dict[str, list[dict]]:
        """What the job wrote, by the folder of the day."""
        days: dict[str, list[dict]] = {}
        for path in sorted((self.folder / table).glob("day=*/part-*")):
            days.setdefault(path.parent.name, []).extend(json.loads(line) for line in path.read_text().splitlines())
        return days

    def test_flink_plans_the_job_and_the_plan_makes_the_tables_of_the_lake(self) -> None:
        plan = self.environment.execute_sql("EXPLAIN " + self.inserts.strip().removesuffix(";"))
        text = "".join(row[0] for row in plan.collect())
        for table in ("impressions", "impression_lawyers", "actions", "comparisons", "rejected"):
            self.assertIn(f"Sink(table=[default_catalog.default_database.{table}]", text)
        self.environment.execute_sql("EXECUTE " + self.inserts.strip().removesuffix(";")).wait()
        self.check_impressions()
        self.check_lawyers()
        self.check_comparisons()
        actions = self.rows("actions")
        self.assertEqual(list(actions), ["day=2026-10-02"])
        (action,) = actions["day=2026-10-02"]
        self.assertEqual(action["event_id"], CLICK["event_id"])
        self.assertEqual((action["lawyer_id"], action["rank_pos"], action["unbound"]), ("a", 2, False))
        rejected = [row for rows in self.rows("rejected").values() for row in rows]
        self.assertEqual({row["payload"] for row in rejected}, {'{"event": ', json.dumps(NEW)})
        self.assertEqual({row["event_id"] for row in rejected}, {None, NEW["event_id"]})

    def check_impressions(self) -> None:
        days = self.rows("impressions")
        self.assertEqual(list(days), ["day=2026-10-01"])
        first, second = sorted(days["day=2026-10-01"], key=lambda row: row["event_id"])
        for name in ("event_id", "case_id", "user_id", "request_id", "source", "model_version", "origin", "policy"):
            self.assertEqual(first[name], SHOWN[name], name)
        self.assertEqual(first["lawyers"], 2)
        self.assertIn("23:59:59.123456", first["ts_utc"])
        self.assertEqual(json.loads(first["weights_used"]), SHOWN["weights_used"])
        self.assertEqual((second["origin"], second["policy"], second["lawyers"]), ("client", None, 2))

    def check_lawyers(self) -> None:
        rows = self.rows("impression_lawyers")["day=2026-10-01"]
        rows.sort(key=lambda row: (row["event_id"], row["position"]))
        self.assertEqual(
            [(row["position"], row["lawyer_id"]) for row in rows], [(1, "b"), (2, "a"), (1, "c"), (2, "d")]
        )
        for at, row in enumerate(rows[:2]):
            self.assertEqual([row[name] for name in FEATURES], SHOWN["features"][at])
            for one, many in (("legacy_score", "legacy_scores"), ("cases_30d",) * 2, ("monthly_capacity",) * 2):
                self.assertEqual(row[one], SHOWN[many][at], one)
            self.assertEqual(json.loads(row["groups"]), SHOWN["groups"][at])
        self.assertEqual(rows[0]["last_offered_at"], None)
        self.assertTrue(rows[1]["last_offered_at"].startswith("2026-09-30"))
        self.assertEqual((rows[2]["groups"], rows[2]["legacy_score"], rows[2]["cases_30d"]), ("{}", None, None))

    def check_comparisons(self) -> None:
        days = self.rows("comparisons")
        self.assertEqual(list(days), ["day=2026-10-03"])
        rows = sorted(days["day=2026-10-03"], key=lambda row: (row["case_id"], row["rank_legacy"] or 0))
        self.assertEqual([row["lawyer_id"] for row in rows], ["b", "a", None])
        for row in rows:
            self.assertEqual(row["user_id"], COMPARED["user_pseudonym"])
            for name in ("request_id", "model_version", "score_us", "trigger", "salt_id"):
                self.assertEqual(row[name], COMPARED[name], name)
        self.assertEqual([row["outcome"] for row in rows], ["ok", "ok", "too_few"])
        for row, of in zip(rows, COMPARED["rows"]):
            for name in ("rank_legacy", "rank_ltr", "fair_legacy", "fair_ltr"):
                self.assertEqual(row[name], of[name], name)
            self.assertEqual(json.loads(row["groups"]), of["groups"])
        self.assertEqual((rows[2]["rank_legacy"], rows[2]["groups"]), (None, "{}"))


if __name__ == "__main__":
    # Flink's own packages warn of each other.
    unittest.main(warnings="ignore")
