"""What a costly probe found at one step of a run: a line of `probes.jsonl`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from gradcli.runs.files import number, restored

_NUMBERS = ("value", "low", "high", "limit", "seconds", "passes")
_KIND = {"kind": "probe"}


@dataclass(frozen=True, slots=True)
class ProbeRecord:
    """One probe at one step: its result in a few numbers, the whole of it, and its cost.

    Numbers that a probe does not have are NaN, as are all of a refused one.
    """

    step: int
    """The updates made before."""
    probe: str
    """As `--probe` names it."""
    value: float = math.nan
    """noise: the noise scale in examples. sharpness: the largest eigenvalue of the Hessian, in
    the optimizer's own metric where it has a known threshold. cosine: the mean over a few steps.
    alpha: the median over a few steps. descent: the step along the negative gradient with the
    lowest loss. histograms: the share of elements that are exactly zero. signals: the share of
    dead units. hidden-states: the slope in decades a time step, of the layer where it is
    steepest."""
    low: float = math.nan
    """noise: the lower end of the 95% interval. descent: 0. Others: the least of what the value
    stands for."""
    high: float = math.nan
    """noise: the upper end. descent: the longest step up to which the loss stays below its start.
    Others: the largest of what the value stands for."""
    limit: float = math.nan
    """sharpness: the optimizer's stability threshold, in the same metric."""
    seconds: float = math.nan
    passes: float = math.nan
    """The cost in forward-backward passes of one training batch."""
    refused: str = ""
    """The reason; empty where the probe was made."""
    result: Any = None
    """All that was found, as plain values: what `inspect-gradients --probe --json` prints."""

    def as_line(self) -> dict[str, Any]:
        """Return the record as `probes.jsonl` has it."""
        return {**_KIND, **asdict(self)}


def record_of_line(line: dict[str, Any]) -> ProbeRecord:
    """Return what `ProbeRecord.as_line` wrote."""
    values = {key: value for key, value in line.items() if key not in _KIND}
    numbers = {name: number(line[name]) for name in _NUMBERS}
    return ProbeRecord(**{**values, **numbers, "result": restored(line["result"])})
