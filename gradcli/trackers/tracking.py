"""Tells a tracker of a run: live, as a recorder, or afterwards, of a run on disk.

Both are one path. A tracker is first told what the run directory holds, and then what comes: a run
that begins holds nothing, one that is resumed what its checkpoint left of it, and one that has
ended all of it. So no step is told twice, and none is missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gradcli.records import (
    EvalRecord,
    Finding,
    LayerRecord,
    Record,
    Recorder,
    RunInfo,
    StepRecords,
    TrainSummary,
    rows_of,
)
from gradcli.runs import Run, load_run
from gradcli.runs.comparisons import comparison_of
from gradcli.runs.logs.as_logged import as_logged
from gradcli.runs.writer import TRACKERS
from gradcli.trackers.scalars import ScalarStream
from gradcli.trackers.tracker import TrackedRun, Tracker

_ROWS_AT_ONCE = 5_000
#: The name of the picture of all layers' norms.
NORMS_PICTURE = "gradient_norms"


class TrackingRecorder(Recorder):
    """Tells a tracker of a run.

    Args:
        name: what messages, and the folder of the tracker in the run directory, call it.
        tracker: is told.
        layers: whether it is told the norms of each layer, too.
        draw: returns the picture of the layers' norms of an ended run; None if there is none.
        folder: where the tracker writes; None is the run directory.
    """

    def __init__(
        self,
        name: str,
        tracker: Tracker,
        *,
        layers: bool = False,
        draw: Callable[[Run], bytes | None] = lambda run: None,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self._tracker, self._layers = tracker, layers
        self._draw, self._folder = draw, folder

    def begin(self, info: RunInfo, path: str, settings: Mapping[str, Any]) -> None:
        """Tell of the run, and all that its directory holds of it."""
        self._path = Path(path)
        run = load_run(self._path)
        folder = self._folder or run.path / TRACKERS / self.name
        folder.mkdir(parents=True, exist_ok=True)
        self._scalars = ScalarStream(info, layers=self._layers)
        self._tracker.begin(tracked_run(run, info, settings), folder)
        for record in stored_records(run):
            self.record(record)

    def record(self, record: Record) -> None:
        """Tell the numbers of a record, and have a block of steps written."""
        # As it is logged, so that a resumed run, which is read, has the same numbers to the bit.
        for step, values in self._scalars.of(as_logged(record)):
            self._tracker.scalars(step, values)
        if isinstance(record, StepRecords | EvalRecord):
            self._tracker.flush()

    def finish(self, summary: TrainSummary) -> None:
        """Tell how the run ended."""
        picture = self._draw(load_run(self._path))
        if picture is not None:
            self._tracker.picture(NORMS_PICTURE, summary.steps, picture)
        self._tracker.finish(summary, findings_in_markdown(summary.findings))

    def close(self) -> None:
        """Let the tracker close."""
        self._tracker.close()


def tracked_run(run: Run, info: RunInfo, settings: Mapping[str, Any]) -> TrackedRun:
    """Return what a tracker is told of a run first."""
    comparison = comparison_of(run.path)
    return TrackedRun(
        name=info.run,
        group="" if comparison is None else comparison.path.resolve().name,
        info=info,
        settings=settings,
        tags=run.labels.tags,
        note=run.labels.note,
    )


def stored_records(run: Run) -> Iterator[Record]:
    """Yield the steps, measurements of layers and evaluations of a run, as training yielded them.

    Blocks of steps end at evaluations, and are cut so that one at a time is in memory.
    """
    steps, measured, start = run.steps, deque(run.layer_records), 0
    for evaluation in run.evals:
        stop = int(steps.step.searchsorted(evaluation.step, side="right"))
        yield from _stretch(steps, measured, start, stop)
        start = stop
        yield from _until(evaluation.step, measured)
        yield evaluation
    yield from _stretch(steps, measured, start, len(steps))
    yield from measured
    yield rows_of(steps, slice(len(steps), None))  # no steps: the end of what was measured


def _stretch(
    steps: StepRecords, measured: deque[LayerRecord], start: int, stop: int
) -> Iterator[Record]:
    """Yield some rows in blocks, each after what was measured of the layers in it."""
    for first in range(start, stop, _ROWS_AT_ONCE):
        block = rows_of(steps, slice(first, min(first + _ROWS_AT_ONCE, stop)))
        yield from _until(int(block.step[-1]), measured)
        yield block


def _until(step: int, measured: deque[LayerRecord]) -> Iterator[LayerRecord]:
    while measured and measured[0].step <= step:
        yield measured.popleft()


def findings_in_markdown(findings: tuple[Finding, ...]) -> str:
    """Return the findings as a list in Markdown, the advice with each."""
    lines = []
    for one in findings:
        place = f" in `{one.layer}`" if one.layer else ""
        advice = f" Try `{one.override}`." if one.override else ""
        lines.append(f"- **{one.code}** ({one.severity}){place}: {one.message}{advice}")
    return "\n".join(lines)
