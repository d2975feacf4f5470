"""When a layer fell silent: the first step from which no gradient has reached it any more."""

from __future__ import annotations

import numpy as np

from gradcli.records import Integers, LayerInfo, StepRecords, norm_by_layer

# A long run is read in blocks, from its end.
_ROWS_AT_ONCE = 5_000


def silent_since(steps: StepRecords, rows: Integers, layers: tuple[LayerInfo, ...]) -> Integers:
    """Return the step from which each layer's gradient is exactly zero to the end, (L,).

    0 for a layer that gets a gradient in the last step. Only as much of the run is read, from its
    end, as it takes to find the last gradient of each layer.

    Args:
        steps: the run's.
        rows: of the steps that are finite, ascending.
        layers: the run's.
    """
    since = np.zeros(len(layers), dtype=np.int64)
    silent = np.ones(len(layers), dtype=bool)  # so far, from the end
    for stop in range(len(rows), 0, -_ROWS_AT_ONCE):
        block = rows[max(0, stop - _ROWS_AT_ONCE) : stop]
        zero = norm_by_layer(steps.parameter_grad_norm_before_clip[block], layers) == 0
        for layer in np.flatnonzero(silent):
            alive = np.flatnonzero(~zero[:, layer])
            first = int(alive[-1]) + 1 if len(alive) else 0
            if first < len(block):
                since[layer] = int(steps.step[block[first]])
            silent[layer] = not len(alive)
        if not silent.any():
            break
    return since
