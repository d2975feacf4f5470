"""A training as plain lines, one per epoch: for pipes, log files and simple terminals.

No control codes, no colours, no characters of ours beyond ASCII. Each line is flushed, so that
a log can be followed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TextIO

import numpy as np

from gradcli.notation import numbers
from gradcli.records import (
    EvalRecord,
    FaultRecord,
    Record,
    RunInfo,
    StepRecords,
    TrainSummary,
    was_clipped,
)
from gradcli.views.download_bar import describe_download
from gradcli.views.heading import LONGEST_GROUP, describe, describe_fault, describe_groups
from gradcli.views.table import shorten_list
from gradcli.views.train.train_view import TrainView
from gradcli.views.words import write_line


class PlainView(TrainView):
    """Writes lines to a text stream."""

    shows_notes = True

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._downloading = ""
        self._epoch: _Epoch | None = None
        self._info: RunInfo | None = None

    def note(self, text: str) -> None:
        """Write the text as a line."""
        write_line(self._stream, text)

    def download(self, done_bytes: int, total_bytes: int, name: str) -> None:
        """Write one line per file."""
        if name != self._downloading:
            self._downloading = name
            self.note(describe_download(total_bytes, name))

    def begin(self, info: RunInfo, path: str, settings: Mapping[str, Any]) -> None:
        """Write what is about to run."""
        self._info = info
        if info.data.note:
            self.note(info.data.note)
        self.note(f"{info.run}: {', '.join(describe(info))}")
        for line in describe_groups(info):
            self.note(shorten_list(line, LONGEST_GROUP))
        if info.start_step:
            self.note(f"resumed after step {numbers.count(info.start_step)}")

    def record(self, record: Record) -> None:
        """Write a line when an epoch ends: at its evaluation, or else when the next one begins."""
        match record:
            case StepRecords():
                self._add_steps(record)
            case EvalRecord(split="val"):
                self._end_epoch(record)
            case FaultRecord():
                self._end_epoch(None)
                self.note(describe_fault(record))

    def finish(self, summary: TrainSummary) -> None:
        """Write the line of the last epoch if no evaluation has ended it."""
        self._end_epoch(None)

    def _add_steps(self, steps: StepRecords) -> None:
        for epoch in np.unique(steps.epoch):
            if self._epoch is not None and self._epoch.number != epoch:
                self._end_epoch(None)
            if self._epoch is None:
                self._epoch = _Epoch(int(epoch))
            self._epoch.add(steps, steps.epoch == epoch)

    def _end_epoch(self, evaluation: EvalRecord | None) -> None:
        if self._epoch is None or self._info is None:
            return
        phrases = [
            f"epoch {self._epoch.number}/{self._info.epochs}",
            f"step {self._epoch.step}/{self._info.total_steps}",
            f"train loss {numbers.score(self._epoch.loss)}",
        ]
        if evaluation is not None:
            phrases += [
                f"val loss {numbers.score(evaluation.loss)}",
                f"val {self._info.metric.name} {numbers.score(evaluation.score)}",
            ]
        phrases += [
            f"grad norm {numbers.norm(self._epoch.mean_norm)}",
            f"largest {numbers.norm(self._epoch.largest_norm)}",
            f"clipped {numbers.share(self._epoch.clipped_fraction)}",
        ]
        if evaluation is not None:
            phrases.append(numbers.duration(evaluation.seconds))
        self.note("  ".join(phrases))
        self._epoch = None


class _Epoch:
    """The sums behind the line of one epoch; norms are those before clipping."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.step = 0
        self.largest_norm = -math.inf
        self._steps = 0
        self._loss = self._norm = self._clipped = 0.0

    def add(self, steps: StepRecords, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
        """Add those rows of a block that belong to this epoch."""
        norms = steps.grad_norm_before_clip[rows].astype(np.float64)
        self.step = int(steps.step[rows][-1])
        self.largest_norm = float(np.maximum(self.largest_norm, norms.max()))  # keeps a NaN
        self._steps += len(norms)
        self._loss += float(steps.loss[rows].sum(dtype=np.float64))
        self._norm += float(norms.sum())
        self._clipped += float(was_clipped(steps.clip_coefficient[rows]).sum())

    @property
    def loss(self) -> float:
        """The mean loss of the epoch's batches so far."""
        return self._loss / self._steps

    @property
    def mean_norm(self) -> float:
        """The mean gradient norm of the epoch's steps so far."""
        return self._norm / self._steps

    @property
    def clipped_fraction(self) -> float:
        """The share of the epoch's steps that were clipped."""
        return self._clipped / self._steps
