"""A new model every night, at 02:15 UTC: lake, matrices, training, evaluation, gate, publication.

A model that does not pass the gate fails the run, is not published, and is mailed; see docs/airflow.md.
"""

from airflow.sdk import DAG, TaskGroup

from ltr_steps import DAG_ARGS, MATRIX, LtrStep

with DAG(
    "train_ltr_daily",
    description="LTR: nightly training of the LambdaMART ranker",
    schedule="15 2 * * *",
    tags=["ltr", "retrain"],
    doc_md=__doc__,
    **DAG_ARGS,
):
    with TaskGroup("etl") as etl:
        extract = LtrStep(task_id="extract", step="sink", as_of=None)
        enrich = LtrStep(task_id="enrich", step="etl")
        extract >> enrich

    with TaskGroup("model") as model:
        train = LtrStep(step="train", inlets=[MATRIX])
        evaluate = LtrStep(step="evaluate")
        gate = LtrStep(step="gate")
        train >> evaluate >> gate

    publish = LtrStep(step="publish")

    etl >> model >> publish
