"""The matrices of `ltr-trainer etl`, made by a warm local Spark session, for the benchmark of the ETL.

The first day is made once before the clock starts, so that neither the start of the JVM nor the compilation of its code
is measured. Prints one JSON line with seconds, rows and the peak of the JVM's memory.
"""

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "spark"))

from etl_ltr import SQL, Etl, Queries, start_session  # noqa: E402
from ltr_lake import Lake  # noqa: E402
from ltr_rules import add_arguments, checked, days, micros  # noqa: E402


def peak_mib(pid: int) -> float:
    """The most memory that a process has had so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"/proc/{pid}/status has no VmHWM")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--output", metavar="DIR", help="write {day}/matrix.parquet here; default: nowhere that stays")
    parser.add_argument("--parallel", type=int, default=2, metavar="N", help="days at once; default: 2")
    args = checked(parser, parser.parse_args())
    spark = start_session("spark_etl")
    spark.sparkContext.setLogLevel("ERROR")
    with tempfile.TemporaryDirectory() as scratch:
        output = Lake(args.output or scratch)

        def make(chosen: list) -> int:
            with ThreadPoolExecutor(args.parallel) as pool:
                return sum(day["rows"] for day in pool.map(lambda day: etl.make(spark, day, output, ""), chosen))

        etl = Etl(Lake(args.lake), args.rules, micros(args.as_of), Queries(SQL), None)
        chosen = days(etl.files, args)
        etl.inspect(chosen[:1])
        make(chosen[:1])
        started = time.perf_counter()
        # From the list of files on, as the others.
        etl = Etl(Lake(args.lake), args.rules, micros(args.as_of), Queries(SQL), None)
        etl.inspect(chosen)
        rows = make(chosen)
        seconds = time.perf_counter() - started
    pid = spark.sparkContext._jvm.java.lang.ProcessHandle.current().pid()
    print(json.dumps({"seconds": seconds, "rows": rows, "peak_mib": peak_mib(pid)}))
    spark.stop()


if __name__ == "__main__":
    main()
