"""The parts of a model as a run names them: layers and their parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradcli.records.measurements import Doubles, Floats
from gradcli.records.setup_record import SetupRecord


@dataclass(frozen=True, slots=True)
class ParameterInfo:
    """A parameter as `named_parameters()` names it."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A module that owns parameters directly, as `named_modules()` names it.

    `depth` counts such modules in the order of the forward pass, from 0 at the input.
    """

    name: str
    kind: str
    depth: int
    parameters: tuple[ParameterInfo, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the largest parameter: what a reader takes for the layer's shape."""
        return max(self.parameters, key=lambda parameter: parameter.size).shape


def layers_in_call_order(
    layers: tuple[LayerInfo, ...], setup: SetupRecord | None
) -> tuple[int, ...]:
    """Return the indices of all layers from the input to the output, as the forward pass goes.

    A layer that is not called as a module, such as the output projection of PyTorch's attention,
    comes after the layer that is registered before it. Without a `setup`, or if it tells no order,
    the order of registration stands. Whether there is one order at all says `setup.single_path`.
    """
    called = () if setup is None else setup.call_order
    order = list(called)
    for index in range(len(layers)):
        if called and index not in called:
            order.insert(order.index(index - 1) + 1 if index else 0, index)
    return tuple(order or range(len(layers)))


def norm_by_layer(parameter_norms: Floats, layers: tuple[LayerInfo, ...]) -> Doubles:
    """Derive the layers' norms (n, L) from their parameters' norms (n, P), in float64."""
    import numpy as np

    counts = [len(layer.parameters) for layer in layers]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.intp)
    squares = np.square(parameter_norms.astype(np.float64))
    norms: Doubles = np.sqrt(np.add.reduceat(squares, starts, axis=1))
    return norms
