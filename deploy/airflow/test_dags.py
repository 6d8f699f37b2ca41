"""Runs the DAGs in a real Airflow on the embedded stack: SQLite, a lake in a folder, a gateway on loopback.

Called by `make test-airflow`, with the Python of the environment that has Airflow.
  BIN   where ltr-host and ltr-trainer are
"""

import email
import email.policy
import json
import os
import re
import signal
import socket
import socketserver
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(os.environ.get("BIN", "target/release")).resolve()
AIRFLOW = Path(sys.executable).parent / "airflow"
STEPS = ["sink", "etl", "check", "train", "evaluate", "gate", "publish"]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Mailbox(socketserver.ThreadingTCPServer):
    """An SMTP server that keeps what it is sent."""

    daemon_threads = True

    class Session(socketserver.StreamRequestHandler):
        def handle(self):
            self.say("220 mailbox")
            while line := self.rfile.readline().decode().strip():
                word = line[:4].upper()
                if word == "DATA":
                    self.say("354 go on")
                    lines = iter(self.rfile.readline, b".\r\n")
                    self.server.mails.append(email.message_from_bytes(b"".join(lines), policy=email.policy.default))
                self.say("221 bye" if word == "QUIT" else "250 ok")
                if word == "QUIT":
                    return

        def say(self, text):
            self.wfile.write(f"{text}\r\n".encode())

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Session)
        self.mails = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Stack:
    """The programs with their files in one folder, and an Airflow that has the DAGs."""

    def __init__(self, folder):
        self.folder = folder
        self.lake = folder / "lake"
        self.models = folder / "models" / "ltr"
        self.url = f"http://127.0.0.1:{free_port()}"
        self.mailbox = Mailbox()
        roles = "--role ingest --role rank --role admin".split()
        token, entry = self.run(BIN / "ltr-host", "token", "test", *roles).splitlines()
        smtp = {
            "conn_type": "smtp",
            "host": "127.0.0.1",
            "port": self.mailbox.server_address[1],
            "extra": {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.org", "retry_limit": 1},
        }
        self.env = {
            # Whatever the caller has set of these programs' must not count here.
            **{name: value for name, value in os.environ.items() if not name.startswith(("LTR_", "AIRFLOW_"))},
            "LTR_HOST__LISTEN": self.url.removeprefix("http://"),
            "LTR_HOST__CLOCK": "header",
            "LTR_CLIENT__TOKEN": token,
            "LTR_ACCESS__TOKENS": f"[{entry}]",
            "LTR_DATABASE__URL": f"sqlite://{folder}/ltr.db",
            "LTR_DATABASE__SPOOL_DIR": f"{folder}/spool",
            "LTR_MODELS__DIR": f"{folder}/models",
            "LTR_MODELS__CODE_CACHE_DIR": f"{folder}/code",
            "LTR_MODELS__TRUSTED_KEYS": f"{folder}/keys/trusted",
            "LTR_PUBLISH__SIGNING_KEY": f"{folder}/keys/publish.key",
            "LTR_PUBLISH__NOTIFY_URL": f"{self.url}/models/notify?wait=1",
            "LTR_PRIVACY__SALT_FILE": f"{folder}/keys/privacy.salt",
            "LTR_LAKE__DIR": f"{self.lake}",
            # A few hundred cases decide nothing; whether a good model passes is tested elsewhere.
            "LTR_TRAIN__MAX_ROUNDS": "20",
            "LTR_GATE__NDCG5_GAIN": "-1",
            "LTR_GATE__MRR5_GAIN": "-1",
            "LTR_GATE__FAIR_GAP": "1",
            "LTR_GATE__LATENCY_P95_MS": "10000",
            "AIRFLOW_HOME": f"{folder}/airflow",
            "AIRFLOW__CORE__DAGS_FOLDER": f"{HERE}/dags",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__OPENLINEAGE__NAMESPACE": "airflow",
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": f"{folder}/airflow.ndjson"}),
            "AIRFLOW_VAR_LTR_TRAINER": f"{BIN}/ltr-trainer",
            "AIRFLOW_VAR_LTR_HOME": f"{folder}",
            "AIRFLOW_VAR_LTR_ALERT_EMAIL": "ml-alerts@example.org, second@example.org",
            "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(smtp),
        }
        self.gateway = None

    def run(self, *command, env=None):
        """Runs a command that must succeed; gives its output."""
        words = [str(word) for word in command]
        done = subprocess.run(words, env=env, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def start(self):
        trainer = BIN / "ltr-trainer"
        self.run(trainer, "keygen", env=self.env)
        with open(self.folder / "gateway.log", "w") as log:
            serve = [BIN / "ltr-host", "serve"]
            self.gateway = subprocess.Popen(serve, env=self.env, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self.is_ready():
            if self.gateway.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the gateway did not start:\n{(self.folder / 'gateway.log').read_text()}")
            time.sleep(0.1)
        traffic = "--from 2026-09-01T00:00:00Z --days 30 --cases-per-day 20".split()
        self.run(trainer, "simulate", "--url", self.url, *traffic, env=self.env)
        self.run(AIRFLOW, "db", "migrate", env=self.env)

    def is_ready(self):
        try:
            return urllib.request.urlopen(f"{self.url}/readyz", timeout=2).status == 200
        except OSError:
            return False

    def stop(self):
        if self.gateway:
            self.gateway.send_signal(signal.SIGTERM)
            self.gateway.wait(timeout=30)
        self.mailbox.shutdown()

    def dags_test(self, dag, time, **env):
        """`airflow dags test`: the exit code, and what was printed."""
        command = [str(AIRFLOW), "dags", "test", dag, time]
        env = {**self.env, **env}
        done = subprocess.run(command, env=env, cwd=self.folder, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def tasks(self, dag, day):
        """Each task's state and number of tries in the run of that day."""
        query = """SELECT task_id, task_instance.state, try_number
                   FROM task_instance JOIN dag_run USING (dag_id, run_id)
                   WHERE dag_id = ? AND logical_date LIKE ?"""
        with sqlite3.connect(self.folder / "airflow" / "airflow.db") as database:
            return {task: (state, tries) for task, state, tries in database.execute(query, (dag, f"{day}%"))}

    def run_records(self):
        path = self.lake / "ltr" / "lineage.ndjson"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def versions(self):
        return sorted(path.name for path in self.models.iterdir()) if self.models.exists() else []


class Dags(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="ltr-airflow-")
        cls.addClassCleanup(folder.cleanup)
        cls.stack = Stack(Path(folder.name))
        cls.addClassCleanup(cls.stack.stop)
        cls.stack.start()

    def test_they_load_without_errors_and_warnings(self):
        # As Airflow's processor loads them, with every warning shown.
        script = """if True:
            import json, warnings
            from pathlib import Path
            warnings.simplefilter("always")
            from airflow.dag_processing.dagbag import BundleDagBag
            from airflow.configuration import conf
            folder = Path(conf.get("core", "dags_folder"))
            bag = BundleDagBag(folder, bundle_path=folder, bundle_name="dags-folder")
            print("LOADED " + json.dumps({
                "errors": bag.import_errors,
                "warnings": {name: list(found) for name, found in bag.captured_warnings.items()},
                "dags": {
                    dag.dag_id: [dag.timetable.expression, dag.catchup, sorted(dag.tags)]
                    for dag in bag.dags.values()
                },
                "tasks": {
                    task.task_id: [task.retries, task.retry_delay.total_seconds()]
                    for dag in bag.dags.values() for task in dag.tasks
                },
                "matrix": [dag.dag_id for dag in bag.dags.values() for task in dag.tasks if task.outlets],
            }))"""
        printed = self.stack.run(sys.executable, "-c", script, env=self.stack.env)
        loaded = json.loads(re.search("LOADED (.*)", printed).group(1))
        self.assertEqual((loaded["errors"], loaded["warnings"]), ({}, {}))
        self.assertNotRegex(printed, r"filename=\S*deploy/airflow")
        self.assertEqual(loaded["dags"]["train_ltr_daily"], ["15 2 * * *", False, ["ltr", "retrain"]])
        self.assertEqual(loaded["dags"]["etl_ltr_daily"], ["15 1 * * *", False, ["etl", "ltr"]])
        self.assertEqual(loaded["matrix"], ["etl_ltr_daily"])
        self.assertEqual(set(map(tuple, loaded["tasks"].values())), {(1, 15 * 60.0)})

    def test_a_night_publishes_a_model_and_a_repeated_night_changes_nothing(self):
        code, log = self.stack.dags_test("etl_ltr_daily", "2026-10-01T01:15:00+00:00")
        self.assertEqual(code, 0, log)
        days = self.stack.lake / "ltr/processed/2026-10-01/days.json"
        self.assertGreater(len(json.loads(days.read_text())["days"]), 20)
        code, log = self.stack.dags_test("train_ltr_daily", "2026-10-01T02:15:00+00:00")
        self.assertEqual(code, 0, log)
        self.assertIn("20261001T021500Z", self.stack.versions())
        manifest = self.stack.models / "20261001T021500Z" / "manifest.json"
        published = manifest.read_bytes()
        self.check_run_records("20261001T021500Z")

        code, log = self.stack.dags_test("train_ltr_daily", "2026-10-01T02:15:00+00:00")
        self.assertEqual(code, 0, log)
        self.assertEqual(manifest.read_bytes(), published)

    def check_run_records(self, version):
        events = self.stack.run_records()
        for step in STEPS:
            of_step = [event for event in events if event["job"]["name"] == step]
            self.assertEqual([event["eventType"] for event in of_step[-2:]], ["START", "COMPLETE"], step)
            parent = of_step[-1]["run"]["facets"]["parent"]
            self.assertEqual(parent["job"]["namespace"], "airflow")
            self.assertRegex(parent["job"]["name"], r"^train_ltr_daily\.")
        [wasm] = [output for output in of_step[-1]["outputs"] if output["name"].endswith(f"{version}/scorer.wasm")]
        self.assertRegex(wasm["facets"]["version"]["datasetVersion"], "^sha256:[0-9a-f]{64}$")

    def test_a_model_that_the_gate_refuses_fails_the_run_without_a_retry_and_is_mailed(self):
        code, log = self.stack.dags_test("train_ltr_daily", "2026-10-02T02:15:00+00:00", LTR_GATE__NDCG5_GAIN="1")
        self.assertNotEqual(code, 0, log)
        tasks = self.stack.tasks("train_ltr_daily", "2026-10-02")
        self.assertEqual(tasks["model.gate"], ("failed", 1), log)
        self.assertEqual(tasks["publish"][0], "upstream_failed")
        self.assertNotIn("20261002T021500Z", self.stack.versions())
        [mail] = [mail for mail in self.stack.mailbox.mails if "train_ltr_daily" in mail["Subject"]]
        self.assertEqual(mail["Subject"], "LTR: train_ltr_daily.model.gate failed")
        self.assertEqual(mail["To"], "ml-alerts@example.org, second@example.org")
        self.assertIn("gate ended with exit code 3", mail.get_body(("html",)).get_content())

    def stand_in(self, name, code, logical_date):
        """Runs etl_ltr_daily with a program that notes its arguments and ends with `code`; gives what it noted."""
        # dags test waits for a retry as a scheduler does, so this one must not take 15 minutes.
        script = """if True:
            import sys
            from datetime import datetime, timedelta
            from airflow.utils.cli import get_bagged_dag
            dag = get_bagged_dag(None, "etl_ltr_daily")
            for task in dag.tasks:
                task.retry_delay = timedelta(0)
            date = datetime.fromisoformat(sys.argv[1]) if sys.argv[1] else None
            dag.test(logical_date=date)"""
        program = self.stack.folder / "stand-in"
        program.write_text('#!/bin/sh\necho "$@" >>"$CALLS"; exit "$CODE"\n')
        program.chmod(0o755)
        calls = self.stack.folder / f"calls-{name}"
        # Words before the program's own, as those of `docker run` would be.
        command = f"env CODE={code} CALLS='{calls}' {program}"
        env = {**self.stack.env, "AIRFLOW_VAR_LTR_TRAINER": command, "AIRFLOW_VAR_LTR_ALERT_EMAIL": ""}
        self.stack.run(sys.executable, "-c", script, logical_date, env=env)
        return calls.read_text().splitlines()

    def test_only_a_failure_that_may_pass_is_repeated_and_only_once(self):
        for code, tries in [(0, 1), (1, 2), (2, 1), (3, 1)]:
            day = f"2026-08-0{code + 1}"
            calls = self.stand_in(code, code, f"{day}T01:15:00+00:00")
            expected = ["sink"] * tries if code else ["sink", f"etl --as-of {day}T01:15:00+00:00"]
            self.assertEqual(calls, expected)
            state = "success" if code == 0 else "failed"
            self.assertEqual(self.stack.tasks("etl_ltr_daily", day)["etl.extract"], (state, tries), code)

    def test_a_run_without_a_date_is_as_of_its_start(self):
        today = datetime.now(timezone.utc).date()
        [_, etl] = self.stand_in("now", 0, "")
        self.assertIn(etl[:22], [f"etl --as-of {today + timedelta(days=past)}" for past in (0, 1)])


if __name__ == "__main__":
    unittest.main(verbosity=2)
