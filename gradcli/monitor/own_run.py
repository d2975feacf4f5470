"""The run of a loop that is not ours: its directory, and who else is handed its records."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from gradcli.gradients.layers import class_name
from gradcli.inspection.run_summary import summarise_run
from gradcli.monitor.loop_monitor import LoopMonitor
from gradcli.monitor.ranks import process_count
from gradcli.notation.faults import fault_message
from gradcli.records import (
    DataInfo,
    EvalRecord,
    FaultRecord,
    Metric,
    Record,
    Recorder,
    RunInfo,
    Status,
    StepRecords,
    TrainSummary,
)
from gradcli.runs import NO_LABELS, Labels, RunWriter, add_labels, create_run_directory, load_run
from gradcli.runs.provenance import provenance
from gradcli.runs.recorders import Recorders, RunDirectoryRecorder

_CONFIG = """\
# A model and a training loop of the user's own, watched by gradcli.GradientMonitor.
# gradcli can show this run, but not repeat or resume it.
"""


class OwnRun:
    """Writes the records of a user's own loop, from the first one to the summary.

    Args:
        loop: what measures the loop; it is closed with the run.
        optimizer: of the loop.
        name: part of the directory's name.
        runs_dir: where runs are kept; None is `GRADCLI_RUNS`, or else `runs`.
        recorders: receive every record, after the run directory.
        metric: of the scores.
        labels: what the user calls the run.

    Attributes:
        directory: of the run.

    Raises:
        UserError: if no directory can be made.
    """

    def __init__(
        self,
        loop: LoopMonitor,
        optimizer: Any,
        *,
        name: str,
        runs_dir: str | Path | None,
        recorders: Sequence[Recorder],
        metric: Metric,
        labels: Labels = NO_LABELS,
    ) -> None:
        self._loop = loop
        self._began = time.monotonic()
        self._loss_sum, self._losses = 0.0, 0
        folder = Path(os.environ.get("GRADCLI_RUNS", "runs") if runs_dir is None else runs_dir)
        groups = optimizer.param_groups
        rates = tuple(float(group.get("lr", math.nan)) for group in groups)
        model = class_name(loop.model)
        settings = {"model": model, "optimizer": loop.optimizer_name, **_numbers(groups)}
        self.directory = create_run_directory(folder, name)
        config = _CONFIG + json.dumps(settings, indent=2) + "\n"
        self._writer = RunWriter(self.directory, config, provenance())
        add_labels(self.directory, labels)
        if process_count() > 1:
            self._writer.note(processes=process_count())
        self._recorders = Recorders(RunDirectoryRecorder(self._writer, {}), recorders)
        parameters = list(loop.model.parameters())
        info = RunInfo(
            run=self.directory.name,
            name=name,
            data=DataInfo("own", 0, 0, 0, "", (0, 0, 0), 0),
            model=model,
            model_size=sum(p.numel() for p in parameters if p.requires_grad),
            optimizer=loop.optimizer_name,
            learning_rate=rates[0],
            schedule="",
            clip="",
            activation="",
            device=parameters[0].device.type,
            threads=torch.get_num_threads(),
            batch_size=0,
            epochs=0,
            total_steps=0,
            start_step=loop.start_step,
            layers=loop.layers,
            metric=metric,
            loss="",
            loop_rates=rates if len(set(rates)) > 1 else (),
        )
        self._recorders.begin(info, settings)

    def take(self, record: Record) -> None:
        """Write what was measured, and warn of a fault."""
        self._recorders.record(record)
        if isinstance(record, StepRecords):
            self._loss_sum += float(record.loss.sum())
            self._losses += len(record)
        if isinstance(record, FaultRecord):
            warnings.warn(fault_message(record), RuntimeWarning, stacklevel=3)

    def evaluation(self, split: Literal["val", "test"], *, loss: float, score: float) -> None:
        """Write what the user measured on a split, after all steps before it."""
        self._loop.flush()
        record = EvalRecord(
            step=self._loop.steps,
            epoch=self._loop.epoch,
            split=split,
            loss=loss,
            score=score,
            train_loss=self._loss_sum / self._losses if self._losses else math.nan,
            seconds=self._seconds,
            seconds_train=math.nan,
        )
        if split == "val":
            self._loss_sum, self._losses = 0.0, 0
        self._recorders.record(record)
        self._note_progress()
        self._writer.set_status("running")

    def end(self, error: BaseException | None) -> TrainSummary | None:
        """Close the loop, write how it ended, and return its summary.

        Args:
            error: what ended it; None for its own end.

        Returns:
            The summary; None if it could not be written at the end of what `error` had ended.
        """
        summary = None
        try:
            self._loop.close()
            self._warn_without_update(error)
            self._note_progress(whole=error is None)
            self._writer.note(**_described(error))
            summary = summarise_run(load_run(self.directory), status=_status(self._loop, error))
            self._recorders.store(summary)
            self._recorders.finish(summary)
        except OSError:
            if error is None:  # otherwise a full disk, say, would hide what went wrong
                raise
        finally:
            self._recorders.close()
        return summary

    def _warn_without_update(self, error: BaseException | None) -> None:
        """Warn if the optimizer never made an update, so that nothing was learned or recorded."""
        loop = self._loop
        if error is None and loop.fault is None and not loop.updates and loop.without_update > 1:
            warnings.warn(
                f"monitor.step(loss) was called {loop.without_update} times, but optimizer.step() "
                f"of this {loop.optimizer_name} never: no weight moved, and no step is on record.",
                RuntimeWarning,
                stacklevel=5,  # the user's line that closes the monitor
            )

    def _note_progress(self, *, whole: bool = False) -> None:
        """Note how far the training is; its last epoch counts if it is `whole`."""
        epoch = self._loop.epoch
        self._writer.note(
            progress={"steps": self._loop.steps, "epochs": epoch if whole else max(0, epoch - 1)},
            skipped_steps=self._loop.skipped,
            calls={
                "since_update": self._loop.since_update,
                "most_before_update": self._loop.most_before_update,
            },
            seconds_total=self._seconds,
        )

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began


def _numbers(groups: Sequence[Mapping[str, Any]]) -> dict[str, int | float]:
    """Return the numbers that parameter groups are set to.

    What is not the same in all groups has a key for each group, such as `groups.2.lr`.
    """
    found: dict[str, int | float] = {}
    for key in dict.fromkeys(key for group in groups for key in group):
        values = {
            number: group[key]
            for number, group in enumerate(groups, 1)
            if isinstance(group.get(key), int | float)
        }
        if len(values) == len(groups) and len(set(values.values())) == 1:
            found[key] = values[1]
        else:
            found |= {f"groups.{number}.{key}": value for number, value in values.items()}
    return found


def _status(loop: LoopMonitor, error: BaseException | None) -> Status:
    """Say how a run ended; it has not diverged if it recovered from a fault."""
    if error is not None and not isinstance(error, FloatingPointError):
        return "failed" if isinstance(error, Exception) else "interrupted"
    if loop.fault is not None and not loop.last_is_finite:
        return "diverged"
    return "finished" if error is None else "failed"


def _described(error: BaseException | None) -> dict[str, str]:
    return {} if error is None else {"error": repr(error)}
