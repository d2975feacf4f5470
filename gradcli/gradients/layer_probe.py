"""Measurements of each layer at some steps: weights, updates, gradients w.r.t. the inputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import compress
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradcli.gradients.layers import layer_module, layer_parameters
from gradcli.gradients.norms import sum_of_squares
from gradcli.records import LayerInfo, LayerRecord


class LayerProbe:
    """Measures one training step of a model, as a context around it.

    Enter it before the forward pass: it copies the weights and hooks the layers. Leave it after the
    backward pass, and call `record` after the update. Hooks exist only within the context and read
    gradients without changing them, so measuring does not change the training.

    Args:
        model: the model.
        layers: its layers.
        zero_at_start: names of the parameters to leave out of the update ratio, which means little
            for parameters that are zero at the start.
    """

    def __init__(
        self, model: nn.Module, layers: tuple[LayerInfo, ...], zero_at_start: frozenset[str]
    ) -> None:
        self._layers = layers
        self._modules = [layer_module(model, layer) for layer in layers]
        parameters = iter(layer_parameters(model, layers))
        self._parameters = [[next(parameters) for _ in layer.parameters] for layer in layers]
        self._in_ratio = [
            [
                info.name not in zero_at_start and parameter.requires_grad
                for info, parameter in zip(layer.parameters, of_layer, strict=True)
            ]
            for layer, of_layer in zip(layers, self._parameters, strict=True)
        ]
        self._handles: list[RemovableHandle] = []
        self._before: list[list[Tensor]] = []
        self._input_squares: list[list[float]] = []

    def __enter__(self) -> LayerProbe:
        self._before = [[p.detach().clone() for p in group] for group in self._parameters]
        self._input_squares = [[] for _ in self._layers]
        for module, squares in zip(self._modules, self._input_squares, strict=True):
            self._handles.append(module.register_forward_pre_hook(_watch_inputs(squares)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @torch.no_grad()
    def record(self, step: int) -> LayerRecord:
        """Return the values of the step, one per layer; NaN if there is none."""
        weight_norms, update_ratios, input_norms = [], [], []
        for before, now, in_ratio, squares in zip(
            self._before, self._parameters, self._in_ratio, self._input_squares, strict=True
        ):
            old = [_sum_of_squares(tensor) for tensor in before]
            scale = sum(compress(old, in_ratio))
            steps = [a - b for a, b, counted in zip(now, before, in_ratio, strict=True) if counted]
            moved = sum(map(_sum_of_squares, steps))
            weight_norms.append(math.sqrt(sum(old)))
            update_ratios.append(math.sqrt(moved / scale) if scale > 0 else math.nan)
            input_norms.append(math.sqrt(sum(squares)) if squares else math.nan)
        return LayerRecord(step, tuple(weight_norms), tuple(update_ratios), tuple(input_norms))


def zero_parameters(model: nn.Module) -> frozenset[str]:
    """Return the names of the parameters that are all zero, as biases often are at the start."""
    return frozenset(name for name, value in model.named_parameters() if not bool(value.any()))


def _watch_inputs(squares: list[float]) -> Callable[[nn.Module, Any], None]:
    """Return a hook that collects the squared norm of the gradient w.r.t. a layer's first input.

    If a forward pass calls the layer several times, each call adds one.
    """

    def remember(gradient: Tensor) -> None:
        squares.append(_sum_of_squares(gradient))

    def hook(module: nn.Module, inputs: Any) -> None:
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].requires_grad:
            inputs[0].register_hook(remember)  # type: ignore[no-untyped-call]

    return hook


def _sum_of_squares(tensor: Tensor) -> float:
    """Return the sum of squares of a tensor on any device; waits for the device."""
    return sum_of_squares(tensor if tensor.device.type == "cpu" else tensor.detach().cpu())
