"""From a run on the disk to its summary: the numbers of the closing screen and of `--json`.

Everything is read from the run directory, in bounded memory however long the run was, so that
the command that trained and a later one say the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gradcli.gradients.diagnosis import collect_evidence, diagnose
from gradcli.records import (
    PHASES,
    EvalRecord,
    Floats,
    LayerInfo,
    LayerSummary,
    NormSummary,
    StepRecords,
    TrainSummary,
    norm_by_layer,
)
from gradcli.runs import Run
from gradcli.runs.files import number

_ROWS_AT_ONCE = 100_000
# float32 columns: a norm counts as made smaller where it lost more than their rounding.
_CLIPPED = 1 - 1e-6


def summarise(run: Run) -> TrainSummary:
    """Summarise a run, in whatever state it is.

    Raises:
        UserError: where the process ended before the model was built.
    """
    info, state = run.info, run.state
    norms = _NormColumns(run.layers)
    norms.add_all(run.steps)
    progress = state.get("progress", {"steps": 0, "epochs": 0})
    logged = int(run.steps.step[-1]) if len(run.steps) else 0
    if run.fault is not None and run.fault.step == logged:
        logged -= 1  # the update of the step that is logged last was not made
    steps = max(logged, progress["steps"])
    last = run.layer_records[-1] if run.layer_records else None
    evidence = collect_evidence(info, run.steps, run.layer_records, run.evals, run.fault)
    phases = {name: number(value) for name, value in state.get("phase_seconds", {}).items()}
    timed = sum(phases.values())
    seconds_train = number(state.get("seconds_train", math.nan))
    return TrainSummary(
        info=info,
        path=str(run.path),
        status=run.status,
        epochs=progress["epochs"],
        steps=steps,
        train_loss=_train_loss(run),
        val_accuracy=_accuracy(run.evals, "val"),
        test_accuracy=_accuracy(run.evals, "test"),
        seconds_total=number(state.get("seconds_total", math.nan)),
        seconds_first_step=number(state.get("seconds_first_step", math.nan)),
        seconds_train=seconds_train,
        steps_per_second=steps / seconds_train if seconds_train else math.nan,
        phases={phase: phases.get(phase, 0.0) / timed if timed else 0.0 for phase in PHASES},
        clipped_fraction=norms.clipped_fraction,
        layers=tuple(
            LayerSummary(
                name=layer.name,
                grad_norm_before_clip=norms.before.of_layer(index),
                grad_norm_after_clip=norms.after.of_layer(index),
                clipped_fraction=norms.clipped_fraction_of_layer(index),
                weight_norm=last.weight_norm[index] if last else math.nan,
                update_ratio=last.update_ratio[index] if last else math.nan,
            )
            for index, layer in enumerate(run.layers)
        ),
        findings=diagnose(evidence),
        fault=run.fault,
    )


@dataclass
class _Columns:
    """First, last, sum and maximum of L columns, of which blocks of rows are added."""

    first: Floats | None = None
    last: Floats | None = None
    total: Floats | None = None
    largest: Floats | None = None
    rows: int = 0

    def add(self, block: NDArray[np.float64]) -> None:
        """Add a block of rows, (n, L); a NaN stays in the sum and in the maximum."""
        total, largest = block.sum(axis=0), block.max(axis=0)
        self.first = block[0] if self.first is None else self.first
        self.last = block[-1]
        self.total = total if self.total is None else self.total + total
        self.largest = largest if self.largest is None else np.maximum(self.largest, largest)
        self.rows += len(block)

    def of_layer(self, index: int) -> NormSummary:
        """Summarise one column; NaN where no row was added."""
        columns = (self.first, self.last, self.total, self.largest)
        first, last, total, largest = (
            math.nan if column is None else float(column[index]) for column in columns
        )
        return NormSummary(first, last, total / max(1, self.rows), largest)


@dataclass
class _NormColumns:
    """The layers' norms before and after clipping, over a whole run."""

    layers: tuple[LayerInfo, ...]
    before: _Columns = field(default_factory=_Columns)
    after: _Columns = field(default_factory=_Columns)
    clipped: int = 0
    clipped_by_layer: NDArray[np.int64] | None = None

    def add_all(self, steps: StepRecords) -> None:
        """Add every step, a block at a time."""
        for start in range(0, len(steps), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            before = norm_by_layer(steps.parameter_grad_norm_before_clip[rows], self.layers)
            after = norm_by_layer(steps.parameter_grad_norm_after_clip[rows], self.layers)
            self.before.add(before)
            self.after.add(after)
            self.clipped += int((steps.clip_coefficient[rows] < _CLIPPED).sum())
            by_layer = (after < before * _CLIPPED).sum(axis=0)
            self.clipped_by_layer = (
                by_layer if self.clipped_by_layer is None else self.clipped_by_layer + by_layer
            )

    @property
    def clipped_fraction(self) -> float:
        """The share of steps whose global norm was made smaller."""
        return self.clipped / self.before.rows if self.before.rows else 0.0

    def clipped_fraction_of_layer(self, index: int) -> float:
        """The share of steps in which the layer's norm was made smaller."""
        if self.clipped_by_layer is None:
            return 0.0
        return float(self.clipped_by_layer[index]) / self.before.rows


def _accuracy(evals: tuple[EvalRecord, ...], split: str) -> float:
    return next((record.accuracy for record in reversed(evals) if record.split == split), math.nan)


def _train_loss(run: Run) -> float:
    """The mean training loss of the last epoch, or of the steps since the last evaluation."""
    if run.fault is not None and run.status != "finished":
        return run.fault.loss
    known = [record.train_loss for record in run.evals if not math.isnan(record.train_loss)]
    if known:
        return known[-1]
    return float(np.mean(run.steps.loss)) if len(run.steps) else math.nan
