"""TensorBoard's event files, written by tensorboardX, which needs no TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradcli.extras.missing import not_installed
from gradcli.records import TrainSummary
from gradcli.trackers.parameters import as_parameters, results_of
from gradcli.trackers.tracker import TrackedRun, Tracker

_EVENT_FILES = "events.out.tfevents.*"


class TensorBoardTracker(Tracker):
    """Writes one event file per run, with all scalars of a step in one event.

    TensorBoard keeps scalars as float32.

    Raises:
        UserError: if tensorboardX is not installed.
    """

    def __init__(self) -> None:
        try:
            import tensorboardX
            from tensorboardX import summary
            from tensorboardX.proto.summary_pb2 import Summary
        except ImportError as error:
            raise not_installed(
                "tensorboardX", "tensorboard", error, what="tensorboard", where="track"
            ) from error
        self._writer_class, self._summary = tensorboardX.FileWriter, summary
        self._events: Any = Summary
        self._writer: Any = None

    def begin(self, run: TrackedRun, folder: Path) -> None:
        """Begin the event file anew, with the config as hyperparameters."""
        for earlier in folder.glob(_EVENT_FILES):
            earlier.unlink()
        self._writer = self._writer_class(str(folder))
        metrics = dict.fromkeys(results_of(run.info), 0)
        for part in self._summary.hparams(as_parameters(run), metrics):
            self._writer.add_summary(part)
        self.flush()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add an event."""
        events = self._events
        self._writer.add_summary(
            events(value=[events.Value(tag=tag, simple_value=one) for tag, one in values.items()]),
            step,
        )

    def flush(self) -> None:
        """Wait until the events are in the file."""
        self._writer.flush()

    def picture(self, name: str, step: int, png: bytes) -> None:
        """Add an image."""
        width, height = struct.unpack(">II", png[16:24])  # which a PNG file begins with
        image = self._events.Image(
            encoded_image_string=png, width=width, height=height, colorspace=3
        )
        self._writer.add_summary(
            self._events(value=[self._events.Value(tag=name, image=image)]), step
        )

    def finish(self, summary: TrainSummary, findings: str) -> None:
        """Add the findings as a text."""
        text = f"{summary.status} after {summary.steps:,} steps\n\n{findings}"
        self._writer.add_summary(self._summary.text("findings", text), summary.steps)

    def commands(self, folder: Path) -> tuple[str, ...]:
        """Return how to look at the folder."""
        return (f"tensorboard --logdir {folder}",)

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
