"""What the LTR DAGs share: a task is one call of `ltr-trainer`, and a failure is mailed.

Airflow variables (each may also be set as AIRFLOW_VAR_<NAME> in the environment of the workers):
  ltr_trainer      the command, words as in a shell; default: ltr-trainer
  ltr_home         the directory in which it runs; default: that of the worker
  ltr_alert_email  who is told of a failure, separated by commas; default: nobody
"""

import os
import shlex
from datetime import datetime, timedelta, timezone

from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import Asset, BaseOperator, Variable
from airflow.sdk.exceptions import AirflowException, AirflowFailException

# The list of the days' matrices: {lake}/ltr/processed/{date}/days.json.
MATRIX = Asset("ltr_matrix")

# The time for which a DAG run was scheduled, or which a person gave; not the time at which it runs.
# So a task that is repeated, or a night that is made up for, works on the same files.
# A run that was triggered without a date is as of its start.
AS_OF = "{{ data_interval_end | default(dag_run.run_after, true) | ts }}"

# Exit codes after which a repetition changes nothing: 2 usage or configuration, 3 refused by the data
# checks or the gate.
FINAL = (2, 3)


class LtrStep(BaseOperator):
    """One step of the nightly run: `ltr-trainer STEP --as-of TIME`; `sink` takes no time."""

    template_fields = ("command", "home", "parent", "arguments")

    def __init__(self, *, step, as_of=AS_OF, **kwargs):
        super().__init__(task_id=kwargs.pop("task_id", step), **kwargs)
        self.command = "{{ var.value.get('ltr_trainer', 'ltr-trainer') }}"
        self.home = "{{ var.value.get('ltr_home', '') }}"
        self.arguments = [step] + (["--as-of", as_of] if as_of else [])
        # Where Airflow's OpenLineage provider is installed, run records name the task they belong to.
        self.parent = (
            "{{ macros.OpenLineageProviderPlugin.lineage_parent_id(task_instance)"
            " if macros.OpenLineageProviderPlugin is defined else '' }}"
        )
        self.process = SubprocessHook()

    def execute(self, context):
        # No shell: what stands in a DAG run's configuration can never be a command.
        command = [*shlex.split(self.command), *self.arguments]
        env = {**os.environ, "OPENLINEAGE_PARENT_ID": self.parent}
        code = self.process.run_command(command, env=env, cwd=self.home or os.getcwd()).exit_code
        if code in FINAL:
            raise AirflowFailException(f"{self.arguments[0]} ended with exit code {code}: not to be repeated")
        if code != 0:
            raise AirflowException(f"{self.arguments[0]} ended with exit code {code}")

    def on_kill(self):
        self.process.send_sigterm()


def alert(context):
    """Mails a task's last failure, by the connection smtp_default."""
    to = [address.strip() for address in Variable.get("ltr_alert_email", default="").split(",")]
    task = context["ti"]
    if any(to):
        SmtpNotifier(
            to=[address for address in to if address],
            subject=f"LTR: {task.dag_id}.{task.task_id} failed",
            html_content=(
                f"<p>Run {{{{ dag_run.run_id }}}}: {{{{ exception | e }}}}</p>"
                f'<p><a href="{{{{ ti.log_url }}}}">Log</a></p>'
            ),
        )(context)
    else:
        task.log.warning("nobody is told of this failure: the variable ltr_alert_email is not set")


# What both DAGs say of themselves and of their tasks.
DAG_ARGS = {
    "start_date": datetime(2025, 7, 1, tzinfo=timezone.utc),
    "catchup": False,
    # Two nights at once would share the work and fail on each other's matrices.
    "max_active_runs": 1,
    "default_args": {
        "owner": "mlops",
        "retries": 1,
        "retry_delay": timedelta(minutes=15),
        "execution_timeout": timedelta(hours=6),
        "on_failure_callback": alert,
    },
}
