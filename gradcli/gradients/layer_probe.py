"""Measurements of each layer at some steps: weights, updates, gradients w.r.t. the inputs."""

from __future__ import annotations

import math
import weakref
from itertools import chain, islice
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradcli.gradients.backward_log import BackwardLog, Hook
from gradcli.gradients.layers import layer_module, layer_parameters
from gradcli.gradients.norms import sum_of_squares
from gradcli.gradients.shards import local_part, shards_of
from gradcli.records import LayerInfo, LayerRecord


class LayerProbe:
    """Measures one training step of a model, as a context around its passes.

    Enter it before the forward pass, which hooks the layers, and leave it after the backward pass.
    Call `before_update` and then `record` around the update. Hooks exist only within the context
    and read gradients without changing them, so measuring does not change the training.

    Args:
        model: the model.
        layers: its layers.
        zero_at_start: names of the parameters to leave out of the update ratio, which means little
            for parameters that are zero at the start.
        log: of the backward passes; None if nobody else reads it.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: tuple[LayerInfo, ...],
        zero_at_start: frozenset[str],
        log: BackwardLog | None = None,
    ) -> None:
        self._layers = layers
        self._modules = [layer_module(model, layer) for layer in layers]
        parameters = layer_parameters(model, layers)
        self._shards = shards_of(parameters)
        following = iter(parameters)
        self._parameters = [[next(following) for _ in layer.parameters] for layer in layers]
        self._may_be_in_ratio = [
            [info.name not in zero_at_start for info in layer.parameters] for layer in layers
        ]
        self._log = BackwardLog() if log is None else log
        self._handles: list[RemovableHandle] = []
        self._before: list[Tensor] = []
        self._input_grad_norms = [math.nan] * len(layers)

    def __enter__(self) -> LayerProbe:
        self._log.restart()
        self._log.attach(one_parameter_each(self._parameters))
        self.attach()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.detach()
        self._log.detach()

    def attach(self) -> None:
        """Hook the layers. The log is its owner's to attach."""
        self.detach()
        self._input_grad_norms = [math.nan] * len(self._layers)
        for index, module in enumerate(self._modules):
            hook = _WatchInputs(self._log, index)
            self._handles.append(module.register_forward_pre_hook(hook))

    def detach(self) -> None:
        """Remove the hooks of the layers."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def hand_over(self, loss: Any) -> None:
        """Take the gradients of the passes that count now, after that of `loss`."""
        squares: dict[int, float] = {}
        for key, value in self._log.counted():
            if isinstance(key, int):
                squares[key] = squares.get(key, 0.0) + value
        self._input_grad_norms = [
            math.sqrt(squares[index]) if index in squares else math.nan
            for index in range(len(self._layers))
        ]

    def before_update(self) -> None:
        """Copy the weights."""
        self._before = [local_part(p).clone() for group in self._parameters for p in group]

    @torch.no_grad()
    def record(self, step: int, scale: float = 1.0) -> LayerRecord:
        """Return the values of the step, one per layer; NaN if there is none.

        Args:
            step: its number, from 1.
            scale: what the loss was multiplied by for the backward pass.
        """
        now = [parameter for group in self._parameters for parameter in group]
        may_be = chain.from_iterable(self._may_be_in_ratio)
        in_ratio = [may and p.requires_grad for may, p in zip(may_be, now, strict=True)]
        old = [_sum_of_squares(tensor) for tensor in self._before]
        moved = [
            _sum_of_squares(local_part(after) - before) if counted else 0.0
            for after, before, counted in zip(now, self._before, in_ratio, strict=True)
        ]
        self._before = []
        if self._shards is not None:
            of_parts = torch.tensor([old, moved], dtype=torch.float64)
            old, moved = self._shards.total(of_parts).tolist()
        weight_norms, update_ratios = [], []
        of_parameters = zip(old, moved, in_ratio, strict=True)
        for group in self._parameters:
            of_layer = list(islice(of_parameters, len(group)))
            size = sum(one for one, _, counted in of_layer if counted)
            change = sum(one for _, one, _ in of_layer)
            weight_norms.append(math.sqrt(sum(one for one, _, _ in of_layer)))
            update_ratios.append(math.sqrt(change / size) if size > 0 else math.nan)
        norms = tuple(norm / scale for norm in self._input_grad_norms)
        return LayerRecord(step, tuple(weight_norms), tuple(update_ratios), norms)


#: The first updates at which layers are measured, so that a collapse at the start can be dated.
EARLY_UPDATES = frozenset({1, 2, 3, 5, 10})


def is_probed(update: int, every: int) -> bool:
    """Whether layers are measured at this update, counted from 1.

    Args:
        update: its number.
        every: the updates from one measurement to the next, from the first update on; 0 for none.
    """
    return every > 0 and ((update - 1) % every == 0 or update in EARLY_UPDATES)


def zero_parameters(model: nn.Module) -> frozenset[str]:
    """Return the names of the parameters that are all zero, as biases often are at the start."""
    named = dict(model.named_parameters())
    other: list[float] = [bool(local_part(value).any()) for value in named.values()]
    shards = shards_of((*named.values(),))
    if shards is not None:
        other = shards.totals(other)
    return frozenset(name for name, is_other in zip(named, other, strict=True) if not is_other)


def one_parameter_each(
    groups: list[list[nn.Parameter]], held: frozenset[int] | None = None
) -> list[nn.Parameter]:
    """Return the smallest trained parameter of each layer that has one.

    Args:
        groups: each layer's parameters.
        held: the `id`s of those to choose from; None for all.
    """
    trained = [
        [p for p in group if p.requires_grad and (held is None or id(p) in held)]
        for group in groups
    ]
    return [min(group, key=lambda parameter: parameter.numel()) for group in trained if group]


class _WatchInputs(Hook):
    """Before each call of a layer: notes the gradient w.r.t. its first input, when it comes.

    If the forward pass calls the layer several times, each call adds one, but no tensor counts
    twice: without reentry, checkpointing calls the layer again with the same input.
    """

    def __init__(self, log: BackwardLog | None = None, index: int = 0) -> None:
        super().__init__(None if log is None else self._watch)
        self._log, self._index = log, index
        self._seen: dict[int, tuple[weakref.ref[Tensor], int]] = {}

    def _watch(self, module: nn.Module, inputs: Any) -> None:
        # Without gradient mode no gradient flows; checkpointing with reentry calls once like this.
        if not (inputs and torch.is_grad_enabled() and isinstance(inputs[0], Tensor)):
            return
        tensor = inputs[0]
        if not tensor.requires_grad:
            return
        reference, version = self._seen.get(id(tensor), (None, 0))
        if reference is not None and reference() is tensor and version == tensor._version:
            return
        self._seen[id(tensor)] = weakref.ref(tensor), tensor._version
        tensor.register_hook(Hook(self._note))  # type: ignore[no-untyped-call]

    def _note(self, gradient: Tensor) -> None:
        assert self._log is not None
        self._log.note(self._index, _sum_of_squares(gradient.detach()))


def _sum_of_squares(tensor: Tensor) -> float:
    """Return the sum of squares of a tensor on any device; waits for the device."""
    return sum_of_squares(tensor if tensor.device.type == "cpu" else tensor.detach().cpu())
