"""What one forward pass of the model called, and what the graph of the loss tells about it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from gradcli.gradients.loss_graph import calls_reached, is_single_path
from gradcli.records import TensorRange


@dataclass(slots=True)
class ForwardCall:
    """One forward pass of the model, or the layers that the loop calls itself."""

    inputs: TensorRange | None = None
    outputs: TensorRange | None = None
    output_sums: tuple[float, float] = (math.nan, math.nan)
    rows: int = 1
    """The batch size, as the outputs show it."""
    order: list[int] = field(default_factory=list)
    calls: dict[int, int] = field(default_factory=dict)
    graphed: Counter[int] = field(default_factory=Counter)
    """How many calls of each layer are part of a graph."""
    returns: int = 0
    """How often layers have returned, if the loop calls them itself."""
    without_gradients: bool = False
    """Whether a layer with trained parameters was called without gradient mode."""


def count_per_pass(call: ForwardCall) -> None:
    """Count one pass alone if several called each layer as often, as in an accumulation."""
    passes = min(call.calls.values(), default=1)
    if call.returns and all(count % passes == 0 for count in call.calls.values()):
        call.calls = {index: count // passes for index, count in call.calls.items()}


def has_single_path(root: Any, call: ForwardCall) -> bool | None:
    """Say whether the layers of a forward pass have one order, by the graph of the loss."""
    if any(count > 1 for count in call.calls.values()):
        return False
    if root is None or not call.calls or call.without_gradients:
        return None
    return is_single_path(root, call.order)


def cut_off(root: Any, number: int, call: ForwardCall) -> tuple[tuple[int, int, int], ...]:
    """Return the layers of which the loss depends on some calls only, as far as its graph tells."""
    several = {index: count for index, count in call.graphed.items() if count > 1}
    reached = calls_reached(root, number) if several and root is not None else {}
    return tuple(
        (index, reached[index], count)
        for index, count in several.items()
        if 0 < reached.get(index, 0) < count
    )
