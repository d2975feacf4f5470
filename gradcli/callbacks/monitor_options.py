"""What a user tells a callback about its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from gradcli.monitor import GradientMonitor
from gradcli.monitor.ranks import Watch
from gradcli.records import Direction, Recorder


@dataclass(frozen=True, slots=True)
class MonitorOptions:
    """The arguments of `GradientMonitor` that are the same for each run of a callback."""

    name: str
    every: int
    stop_on_fault: bool
    runs_dir: str | Path | None
    recorders: Sequence[Recorder]
    watch: Watch
    tags: Sequence[str]
    note: str

    def begin(
        self,
        model: nn.Module,
        optimizer: Any,
        *,
        scaler: Any,
        metric: tuple[str, Direction],
        start_step: int,
        part: str = "",
    ) -> GradientMonitor:
        """Begin a run.

        Args:
            model: to watch.
            optimizer: to watch.
            scaler: of the loop's gradients; None if it has none.
            metric: of the run's evaluations.
            start_step: the updates that were made before.
            part: what tells this run from others of the same training, in its name.

        Raises:
            UserError: if the model or the optimizer cannot be watched, or no directory be made.
        """
        resumed = f"Goes on after step {start_step:,}." if start_step else ""
        return GradientMonitor(
            model,
            optimizer,
            name=f"{self.name}{part}",
            scaler=scaler,
            every=self.every,
            stop_on_fault=self.stop_on_fault,
            runs_dir=self.runs_dir,
            recorders=self.recorders,
            watch=self.watch,
            metric=metric,
            tags=self.tags,
            note=" ".join(filter(None, (self.note, resumed))),
            start_step=start_step,
        )


def end(monitor: GradientMonitor, error: BaseException | None) -> None:
    """End a run; `error` is what ended its training, None if nothing did."""
    monitor.__exit__(None if error is None else type(error), error, None)
