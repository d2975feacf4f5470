"""MLflow's runs in a file of SQLite, written by its client: no server is asked."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gradcli.extras.missing import not_installed
from gradcli.records import TrainSummary
from gradcli.trackers.parameters import as_parameters, codes_of, tags_of
from gradcli.trackers.tracker import TrackedRun, Tracker

_FILE = "mlflow.db"
_PROJECT = "gradcli"
_RUN_TAG = "gradcli.run"
#: What one call may hold, as MLflow's REST API limits it.
_METRICS_AT_ONCE = 1000
_PARAMETERS_AT_ONCE = 100
_LONGEST_TEXT = 5000
#: MLflow's words for how a run ended.
_STATUS = {"finished": "FINISHED", "running": "RUNNING", "interrupted": "KILLED"}


class MlflowTracker(Tracker):
    """Writes runs into the database `mlflow.db` of a folder, one experiment per comparison.

    Characters that MLflow does not allow in a name become underscores.

    Raises:
        UserError: if mlflow, or what it needs for SQLite, is not installed.
    """

    shares_folder = True

    def __init__(self) -> None:
        # Before the import, which would start a thread that reports how MLflow is used.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # not each table that it makes
        try:
            import alembic
            import mlflow
            import sqlalchemy
            from mlflow import entities
        except ImportError as error:
            raise not_installed("mlflow", "mlflow", error, what="mlflow", where="track") from error
        del alembic, sqlalchemy
        self._client_class: Any = mlflow.MlflowClient
        self._entities: Any = entities
        self._client: Any = None
        self._waiting: list[Any] = []
        self._id, self._status = "", "FAILED"

    def begin(self, run: TrackedRun, folder: Path) -> None:
        """Begin a run, with the config as parameters; an earlier copy is deleted."""
        self._client = self._client_class(f"sqlite:///{folder / _FILE}")
        experiment = self._experiment(run.group or _PROJECT, folder)
        wanted = f"tags.`{_RUN_TAG}` = '{run.full_name}'"
        for earlier in self._client.search_runs([experiment], wanted):
            self._client.delete_run(earlier.info.run_id)
        tags = {
            _RUN_TAG: run.full_name,
            "tags": " ".join(tags_of(run)),
            **({"mlflow.note.content": run.note} if run.note else {}),
        }
        begun = self._client.create_run(experiment, run_name=run.title, tags=tags)
        self._id = begun.info.run_id
        parameters = [
            self._entities.Param(_allowed(key), str(value)[:_LONGEST_TEXT])
            for key, value in as_parameters(run).items()
        ]
        for start in range(0, len(parameters), _PARAMETERS_AT_ONCE):
            part = parameters[start : start + _PARAMETERS_AT_ONCE]
            self._client.log_batch(self._id, params=part)

    def _experiment(self, name: str, folder: Path) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        place = (folder / "artifacts").as_uri()
        return str(self._client.create_experiment(name, artifact_location=place))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Put them into the next batch."""
        now = int(1000 * time.time())
        metric = self._entities.Metric
        self._waiting += [metric(_allowed(key), one, now, step) for key, one in values.items()]

    def flush(self) -> None:
        """Write the batch."""
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), _METRICS_AT_ONCE):
            self._client.log_batch(self._id, metrics=waiting[start : start + _METRICS_AT_ONCE])

    def picture(self, name: str, step: int, png: bytes) -> None:
        """Keep it as an artifact."""
        with TemporaryDirectory() as folder:
            file = Path(folder, f"{name}.png")
            file.write_bytes(png)
            self._client.log_artifact(self._id, str(file))

    def finish(self, summary: TrainSummary, findings: str) -> None:
        """Keep the findings as a tag, and as the artifact `findings.md`."""
        self._status = _STATUS.get(summary.status, "FAILED")
        self._client.set_tag(self._id, "status", summary.status)
        self._client.set_tag(self._id, "findings", " ".join(codes_of(summary)))
        self._client.log_text(self._id, findings, "findings.md")

    def close(self) -> None:
        """Write what waits, and say how the run ended."""
        if self._client is not None and self._id:
            try:
                self.flush()
                self._client.set_terminated(self._id, self._status)
            finally:
                self._client = None

    def commands(self, folder: Path) -> tuple[str, ...]:
        """Return how to look at the folder."""
        return (f"mlflow ui --backend-store-uri sqlite:///{folder / _FILE}",)


def _allowed(name: str) -> str:
    return "".join(one if one.isalnum() or one in "_-./ :" else "_" for one in name)
