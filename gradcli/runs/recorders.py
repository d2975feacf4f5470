"""The recorders of one run: its directory first, then the screen, then the user's own.

`records.Recorder` states the contract of a recorder; this module keeps it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from gradcli.records import Record, Recorder, RunInfo, TrainSummary
from gradcli.runs.writer import RunWriter


class RunDirectoryRecorder(Recorder):
    """Writes a run directory.

    Args:
        writer: of the directory; `close` closes it.
        log_bytes: how much of each log to keep, as the resumed checkpoint says; empty
            for a run that starts at step 0.
    """

    def __init__(self, writer: RunWriter, log_bytes: dict[str, int]) -> None:
        self.writer, self._log_bytes = writer, log_bytes

    def begin(self, info: RunInfo, path: str, settings: Mapping[str, Any]) -> None:
        """Write the header and open the logs."""
        self.writer.note(settings=dict(settings))  # to choose runs by, without reading YAML
        self.writer.begin(info, self._log_bytes)

    def record(self, record: Record) -> None:
        """Append the record to its log."""
        self.writer.write(record)

    def finish(self, summary: TrainSummary) -> None:
        """Note the status, and the results that the list of runs shows."""
        self.writer.set_status(
            summary.status,
            result={
                "train_loss": summary.train_loss,
                "val": summary.val_score,
                "test": summary.test_score,
                "findings": [finding.code for finding in summary.findings],
            },
        )

    def close(self) -> None:
        """Close the logs and release the directory."""
        self.writer.close()


class Recorders:
    """Hands everything to the run directory, then to the others, in their order.

    An error in writing the run directory ends the run. Any other recorder that raises is dropped.

    Args:
        directory: the run directory.
        others: the view and the user's recorders.
    """

    def __init__(self, directory: RunDirectoryRecorder, others: Sequence[Recorder]) -> None:
        self._directory, self._others = directory, list(others)
        self._names = _unique_names(others)

    def begin(self, info: RunInfo, settings: Mapping[str, Any]) -> None:
        """Tell all that the run begins."""
        path = str(self._directory.writer.directory)
        self._directory.begin(info, path, settings)
        self._tell(lambda one: one.begin(info, path, settings))

    def record(self, record: Record) -> None:
        """Give every recorder a record."""
        self._directory.record(record)
        self._tell(lambda one: one.record(record))

    def note(self, text: str) -> None:
        """Give every recorder a sentence for the user."""
        self._tell(lambda one: one.note(text))

    def warn(self, text: str) -> None:
        """Give the user a warning: by the recorders that show notes, else by Python."""
        if any(one.shows_notes for one in self._others):
            self.note(text)
        else:
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    def store(self, summary: TrainSummary) -> None:
        """Store how the run ended in its directory."""
        self._directory.finish(summary)

    def finish(self, summary: TrainSummary) -> None:
        """Tell the others how the run ended; `store` comes first."""
        self._tell(lambda one: one.finish(summary))

    def close(self) -> None:
        """Close all, the run directory last; safe to call again."""
        try:
            self._tell(lambda one: one.close())
        finally:
            self._directory.close()

    def _tell(self, call: Callable[[Recorder], None]) -> None:
        for recorder in tuple(self._others):
            if not any(one is recorder for one in self._others):
                continue  # it was dropped meanwhile: the note on another one failed in it
            try:
                call(recorder)
            except Exception as error:
                self._drop(recorder, error)

    def _drop(self, recorder: Recorder, error: Exception) -> None:
        """Continue without a recorder that failed, and say so."""
        place = next(place for place, one in enumerate(self._others) if one is recorder)
        del self._others[place]
        name = self._names.pop(place)
        with suppress(Exception):  # it has failed already; the note below says how
            recorder.close()
        writer = self._directory.writer
        dropped = {**writer.noted("dropped_recorders", {}), name: repr(error)}
        writer.set_status(writer.noted("status"), dropped_recorders=dropped)
        self.warn(f"The recorder {name} failed and gets no more records: {error!r}.")


def _unique_names(recorders: Sequence[Recorder]) -> list[str]:
    """Name recorders, by their classes if they have no name; number later ones: `Tracker#2`."""
    names: list[str] = []
    seen: Counter[str] = Counter()
    for recorder in recorders:
        name = recorder.name or type(recorder).__name__
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names
