"""Directories of comparisons: `comparison.json`, and a run directory for each trial."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gradcli.errors import UserError
from gradcli.records import RunRow
from gradcli.runs.directory import TRIALS, StateDirectory, newest_first
from gradcli.runs.files import SCHEMA, number, refuse_links, write_json
from gradcli.runs.reader import Run, is_run
from gradcli.runs.writer import PLOTS
from gradcli.system.locks import RunLock

COMPARISON_FILE = "comparison.json"


class ComparisonDirectory(StateDirectory):
    """A comparison on disk.

    `comparison.json` holds the plan; the run directories of the trials hold the progress.
    """

    state_file = COMPARISON_FILE
    required_keys = ("status", "started", "info")

    def trial_path(self, trial: str) -> Path:
        """Return the path of the run directory of a trial, which need not exist yet."""
        return self.path / TRIALS / trial

    def trial(self, trial: str) -> Run | None:
        """Return the run of a trial; None if the trial has not begun."""
        path = self.trial_path(trial)
        return Run(path) if is_run(path) else None

    def trials(self) -> list[Run]:
        """Return the runs of all trials that have begun."""
        folder = self.path / TRIALS
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        return [Run(path) for path in paths if is_run(path)]

    @property
    def plots(self) -> Path:
        """The directory for the pictures of the comparison; created if it is missing."""
        directory = self.path / PLOTS
        directory.mkdir(exist_ok=True)
        return directory

    def lock(self) -> RunLock:
        """Lock the comparison for this process.

        Raises:
            UserError: if another process is working on it, or it holds links to elsewhere.
        """
        refuse_links(self.path)
        try:
            return RunLock(self.path)
        except BlockingIOError:
            raise UserError(
                f"Another process is working in {self.path}.",
                hint="wait for it to end, or stop it with Ctrl-C",
            ) from None

    def write(self, state: dict[str, Any]) -> None:
        """Write `comparison.json`, atomically."""
        write_json(self.path / COMPARISON_FILE, state)
        self.__dict__.pop("state", None)  # to be read again

    def update(self, **facts: Any) -> None:
        """Add to `comparison.json`, atomically."""
        self.write({**self.state, **facts, "schema": SCHEMA, "heartbeat": _now()})

    def row(self) -> RunRow:
        """The row of the comparison in the list of runs, with the accuracy of the best arm."""
        state = self.state
        info, ranking = state["info"], state.get("result", {}).get("ranking", [])
        names = [arm["name"] for arm in info["arms"]]
        return RunRow(
            run=self.name,
            name="comparison",
            status=self.status,
            when=datetime.fromisoformat(state["started"]).astimezone().strftime("%Y-%m-%d %H:%M"),
            data=info["data"]["name"],
            model=info["model"],
            optimizer=", ".join(names),
            epochs=info["epochs"],
            test_accuracy=number(ranking[0]["test_accuracy"]["mean"] if ranking else "nan"),
            findings=(),
        )


def begin_comparison(path: Path, state: dict[str, Any]) -> ComparisonDirectory:
    """Write the first `comparison.json` to a new directory."""
    comparison = ComparisonDirectory(path)
    comparison.write({"schema": SCHEMA, "started": _now(), "status": "running", **state})
    return comparison


def is_comparison(path: Path) -> bool:
    """Whether `path` is the directory of a comparison."""
    return (path / COMPARISON_FILE).is_file()


def list_comparisons(runs_dir: Path) -> list[ComparisonDirectory]:
    """Return the comparisons in `runs_dir`, newest first."""
    return [ComparisonDirectory(path) for path in newest_first(runs_dir) if is_comparison(path)]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
