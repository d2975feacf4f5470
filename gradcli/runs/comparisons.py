"""Directories of comparisons: `comparison.json`, and a run directory for each trial."""

from __future__ import annotations

import itertools
import os
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NotRequired, Required, TypedDict

from gradcli.errors import DamagedFileError, DamagedFileWarning
from gradcli.records import DataInfo, Metric, RunRow
from gradcli.runs.directory import TRIALS, StateDirectory, claim, newest_first
from gradcli.runs.files import COMPARISON_FILE, SCHEMA, number, write_json
from gradcli.runs.reader import Run, is_run
from gradcli.runs.stored import stored_metric
from gradcli.runs.writer import PLOTS
from gradcli.system.locks import RunLock
from gradcli.system.windows import IS_WINDOWS

#: The first content of `comparison.json`, which is all that the comparison follows from.
PLAN_FILE = "plan.json"
#: The folder of a comparison with a folder for each pilot: a job of a cluster that runs its trials.
PILOTS = Path("queue", "pilots")
#: The folder of a comparison with the trials that could not be continued.
SET_ASIDE = "damaged"


class _Arm(TypedDict):
    name: str


class _Info(TypedDict):
    arms: list[_Arm]
    data: DataInfo
    model: str
    epochs: int
    metric: NotRequired[Metric]


class _Score(TypedDict):
    mean: float


class _RankedArm(TypedDict, total=False):
    test: _Score
    test_accuracy: _Score


class _Result(TypedDict, total=False):
    ranking: list[_RankedArm]


class ComparisonJson(TypedDict, total=False):
    """The keys of `comparison.json` that are read, apart from those of the plan."""

    status: Required[Literal["running", "finished", "interrupted", "failed"]]
    started: Required[datetime]
    heartbeat: datetime
    info: Required[_Info]
    result: _Result
    request: str
    problems: dict[str, str]
    notes: list[str]
    engine_words: list[str]
    seconds: float
    signal: int | None
    data_dir: str | None
    config_dir: str | None
    allow_import: list[str]


class ComparisonDirectory(StateDirectory):
    """A comparison on disk.

    `comparison.json` holds the plan; the run directories of the trials hold the progress.
    """

    state_file = COMPARISON_FILE
    state_type = ComparisonJson

    def _read(self) -> dict[str, Any]:
        """Read the state; the one that the comparison began with if that of now is damaged."""
        try:
            return super()._read()
        except DamagedFileError as error:
            try:
                state = self._read_file(PLAN_FILE)
            except DamagedFileError:
                raise error from None
            said = f"{error.problem} What it began with is read from {PLAN_FILE}."
            warnings.warn(said, DamagedFileWarning, stacklevel=2)
            return state

    def trial_path(self, trial: str) -> Path:
        """Return the path of the run directory of a trial, which need not exist yet."""
        return self.path / TRIALS / trial

    def trial(self, trial: str) -> Run | None:
        """Return the run of a trial; None if it has not begun, or is damaged, which is said."""
        path = self.trial_path(trial)
        return _run(path) if is_run(path) else None

    def trial_paths(self) -> list[Path]:
        """Return the run directories of all trials that have begun."""
        folder = self.path / TRIALS
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        return [path for path in paths if is_run(path)]

    def trials(self) -> list[Run]:
        """Return the runs of all trials that have begun and are not damaged."""
        return [run for path in self.trial_paths() if (run := _run(path)) is not None]

    def pilot_paths(self) -> list[Path]:
        """Return the folders of the pilots that run trials, which they lock as a run is locked."""
        folder = self.path / PILOTS
        return sorted(folder.iterdir()) if folder.is_dir() else []

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
        lock = self.__dict__["_lock"] = claim(self.path, (COMPARISON_FILE, PLAN_FILE))
        return lock

    def write(self, state: dict[str, Any]) -> None:
        """Write `comparison.json`, atomically.

        Raises:
            LostLeaseError: if this process had locked it, and another machine took over.
        """
        if (lock := self.__dict__.get("_lock")) is not None:
            lock.refuse_if_lost()
        write_json(self.path / COMPARISON_FILE, state)
        self.__dict__.pop("state", None)  # to be read again

    def update(self, **facts: Any) -> None:
        """Add to `comparison.json`, atomically."""
        self.write({**self.state, **facts, "schema": SCHEMA, "heartbeat": _now()})

    def row(self) -> RunRow:
        """The row of the comparison in the list of runs, with the score of the best arm."""
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
            test_score=number(_test_score(ranking[0])["mean"] if ranking else "nan"),
            findings=(),
            metric=stored_metric(info),
            tags=self.labels.tags,
            note=self.labels.note,
        )


def _test_score(arm: dict[str, Any]) -> dict[str, Any]:
    """Return the test score of an arm; schema 1 knew no metric but the accuracy."""
    score: dict[str, Any] = arm["test"] if "test" in arm else arm["test_accuracy"]
    return score


def begin_comparison(path: Path, state: dict[str, Any]) -> ComparisonDirectory:
    """Write the first `comparison.json` to a new directory."""
    comparison = ComparisonDirectory(path)
    begun = {"schema": SCHEMA, "started": _now(), "status": "running", **state}
    write_json(path / PLAN_FILE, begun)
    comparison.write(begun)
    return comparison


def set_aside(trial: Path) -> Path:
    """Move the run directory of a damaged trial to another folder of its comparison.

    Returns:
        Where it is now.

    Raises:
        UserError: if a process is working in it.
    """
    with claim(trial, ()):
        folder = trial.parent.parent / SET_ASIDE
        folder.mkdir(exist_ok=True)
        names = (f"{trial.name}-{number}" for number in itertools.count(1))
        place = next(folder / name for name in names if not os.path.lexists(folder / name))
        if not IS_WINDOWS:
            return trial.rename(place)
    return trial.rename(place)  # which Windows does once the lock in it is closed


def _run(path: Path) -> Run | None:
    """Return the run in a directory; None, with a warning, if its state cannot be read."""
    try:
        return Run(path).opened()
    except DamagedFileError as error:
        warnings.warn(error.problem, DamagedFileWarning, stacklevel=3)
        return None


def is_comparison(path: Path) -> bool:
    """Whether `path` is the directory of a comparison."""
    return os.path.lexists(path / COMPARISON_FILE)


def comparison_of(trial: Path) -> ComparisonDirectory | None:
    """Return the comparison that a run directory is a trial of; None if it is of none."""
    folder = trial.resolve().parent
    parent = trial.parent.parent if trial.parent.name == TRIALS else folder.parent
    return ComparisonDirectory(parent) if folder.name == TRIALS and is_comparison(parent) else None


def list_comparisons(runs_dir: Path) -> list[ComparisonDirectory]:
    """Return the comparisons in `runs_dir`, newest first."""
    return [ComparisonDirectory(path) for path in newest_first(runs_dir) if is_comparison(path)]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
