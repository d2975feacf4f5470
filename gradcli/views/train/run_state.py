"""What a screen remembers of a running training, in memory that does not grow with the run.

Records go in, and the numbers on the live screen come out. `training_screen` lays them out, and
`live_screen` decides when.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradcli.records import (
    PHASES,
    Doubles,
    EvalRecord,
    FaultRecord,
    LayerRecord,
    Record,
    RunInfo,
    StepRecords,
    norm_by_layer,
    was_clipped,
)
from gradcli.views.sparkline import BoundedSeries


class RunState:
    """The state of a run according to its records. Vectors have one value per layer."""

    def __init__(self, info: RunInfo) -> None:
        layers = len(info.layers)
        self.info = info
        self.step = info.start_step
        self.epoch = 0
        self.loss = BoundedSeries(1)
        self.norms = BoundedSeries(layers)
        self.val_score = BoundedSeries(1)
        self.before: Doubles | None = None
        """The latest step's gradient norms before clipping; None before the first step."""
        self.after: Doubles | None = None
        self.non_finite: NDArray[np.bool_] = np.zeros(layers, dtype=bool)
        """Whether a gradient was ever NaN or infinite; it stays marked until the end."""
        self.weight_norm: Doubles = np.full(layers, np.nan)
        self.update_ratio: Doubles = np.full(layers, np.nan)
        self.evaluations: dict[str, EvalRecord] = {}
        """The latest evaluation of each split."""
        self.phase_seconds = dict.fromkeys(PHASES, 0.0)
        self.fault: FaultRecord | None = None
        self._clipped_steps: Doubles = np.zeros(layers)
        self._steps_seen = 0
        self._has_begun = False
        self._held: LayerRecord | None = None
        """The first layer record, until the steps arrive: it comes before its own step does."""

    def add(self, record: Record) -> None:
        """Take in one record."""
        match record:
            case StepRecords():
                self._add_steps(record)
                self._has_begun = True
                if self._held is not None:
                    self._add_layers(self._held)
                    self._held = None
            case LayerRecord():
                if self._has_begun:
                    self._add_layers(record)
                else:
                    self._held = record
            case EvalRecord():
                self.evaluations[record.split] = record
                if record.split == "val":
                    self.val_score.append(np.array([[record.score]]))
            case FaultRecord():
                self.fault = record

    @property
    def clipped_fraction(self) -> Doubles:
        """The fraction of steps in which clipping shrank a layer's gradient; NaN at first."""
        if not self._steps_seen:
            return np.full_like(self._clipped_steps, np.nan)
        return self._clipped_steps / self._steps_seen

    def phase_shares(self) -> dict[str, float]:
        """Return the fraction of the time of the training steps that each phase has taken."""
        total = sum(self.phase_seconds.values())
        if total == 0:
            return {}
        return {phase: seconds / total for phase, seconds in self.phase_seconds.items()}

    def _add_layers(self, record: LayerRecord) -> None:
        self.weight_norm = np.asarray(record.weight_norm, dtype=np.float64)
        self.update_ratio = np.asarray(record.update_ratio, dtype=np.float64)

    def _add_steps(self, steps: StepRecords) -> None:
        if not len(steps):
            return
        layers = self.info.layers
        with np.errstate(over="ignore"):
            before = np.asarray(
                norm_by_layer(steps.parameter_grad_norm_before_clip, layers), dtype=np.float64
            )
            after = norm_by_layer(steps.parameter_grad_norm_after_clip, layers)
        self.step = int(steps.step[-1])
        self.epoch = int(steps.epoch[-1])
        self.loss.append(steps.loss.astype(np.float64)[:, np.newaxis])
        self.norms.append(before)
        self.before, self.after = before[-1], after[-1]
        self.non_finite |= ~np.isfinite(before).all(axis=0)
        self._clipped_steps += was_clipped(after, before).sum(axis=0)
        self._steps_seen += len(steps)
        for phase, seconds in steps.phase_seconds.items():
            self.phase_seconds[phase] += seconds
