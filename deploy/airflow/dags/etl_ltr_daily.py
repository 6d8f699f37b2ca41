"""Events of the day before -> the lake -> the matrices of the days that changed.

Runs an hour before `train_ltr_daily`, which then finds the lake almost up to date.
"""

from airflow.sdk import DAG, TaskGroup

from ltr_steps import DAG_ARGS, MATRIX, LtrStep

with DAG(
    "etl_ltr_daily",
    description="LTR: events to training matrices",
    schedule="15 1 * * *",
    tags=["ltr", "etl"],
    doc_md=__doc__,
    **DAG_ARGS,
):
    with TaskGroup("etl"):
        extract = LtrStep(task_id="extract", step="sink", as_of=None)
        enrich = LtrStep(task_id="enrich", step="etl", outlets=[MATRIX])
        extract >> enrich
