"""How far apart the weights of two runs' last checkpoints are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcli.errors import DamagedFileError
from gradcli.records import Doubles
from gradcli.runs import Run, load_checkpoint


@dataclass(frozen=True, slots=True)
class EndWeights:
    """The weights of the last checkpoints, compared."""

    steps: tuple[int, int]
    """The updates made until then."""
    apart: tuple[float, ...]
    """||a - b|| / max(||a||, ||b||) over the parameters of each layer, (L,)."""


def end_weights(a: Run, b: Run) -> EndWeights | None:
    """Compare the last checkpoints of two runs with the same layers; None unless both have one."""
    try:
        checkpoints = [load_checkpoint(run.path) for run in (a, b)]
    except DamagedFileError:
        return None  # the logs can be compared all the same
    first, second = checkpoints
    if first is None or second is None:
        return None
    apart = []
    for layer in a.layers:
        names = [parameter.name for parameter in layer.parameters]
        if not all(name in one["model"] for one in (first, second) for name in names):
            return None
        apart.append(_distance([(first["model"][one], second["model"][one]) for one in names]))
    steps = int(first["position"]["step"]), int(second["position"]["step"])
    return EndWeights(steps, tuple(apart))


def _distance(pairs: list[tuple[Any, Any]]) -> float:
    """Return the distance of tensors, taken together, relative to the larger of both."""
    one, other = (np.concatenate([_as_array(pair[side]) for pair in pairs]) for side in (0, 1))
    with np.errstate(invalid="ignore", over="ignore"):
        size = max(float(np.linalg.norm(one)), float(np.linalg.norm(other)))
        distance = float(np.linalg.norm(one - other))
    return distance / size if size else 0.0


def _as_array(tensor: Any) -> Doubles:
    values: Doubles = tensor.detach().double().flatten().numpy()
    return values
