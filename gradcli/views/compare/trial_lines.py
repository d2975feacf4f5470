"""A comparison as plain lines, one per ended trial: for pipes and logs.

No control codes and no colour, only ASCII, and each line is flushed so that a log can be followed.
"""

from __future__ import annotations

import math
from typing import TextIO

from gradcli.comparison.live import ComparisonProgress
from gradcli.comparison.results import ComparisonInfo, ComparisonSummary, TrialResult
from gradcli.notation import numbers
from gradcli.records import ACCURACY
from gradcli.views.compare.arm_phrases import (
    describe_comparison,
    describe_failure,
    describe_trial,
    learning_rate,
)
from gradcli.views.compare.column_cells import reported_phrases
from gradcli.views.download_bar import describe_download
from gradcli.views.words import write_line


class ComparePlainView:
    """A `CompareView` that writes lines to a text stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._downloading = ""
        self._chosen: set[str] = set()
        self._metric = ACCURACY

    def note(self, text: str) -> None:
        """Write the text as a line."""
        write_line(self._stream, text)

    def download(self, done_bytes: int, total_bytes: int, name: str) -> None:
        """Write one line per downloaded file."""
        if name != self._downloading:
            self._downloading = name
            self.note(describe_download(total_bytes, name))

    def start(self, info: ComparisonInfo) -> None:
        """Write what will be compared."""
        self._metric = info.metric
        if info.data.note:
            self.note(info.data.note)
        if not info.protocol.tune:
            self._chosen = {arm.name for arm in info.arms}
        self.note(f"{info.name}: {', '.join(describe_comparison(info))}")
        for arm in info.arms:
            rates = " ".join(learning_rate(rate) for rate in arm.learning_rates)
            ranges = ", ".join(f"{one.key} {one.low:g} to {one.high:g}" for one in arm.ranges)
            self.note(f"{arm.name}: {ranges}" if ranges else f"{arm.name}: lr {rates}")
        if info.already_done:
            self.note(f"{numbers.count(info.already_done, 'trial')} already done")

    def progress(self, progress: ComparisonProgress) -> None:
        """Write a line for each chosen learning rate."""
        for arm in progress.arms:
            if not math.isnan(arm.learning_rate) and arm.name not in self._chosen:
                self._chosen.add(arm.name)
                if arm.setting:
                    values = ", ".join(f"{key} {value:.6g}" for key, value in arm.setting)
                    self.note(f"{arm.name}: {values} chosen")
                    continue
                ends = (arm.grid[0].learning_rate, arm.grid[-1].learning_rate) if arm.grid else ()
                at_end = ", at the end of the rates tried" if arm.learning_rate in ends else ""
                self.note(f"{arm.name}: lr {learning_rate(arm.learning_rate)} chosen{at_end}")

    def trial(self, trial: TrialResult) -> None:
        """Write a line with the result of the trial."""
        if trial.status == "failed":
            self.note(describe_failure(trial))
            return
        phrases = [
            f"{trial.status}:",
            *describe_trial(trial),
            f"val {self._metric.name} {numbers.score(trial.val_score)}",
        ]
        if not math.isnan(trial.test_score):
            phrases.append(f"test {self._metric.name} {numbers.score(trial.test_score)}")
        phrases += [
            *reported_phrases(trial),
            numbers.count(trial.steps, "step"),
            numbers.duration(trial.seconds),
        ]
        self.note("  ".join(phrases))

    def finish(self, summary: ComparisonSummary) -> None:
        """Write how long it took."""
        self.note(f"{summary.status} in {numbers.duration(summary.seconds)}")

    def close(self) -> None:
        """Nothing was changed."""
