"""A new model every night, at 02:15 UTC: lake, matrices, data checks, training, evaluation,
gate, publication.

If the checks refuse the data, or the gate the model, the run fails, nothing is published, and it is
mailed: see docs/airflow.md.
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
        check = LtrStep(step="check")
        train = LtrStep(step="train", inlets=[MATRIX])
        evaluate = LtrStep(step="evaluate")
        gate = LtrStep(step="gate")
        check >> train >> evaluate >> gate

    publish = LtrStep(step="publish")

    etl >> model >> publish
