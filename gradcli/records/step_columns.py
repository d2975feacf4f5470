"""The numbers of steps as columns, under the names that exports and trackers have for them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from gradcli.records.layer_info import LayerInfo, norm_by_layer
from gradcli.records.measurements import StepRecords

if TYPE_CHECKING:
    import numpy as np

Column: TypeAlias = "np.ndarray[Any, Any]"
Side = Literal["before", "after"]

_ARRAYS = (
    *("step", "epoch", "loss", "learning_rate", "grad_norm_before_clip", "clip_coefficient"),
    *("parameter_grad_norm_before_clip", "parameter_grad_norm_after_clip"),
)


def rows_of(steps: StepRecords, rows: slice) -> StepRecords:
    """Return consecutive rows of a block, without the times that all of it took."""
    import numpy as np

    cut = {name: np.asarray(getattr(steps, name)[rows]) for name in _ARRAYS}
    return replace(steps, **cut, phase_seconds={})


def total_columns(steps: StepRecords) -> dict[str, Column]:
    """Return what is measured of a step as a whole, (n,) each.

    Keys: `step`, `epoch`, `loss`, `learning_rate`, `grad_norm_before_clip`,
    `grad_norm_after_clip` and `clip_coefficient`.
    """
    import numpy as np

    names = ("step", "epoch", "loss", "learning_rate", "grad_norm_before_clip")
    columns: dict[str, Column] = {name: np.asarray(getattr(steps, name)) for name in names}
    coefficient = np.asarray(steps.clip_coefficient)
    # If the norm is infinite, the coefficient is 0 and their product is NaN.
    with np.errstate(invalid="ignore"):
        columns["grad_norm_after_clip"] = columns["grad_norm_before_clip"] * coefficient
    columns["clip_coefficient"] = coefficient
    return columns


def layer_norm_columns(
    steps: StepRecords, layers: tuple[LayerInfo, ...], side: Side
) -> dict[str, Column]:
    """Return the norm of each layer's gradient, (n,) each, as `grad_norm_SIDE_clip/LAYER`."""
    if not layers:
        return {}
    norms = norm_by_layer(getattr(steps, f"parameter_grad_norm_{side}_clip"), layers)
    return {
        f"grad_norm_{side}_clip/{layer.name}": norms[:, index] for index, layer in enumerate(layers)
    }
