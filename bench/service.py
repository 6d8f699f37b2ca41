"""The service that one would otherwise write: FastAPI on uvicorn, LightGBM's Python package, NumPy input."""

import json
import os

import lightgbm
import numpy
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
