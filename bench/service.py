"""The service that one would otherwise write: FastAPI on uvicorn, LightGBM's Python package, NumPy input.

`service.py PORT` serves with one process a processor. Each has a listening socket of its own, so that the kernel spreads
connections over them: where they share one, as under `uvicorn --workers`, a single worker may take them all.
"""

import json
import os
import signal
import socket
import sys

import lightgbm
import numpy
import uvicorn
from fastapi import FastAPI, HTTPException

MODEL = lightgbm.Booster(model_file=os.environ["MODEL"])
FEATURES = json.loads(os.environ["FEATURES"])

app = FastAPI()


def matrix(rows):
    try:
        return numpy.array([[row["features"][name] for name in FEATURES] for row in rows])
    except KeyError as missing:
        raise HTTPException(status_code=422, detail=f"missing feature {missing}")


@app.post("/ltr/score")
async def score(payload: dict):
    return {"score": float(MODEL.predict(matrix([payload]), num_threads=1)[0])}


@app.post("/rank")
async def rank(payload: dict):
    lawyers = payload["lawyers"]
    scores = MODEL.predict(matrix(lawyers), num_threads=1)
    order = numpy.argsort(-scores, kind="stable")
    ranking = [
        {"lawyer_id": lawyers[at]["lawyer_id"], "rank_pos": place, "score": float(scores[at])}
        for place, at in enumerate(order, 1)
    ]
    return {"case_id": payload["case"]["case_id"], "source": "ltr", "ranking": ranking[: payload.get("top_n", len(ranking))]}


def serve(port):
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", port))
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


def start(port):
    """A process that serves, beside this one."""
    child = os.fork()
    if child == 0:
        serve(port)
        os._exit(0)
    return child


if __name__ == "__main__":
    port = int(sys.argv[1])
    others = [start(port) for _ in list(os.sched_getaffinity(0))[1:]]
    # uvicorn raises the signal that ended it once more, after itself.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        serve(port)
    finally:
        for other in others:
            os.kill(other, signal.SIGTERM)
            os.waitpid(other, 0)
