"""One run as it goes on: read again as far as it has changed, in memory that does not grow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gradcli.errors import UserError
from gradcli.inspection.history import norm_history
from gradcli.inspection.inspection import NormHistory
from gradcli.records import EvalRecord, FaultRecord, RunInfo, Status, StepRecords
from gradcli.runs.run_json import RUN_FILE
from gradcli.runs.watching.eval_tail import EvalTail
from gradcli.runs.watching.looking import WatchedRun
from gradcli.runs.watching.step_samples import StepSamples


class RunCourse:
    """Follows a run that may be written, resumed, pruned, damaged or removed meanwhile.

    Args:
        path: the run directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.info: RunInfo | None = None
        """None before the model is built."""
        self.status: Status = "lost"
        self.resumed = 0
        """How often it was resumed."""
        self.problem: UserError | None = None
        """Why it cannot be read now."""
        self.is_gone = False
        self.fault: FaultRecord | None = None
        self.run: WatchedRun | None = None
        """As it was last read."""
        self.steps: StepRecords | None = None
        """Steps at equal distances, the last one included; None without any."""
        self._samples: StepSamples | None = None
        self._evals = EvalTail(path)
        self._read: tuple[int, int, int] | None = None

    @property
    def step(self) -> int:
        """The last step on record."""
        return 0 if self.steps is None else int(self.steps.step[-1])

    @property
    def rows(self) -> int:
        """The rows of the log of steps."""
        return 0 if self._samples is None else self._samples.rows

    @property
    def distance(self) -> int:
        """How many steps lie between two of `steps`."""
        return 1 if self._samples is None else self._samples.distance

    def evals(self, split: str) -> list[EvalRecord]:
        """Return the evaluations of a split."""
        return self._evals.of(split)

    def look(self) -> bool:
        """Read what has changed; return whether anything has."""
        before = self.status, self.is_gone, self.problem is None, self.resumed
        try:
            changed = self._look_at_state()
            changed |= self._look_at_logs()
            self.problem = None
        except UserError as error:
            changed, self.problem = False, error
        return changed or before != (self.status, self.is_gone, self.problem is None, self.resumed)

    def leave_out(self, damaged: list[range]) -> None:
        """Leave out damaged parts of the log of steps, in bytes, unless it is being written again.

        The end that a killed process left without checksums counts as damaged.
        """
        if self._samples is not None and self.status != "running":
            self._samples.leave_out(damaged)

    def norms(self) -> NormHistory | None:
        """Return the gradient norms of the layers over time, of `steps`; None without any."""
        if self.steps is None or self.info is None:
            return None
        return norm_history(self.steps, self.info.layers)[0]

    def _look_at_state(self) -> bool:
        """Read the state of the run if it has changed; whether it has."""
        try:
            found = (self.path / RUN_FILE).stat()
        except OSError:
            self.is_gone = True
            return False
        self.is_gone = False
        signature = found.st_mtime_ns, found.st_size, found.st_ino
        if self.run is not None and signature == self._read:
            self.status = self.run.status
            return False
        run = WatchedRun(self.path)
        self.status = run.status
        self.run, self._read = run, signature
        self.fault = run.fault
        if self.info is None and "info" in run.state:
            self.info = run.info
            parameters = sum(len(layer.parameters) for layer in self.info.layers)
            self._samples = StepSamples(self.path, parameters)
        resumed = len(run.state.get("resumed", ()))
        if resumed != self.resumed:
            # It was cut back to a checkpoint, and may have got as far again since.
            self.resumed = resumed
            self._evals.forget()
            if self._samples is not None:
                self._samples.leave_out(())
        return True

    def _look_at_logs(self) -> bool:
        """Read what was added to the logs; whether anything was."""
        if self._samples is None or self.is_gone:
            return False
        changed = self._samples.look()
        if changed:
            steps = self._samples.steps()
            self.steps = steps if len(steps) else None
        return self._evals.look() or changed


def progress_fraction(course: RunCourse) -> float:
    """Return how much of the training is done, 0 to 1; NaN if its length is not known."""
    if course.info is None or not course.info.total_steps:
        return float(np.nan)
    return min(course.step / course.info.total_steps, 1.0)
