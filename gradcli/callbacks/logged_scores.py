"""Which of the numbers that a trainer logs are the evaluations of a run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gradcli.errors import nearest
from gradcli.monitor import GradientMonitor
from gradcli.records import Direction


@dataclass(slots=True)
class LoggedScores:
    """Finds the validation loss and the score among logged numbers.

    Args:
        loss: the name of the validation loss.
        metric: the name of the score and its direction; None for the validation loss.
    """

    loss: str
    metric: tuple[str, Direction] | None
    _has_warned: bool = field(default=False, init=False)

    @property
    def metric_or_loss(self) -> tuple[str, Direction]:
        """The metric of the run."""
        return (self.loss, "minimize") if self.metric is None else self.metric

    def record(self, monitor: GradientMonitor, logged: Mapping[str, Any]) -> None:
        """Record what was logged of a validation, if it is anything that the run keeps.

        Args:
            monitor: of the run.
            logged: the numbers by their names, as floats or as tensors of one number.
        """
        name = self.metric_or_loss[0]
        if name not in logged and self.metric is not None:
            self._warn(name, logged)
        if name in logged or self.loss in logged:
            loss, score = (float(logged.get(key, math.nan)) for key in (self.loss, name))
            monitor.evaluation(loss=loss, score=score)

    def _warn(self, name: str, logged: Mapping[str, Any]) -> None:
        """Say once that the metric which the user asked for is not logged."""
        if self._has_warned:
            return
        self._has_warned = True
        known = nearest(name, logged) or sorted(logged)
        warnings.warn(
            f"'{name}' is not logged, so no score is recorded; "
            + (f"what is: {', '.join(known)}." if known else "nothing else is, either."),
            RuntimeWarning,
            stacklevel=2,
        )
