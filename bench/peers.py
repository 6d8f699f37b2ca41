"""The scorers that are reached from Python, for ltr-bench.

    peers.py compile CACHE SECONDS             stdin: one model file a line; stdout: one JSON line a finished job
    peers.py serve CACHE MODEL ROWS SCORES     stdin and stdout: one JSON line a request and its answer

Rows and scores travel through the files ROWS and SCORES, as little-endian f64, row-major. Every scorer runs on one
thread, gets its arguments prepared before the clock starts wherever its interface allows a caller to do so, and times
all calls of a request itself.
"""

import ctypes
import gc
import hashlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple, TextIO

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np

# lleaves' small code model is faster, but its author warns of crashes with very large forests.
SMALL_CODE_LEAVES = 100_000
# gcc's time and memory grow faster than linearly with a file's size.
TRANSLATION_UNITS = 16


class Peer(NamedTuple):
    """A loaded scorer."""

    exact: bool
    # Rows and rows a call -> the argument of each call, and the scores' buffer if the callee fills one.
    prepare: Callable[[np.ndarray, int], tuple[list[Any], np.ndarray | None]]
    call: Callable[[Any], Any]


class NotMeasured(Exception):
    """The reader is told why instead of a figure."""


def calls(rows: np.ndarray, batch: int) -> list[np.ndarray]:
    return [rows[start : start + batch] for start in range(0, len(rows), batch)]


# What is compiled ahead: machine code, kept in the cache from run to run because it takes minutes.


def leaves_of(model: Path) -> int:
    with model.open() as lines:
        return sum(int(line.split("=")[1]) for line in lines if line.startswith("num_leaves="))


def code_model(model: Path) -> str:
    return "small" if leaves_of(model) < SMALL_CODE_LEAVES else "large"


def compile_lleaves(model: Path, out: Path) -> None:
    import lleaves

    lleaves.Model(str(model)).compile(cache=str(out), fcodemodel=code_model(model))


def compile_tl2cgen(model: Path, out: Path) -> None:
    import tl2cgen
    import treelite

    # gcc's -O1 gives code as fast as -O2 and -O3 here, and several times sooner.
    tl2cgen.export_lib(
        treelite.frontend.load_lightgbm_model(str(model)),
        toolchain="gcc",
        libpath=str(out),
        params={"parallel_comp": TRANSLATION_UNITS},
        options=["-O1"],
        nthread=1,
    )


RUNNING: set[subprocess.Popen[bytes]] = set()
COMPILED = {"lleaves": (compile_lleaves, ".o"), "tl2cgen": (compile_tl2cgen, ".so")}


def artefact(cache: Path, name: str, model: Path) -> Path:
    key = hashlib.sha256(model.read_bytes())
    key.update(f"{name} {importlib.metadata.version(name)}".encode())
    return cache / f"{key.hexdigest()[:20]}-{name}{COMPILED[name][1]}"


def compile_within(cache: Path, name: str, model: Path, seconds: float) -> dict[str, Any]:
    out = artefact(cache, name, model)
    gave_up = out.with_suffix(".gave-up")
    finished = {"name": name}
    if out.exists() or (gave_up.exists() and float(gave_up.read_text()) >= seconds):
        return finished
    # Its extension tells the tools what to make, so that it stays at the end.
    unfinished = out.with_name(f"unfinished-{out.name}")
    unfinished.unlink(missing_ok=True)
    child = subprocess.Popen(
        [sys.executable, __file__, "compile-one", name, str(model), str(unfinished)],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,
    )
    RUNNING.add(child)
    try:
        if child.wait(seconds) == 0:
            unfinished.rename(out)
            gave_up.unlink(missing_ok=True)
    except subprocess.TimeoutExpired:
        stop(child)
        gave_up.write_text(str(seconds))
    RUNNING.discard(child)
    return finished


def stop(child: subprocess.Popen[bytes]) -> None:
    # The compilers that it started are in its session.
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def compile_all(cache: Path, seconds: float, models: list[Path], answer: Callable[[dict[str, Any]], None]) -> None:
    models.sort(key=lambda model: -model.stat().st_size)
    pool = ThreadPoolExecutor(max_workers=os.cpu_count())
    jobs = [pool.submit(compile_within, cache, name, model, seconds) for model in models for name in COMPILED]
    try:
        for job in as_completed(jobs):
            answer(job.result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in list(RUNNING):
            stop(child)


def compiled(cache: Path, name: str, model: Path) -> Path:
    out = artefact(cache, name, model)
    if not out.exists():
        gave_up = out.with_suffix(".gave-up")
        if gave_up.exists():
            raise NotMeasured(f"compiled longer than {float(gave_up.read_text()):.0f} s")
        raise NotMeasured(f"it did not compile the model: {cache / 'peers.log'} says why")
    return out


# The scorers.


def load_lleaves(cache: Path, path: Path) -> Any:
    import lleaves

    model = lleaves.Model(str(path))
    model.compile(cache=str(compiled(cache, "lleaves", path)), fcodemodel=code_model(path))
    return model


def lleaves_python(cache: Path, path: Path) -> Peer:
    model = load_lleaves(cache, path)
    # Not exact: it adds the trees block by block.
    return Peer(False, lambda rows, batch: (calls(rows, batch), None), lambda rows: model.predict(rows, n_jobs=1))


def lleaves_c(cache: Path, path: Path) -> Peer:
    """The compiled function itself, without the checks and allocations of lleaves' `predict`."""
    model = load_lleaves(cache, path)
    entry = model._c_entry_func
    pointer = ctypes.POINTER(ctypes.c_double)

    def prepare(rows: np.ndarray, batch: int) -> tuple[list[Any], np.ndarray]:
        scores = np.zeros(len(rows))
        arguments = [
            (x.ctypes.data_as(pointer), y.ctypes.data_as(pointer), 0, len(x))
            for x, y in zip(calls(rows, batch), calls(scores, batch), strict=True)
        ]
        return arguments, scores

    def call(arguments: Any) -> None:
        entry(*arguments)
        # The engine owns the machine code: the closure keeps it alive.
        _ = model

    return Peer(False, prepare, call)


def tl2cgen(cache: Path, path: Path) -> Peer:
    import tl2cgen

    predictor = tl2cgen.Predictor(str(compiled(cache, "tl2cgen", path)), nthread=1)

    # A DMatrix is made of the rows to score and nothing else is accepted: whoever has rows pays for it.
    def call(rows: np.ndarray) -> np.ndarray:
        return predictor.predict(tl2cgen.DMatrix(rows, dtype="float64"))

    return Peer(True, lambda rows, batch: (calls(rows, batch), None), call)


def treelite_gtil(_cache: Path, path: Path) -> Peer:
    import treelite

    model = treelite.frontend.load_lightgbm_model(str(path))

    def call(rows: np.ndarray) -> np.ndarray:
        return treelite.gtil.predict(model, rows, nthread=1)

    return Peer(True, lambda rows, batch: (calls(rows, batch), None), call)


def onnx_runtime(_cache: Path, path: Path) -> Peer:
    import lightgbm
    import onnxmltools
    import onnxruntime
    from onnxmltools.convert.common.data_types import FloatTensorType

    booster = lightgbm.Booster(model_file=str(path))
    # It scores in f32 whatever it is given; a caller can hold f32, so that the conversion is not timed.
    types = [("rows", FloatTensorType([None, booster.num_feature()]))]
    model = onnxmltools.convert_lightgbm(booster, initial_types=types, zipmap=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def prepare(rows: np.ndarray, batch: int) -> tuple[list[Any], None]:
        return [{"rows": part} for part in calls(rows.astype(np.float32), batch)], None

    return Peer(False, prepare, lambda feed: session.run(None, feed)[0])


# In the order of the report: its name, its package, how it is loaded.
PEERS: list[tuple[str, str, Callable[[Path, Path], Peer]]] = [
    ("lleaves (C)", "lleaves", lleaves_c),
    ("lleaves", "lleaves", lleaves_python),
    ("tl2cgen", "tl2cgen", tl2cgen),
    ("ONNX Runtime", "onnxruntime", onnx_runtime),
    ("Treelite GTIL", "treelite", treelite_gtil),
]


class Server:
    def __init__(self, cache: Path, model: Path, rows: Path, scores: Path) -> None:
        self.cache, self.model, self.rows_file, self.scores_file = cache, model, rows, scores
        self.loaded: dict[str, Peer] = {}
        self.rows = np.empty((0, 0))

    def load(self, _request: dict[str, Any]) -> dict[str, Any]:
        peers = []
        for name, package, load in PEERS:
            facts: dict[str, Any] = {"name": name, "version": importlib.metadata.version(package)}
            try:
                self.loaded[name] = load(self.cache, self.model)
                facts["exact"] = self.loaded[name].exact
            except NotMeasured as why:
                facts["not_measured"] = str(why)
            peers.append(facts)
        return {"peers": peers}

    def take_rows(self, request: dict[str, Any]) -> dict[str, Any]:
        self.rows = np.fromfile(self.rows_file, dtype="<f8").reshape(-1, request["width"])
        return {}

    def score(self, request: dict[str, Any]) -> dict[str, Any]:
        peer = self.loaded[request["name"]]
        arguments, buffer = peer.prepare(self.rows, request["batch"])
        call, answers = peer.call, []
        gc.disable()
        start = time.perf_counter_ns()
        for argument in arguments:
            answers.append(call(argument))
        ns = time.perf_counter_ns() - start
        gc.enable()
        parts = [buffer] if buffer is not None else [np.asarray(part).reshape(-1) for part in answers]
        np.concatenate(parts).astype("<f8").tofile(self.scores_file)
        return {"ns": ns}

    def run(self, requests: TextIO, answer: Callable[[dict[str, Any]], None]) -> None:
        operations = {"load": self.load, "rows": self.take_rows, "score": self.score}
        for line in requests:
            request = json.loads(line)
            answer(operations[request["op"]](request))


def main() -> None:
    # Libraries print to standard output as they like: only answers may get there.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")

    try:
        # What is missing shows before anything has taken its time.
        for _, package, _ in PEERS:
            importlib.metadata.version(package)
        match sys.argv[1:]:
            case ["compile", cache, seconds]:
                models = [Path(line.rstrip("\n")) for line in sys.stdin]
                compile_all(Path(cache), float(seconds), models, answer)
            case ["compile-one", name, model, out]:
                COMPILED[name][0](Path(model), Path(out))
            case ["serve", *paths]:
                Server(*map(Path, paths)).run(sys.stdin, answer)
            case _:
                sys.exit(__doc__)
    except (ImportError, importlib.metadata.PackageNotFoundError) as missing:
        answer({"error": f"{missing}: `make setup-bench` installs what is compared"})
        sys.exit(1)


if __name__ == "__main__":
    main()
