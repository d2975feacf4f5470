"""Finding the first non-finite value of a step: in its inputs, a pass, the loss, or a gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isfinite

import torch
from torch import Tensor, nn

from gradcli.gradients.layers import find_layers
from gradcli.gradients.norms import Norms, on_host
from gradcli.objectives import LossFunction
from gradcli.objectives.shipped import cross_entropy
from gradcli.records import Floats, LayerInfo
from gradcli.tracing.causes import slope_cause
from gradcli.tracing.fault_place import Place
from gradcli.tracing.replay import Call, Repeated, repeat

#: As `Place.after` and `Place.before`: the ends of the forward pass.
INPUTS, LOSS = "the model's inputs", "the loss"
#: The cause, if all operations returned finite gradients.
HOOK = "a hook on that gradient, or a sum of them"
_DROPOUTS = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.AlphaDropout, nn.FeatureAlphaDropout),
)
#: Why a place is not certain, if the repeated passes have finite values only.
NOT_SHOWN = "repeating the backward pass did not show it"


def locate_fault(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    parameter_norms: Norms,
    *,
    loss: LossFunction = cross_entropy,
    random_state: Tensor | None = None,
    autocast: torch.dtype | None = None,
    micro_batch_size: int | None = None,
) -> Place:
    """Find where the first non-finite value of a step appeared.

    The pass is repeated with the model, which is left as it was found.

    Args:
        model: in the state in which the fault occurred.
        inputs: the batch, (b, ...).
        targets: its targets, (b, ...).
        parameter_norms: of that step's gradients, before clipping.
        loss: of outputs and targets, ().
        random_state: of the CPU's generator before the step; None if it is not known.
        autocast: the type of the autocast that the forward pass ran under; None for none.
        micro_batch_size: the examples of a pass, if there were several; None for one pass.
    """
    if micro_batch_size is None:
        return _locate_in_pass(
            model, inputs, targets, parameter_norms, loss, random_state, autocast
        )
    parts = tuple(in_parts(inputs, targets, micro_batch_size))
    for number, (part, part_targets) in enumerate(parts, 1):
        place = _locate_in_pass(
            model,
            part,
            part_targets,
            parameter_norms,
            loss,
            random_state if number == 1 else None,  # the passes before have drawn numbers, too
            autocast,
        )
        if not place.unsure or number == len(parts):
            break
    return replace(place, forward_pass=number, forward_passes=len(parts))


def in_parts(inputs: Tensor, targets: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the parts of a batch, of `size` examples each but for a smaller last one."""
    for start in range(0, len(inputs), size):
        yield inputs[start : start + size], targets[start : start + size]


def _locate_in_pass(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    parameter_norms: Norms,
    loss: LossFunction,
    random_state: Tensor | None,
    autocast: torch.dtype | None,
) -> Place:
    call = Call(model, (inputs,), {}, autocast, random_state)
    layers = find_layers(model)
    repeated = repeat(model, call, inputs.device, lambda outputs: loss(outputs, targets))
    if repeated.forward is not None:
        return repeated.forward
    if repeated.loss is not None and not bool(torch.isfinite(repeated.loss)):
        return Place("loss", cause=_of_finite_outputs([repeated]), unsure=repeated.unsure)
    broken = broken_parameters(layers, on_host(parameter_norms))
    if not broken:
        return unknown_place(repeated.unsure or "the repeated pass has finite values only")
    if repeated.backward is not None:
        return repeated.backward
    return nearest_the_loss(layers, broken, repeated.order, repeated.unsure or NOT_SHOWN)


def locate_fault_in_passes(
    model: nn.Module,
    layers: tuple[LayerInfo, ...],
    calls: Sequence[Call],
    device: torch.device,
    *,
    loss: float,
    loss_graph: Tensor | None,
    broken: frozenset[str],
    made_before: int = 0,
) -> Place:
    """Find where the first non-finite value appeared in the passes of one update.

    Args:
        model: with the weights of those passes.
        layers: of the model.
        calls: of the model, in order; if the loop never called it, those of its modules.
        device: where the model is.
        loss: as the loop gave it.
        loss_graph: the loss as a tensor, if the loop gave one, to read its operations from.
        broken: the names of the parameters whose gradients are not finite.
        made_before: the passes of the update that came before `calls` and are no longer known.
    """
    if not calls:
        return unknown_place("the pass is not known", loss, layers, broken)
    weights = (*model.parameters(),)
    whole = calls[0].module is model
    numbers, passes = number_passes([id(call.module) for call in calls])
    every: list[Repeated] = []
    for index, call in enumerate(calls):
        repeated = repeat(model, call, device)
        if call.changed(ends_of(weights)):
            repeated.unsure = "the inputs or the weights were changed after the pass"
        if repeated.forward is not None:
            place = repeated.forward
            if not whole:
                place = _of_a_module(place, model, calls, index)
            return replace(
                place,
                forward_pass=made_before + numbers[index] if passes else 0,
                forward_passes=made_before + passes if passes else 0,
                unsure=repeated.unsure,
            )
        every.append(repeated)
    unsure = next((one.unsure for one in every if one.unsure), "")
    if made_before and not unsure:
        unsure = f"the update's first {made_before} passes are no longer known"
    if not isfinite(loss):
        if unsure:
            return unknown_place(unsure)
        return Place("loss", cause=_of_finite_outputs(every))
    of_loss = _slope_of_loss(loss_graph, loss)
    if of_loss is not None:
        return of_loss
    if frozenset[str]().union(*(one.broken for one in every)) == broken:
        for number, repeated in zip(numbers, every, strict=True):
            if repeated.broken:
                numbered = {
                    "forward_pass": made_before + number if passes else 0,
                    "forward_passes": made_before + passes if passes else 0,
                }
                place = repeated.backward or of_a_hook(layers, repeated.broken)
                return replace(place, **numbered)  # type: ignore[arg-type]
    order = tuple(name for one in every for name in one.order)
    return nearest_the_loss(layers, broken, order, unsure or NOT_SHOWN)


def may_be_random(model: nn.Module) -> bool:
    """Whether `model` may draw random numbers: it holds dropout, or code that is not known."""
    return any(
        (isinstance(one, _DROPOUTS) and one.p > 0)
        or isinstance(one, nn.RReLU | nn.FractionalMaxPool2d | nn.FractionalMaxPool3d)
        or _is_positive(getattr(one, "dropout", 0.0))
        or type(one).__module__.split(".")[0] not in ("torch", "gradcli")
        for one in model.modules()
    )


def _is_positive(value: object) -> bool:
    return isinstance(value, float) and value > 0


def broken_parameters(layers: tuple[LayerInfo, ...], parameter_norms: Floats) -> frozenset[str]:
    """Return the names of the parameters whose gradient norms (P,) are not finite."""
    names = [parameter.name for layer in layers for parameter in layer.parameters]
    return frozenset(
        name for name, norm in zip(names, parameter_norms, strict=True) if not isfinite(norm)
    )


def ends_of(weights: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the weights whose version counters stand for those of all: the first and the last."""
    return weights[:1] + weights[-1:]


def number_passes(modules: Sequence[int]) -> tuple[list[int], int]:
    """Number the calls of modules by the pass that each belongs to.

    Args:
        modules: which module each call was of.

    Returns:
        For each call the number of its pass, from 1, and the number of passes: as many as the
        sequence has equal parts; 0 if it has none.
    """
    count = len(modules)
    for length in range(1, count + 1):
        if count % length == 0 and list(modules) == list(modules[:length]) * (count // length):
            break
    whole = len(set(modules[:length])) == length or length == count
    return [index // length + 1 for index in range(count)], count // length if whole else 0


def _of_finite_outputs(repeated: Sequence[Repeated]) -> str:
    largest = max(one.largest_output for one in repeated)
    return (
        f"the outputs of the model are finite, up to {largest:.3g}, so the loss function made it, "
        "or the targets did"
    )


def _of_a_module(place: Place, model: nn.Module, calls: Sequence[Call], index: int) -> Place:
    """Return the place if the loop calls the model's modules one by one."""
    names = {id(module): name for name, module in model.named_modules()}
    if place.phase != "inputs" or index == 0:
        return place
    before, now = names[id(calls[index - 1].module)], names[id(calls[index].module)]
    return Place("forward", None, after=before, before=now)


def of_a_hook(layers: tuple[LayerInfo, ...], broken: frozenset[str]) -> Place:
    """Return the place if all operations returned finite gradients of the parameters."""
    layer, name = next(
        (layer.name, parameter.name)
        for layer in layers
        for parameter in layer.parameters
        if parameter.name in broken
    )
    return Place("backward", layer, tensor=name, cause=HOOK)


def nearest_the_loss(
    layers: tuple[LayerInfo, ...],
    broken: frozenset[str],
    order: tuple[str, ...] = (),
    unsure: str = NOT_SHOWN,
) -> Place:
    """Return the layer nearest the loss whose gradient is not finite, and what comes after it.

    Args:
        layers: of the model.
        broken: the names of the parameters whose gradients are not finite.
        order: the modules in the order of their calls; empty for that of registration.
        unsure: why the place is not certain.
    """
    called = {name: position for position, name in enumerate(order)}
    ordered = sorted(layers, key=lambda layer: called.get(layer.name, -1))
    bad = [any(one.name in broken for one in layer.parameters) for layer in ordered]
    if not any(bad):
        return unknown_place(unsure)
    last = len(bad) - 1 - bad[::-1].index(True)
    later = [layer.name for layer in ordered[last + 1 :] if layer.name in called or not order]
    return Place(
        "backward",
        ordered[last].name,
        after=later[0] if later else LOSS,
        before=ordered[last].name,
        unsure=unsure,
    )


def unknown_place(
    reason: str,
    loss: float = math.nan,
    layers: tuple[LayerInfo, ...] = (),
    broken: frozenset[str] = frozenset(),
) -> Place:
    """Return a place of which nothing but its ends is known."""
    if isfinite(loss) and broken:
        return nearest_the_loss(layers, broken, unsure=reason)
    return Place("loss", after=INPUTS, before=LOSS, unsure=reason)


def _slope_of_loss(loss_graph: Tensor | None, loss: float) -> Place | None:
    """Return the place if the loss is the root of 0, whose slope is infinite; None if it is not.

    The graph of a loss outlives its backward pass, but what it saved does not. So this is all that
    can be told.
    """
    node = None if loss_graph is None else loss_graph.grad_fn
    if node is None or loss != 0:
        return None
    name = node.name()
    exponent = getattr(node, "_saved_exponent", None)
    if name.startswith("SqrtBackward") or (
        name.startswith("PowBackward0") and isinstance(exponent, float) and exponent < 1
    ):
        return Place("backward", None, name, slope_cause(name))
    return None
