"""From an optimizer's class and settings to an optimizer on a model's parameters.

The contract of an optimizer: any subclass of `torch.optim.Optimizer` will do if

- its constructor takes the parameters first, as (name, parameter) pairs in groups, and then only
  keyword arguments that a YAML can hold. `lr` is the one that `--lr` and comparisons set;
- `step()` may read `p.grad`, which is None for a parameter that the loss does
  not reach. It may change gradients: they are measured before;
- `param_groups[i]["lr"]` is the learning rate, which a schedule sets before each step;
- what it remembers is in `self.state`, as tensors and plain values, and `state_dict` returns it. A
  resumed run has nothing else;
- if it has `train()` and `eval()`, these put the weights to train or to evaluate into the model:
  see `weight_modes`. `step`, `state_dict` and `load_state_dict` are called in training mode;
- if `step` cannot be called without a closure, as that of L-BFGS, it receives one that returns the
  loss of the batch as a number and leaves its clipped gradients: see `evaluates_loss`.

It can assume that gradients are finite at its first evaluation, clipped, and of one batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from gradcli.errors import UserError
from gradcli.fast.without_dynamo import StepWithoutDynamo, construct, load_state_dict
from gradcli.optim.composite import CompositeOptimizer
from gradcli.optim.routing import RuledGroup, route
from gradcli.optim.weight_modes import evaluation_weights, set_to_training


def build_optimizer(
    optimizer_class: type[torch.optim.Optimizer],
    kwargs: Mapping[str, Any],
    model: nn.Module,
    *,
    device: torch.device,
    decay_biases_and_norms: bool,
    groups: Sequence[RuledGroup] = (),
) -> torch.optim.Optimizer:
    """Build an optimizer for the parameters of `model` that require gradients.

    The class receives named parameters, as `torch.optim` accepts them since 2.6: in one group, or
    in one for each of `groups`. If weight decay spares biases and the scales of norm layers, which
    are the parameters with fewer than two dimensions, each group with weight decay is two.

    If groups have classes of their own, the result is a `CompositeOptimizer` of one optimizer for
    each of them and one of `optimizer_class` for all other groups.

    The fused implementation is used if the class has one for these settings and parameters and no
    parameter is a view with gaps, unless the settings name `fused` or `foreach`, or `step` is not
    PyTorch's own, which alone applies the factor of clipping when fused. It makes the same
    update to float32 rounding in one pass (784-256-128-10 on a CPU: Adam 0.12 ms against 0.36, SGD
    with momentum 0.10 against 0.11 to 0.16).

    Args:
        optimizer_class: any subclass of `torch.optim.Optimizer`.
        kwargs: its keyword arguments.
        model: already on the device.
        device: of the parameters.
        decay_biases_and_norms: whether weight decay also acts on these.
        groups: which parameters are updated with which settings; empty for one group of all.

    Raises:
        UserError: the model has no parameter to train, a parameter is in no group or a group has
            no parameter, or a class refuses its arguments, needs more than `step()` after
            `backward()`, or needs a closure for one of several groups.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise UserError("the model has no parameter to train", where="model")
    everything = RuledGroup("", {}, {})
    routed = route(model, groups) or {everything.name: parameters}
    members: list[_Member] = []
    shared = _Member(optimizer_class, kwargs, [])
    for group in groups or [everything]:
        if group.optimizer_class is None:
            member, own = shared, group.kwargs
        else:
            member, own = _Member(group.optimizer_class, group.kwargs, []), {}
        if member not in members:
            members.append(member)
        whole = _Part(group.where if groups else "optimizer", own, routed[group.name])
        member.parts.extend([whole] if decay_biases_and_norms else _spared(whole, member))
    if len(members) > 1:
        for member in members:
            _refuse_closure(member)
    built = [_build(member, device) for member in members]
    return built[0] if len(built) == 1 else CompositeOptimizer(built)


@dataclass(frozen=True, eq=False)
class _Part:
    """A parameter group: parameters by name, and the settings that only they have."""

    where: str
    own: Mapping[str, Any]
    parameters: Mapping[str, nn.Parameter]


@dataclass(frozen=True, eq=False)
class _Member:
    """An optimizer to build: its class, the arguments for all its groups, and the groups."""

    optimizer_class: type[torch.optim.Optimizer]
    kwargs: Mapping[str, Any]
    parts: list[_Part]


def _spared(part: _Part, member: _Member) -> list[_Part]:
    """Split a group with weight decay, so that biases and the scales of norms are spared it."""
    if _weight_decay(member.optimizer_class, {**member.kwargs, **part.own}) == 0:
        return [part]
    spared = {name: p for name, p in part.parameters.items() if p.ndim < 2}
    decayed = {name: p for name, p in part.parameters.items() if name not in spared}
    both = (
        replace(part, parameters=decayed),
        replace(part, parameters=spared, own={**part.own, "weight_decay": 0.0}),
    )
    return [one for one in both if one.parameters]


def _build(member: _Member, device: torch.device) -> torch.optim.Optimizer:
    """Build an optimizer, fused if it can be.

    Raises:
        UserError: the class refuses its arguments, or cannot make a plain step.
    """
    settings = dict(member.kwargs)
    everything = [p for part in member.parts for p in part.parameters.values()]
    named = {*member.kwargs, *(key for part in member.parts for key in part.own)}
    if _may_fuse(member.optimizer_class, named) and all(map(_is_dense, everything)):
        settings["fused"] = True
    try:
        _rehearse(member, settings, device)
    except UserError:
        if settings == member.kwargs:
            raise
        # The fused implementation supports fewer settings; perhaps the plain one works.
        settings = dict(member.kwargs)
        _rehearse(member, settings, device)
    groups = [{"params": list(part.parameters.items()), **part.own} for part in member.parts]
    optimizer = construct(member.optimizer_class, groups, settings)
    set_to_training(optimizer)
    return optimizer


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load what `state_dict` returned, stored in the same order as the parameters are now.

    Fused kernels on the CPU go through the memory of parameter, gradient and state side by side.
    If one is stored in another order, they update the wrong elements without an error (PyTorch
    2.13). Checkpoints of earlier versions hold states stored by columns.
    """
    load_state_dict(optimizer, state)
    for parameter in (one for group in optimizer.param_groups for one in group["params"]):
        values = optimizer.state.get(parameter, {})
        for name, value in values.items():
            if (
                isinstance(value, torch.Tensor)
                and value.shape == parameter.shape
                and value.stride() != parameter.stride()
            ):
                values[name] = torch.empty_like(parameter, dtype=value.dtype, device=value.device)
                values[name].copy_(value)


def evaluates_loss(optimizer_class: type[torch.optim.Optimizer]) -> bool:
    """Whether `step` cannot be called without a closure: it evaluates the loss (L-BFGS)."""
    return any(
        parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is parameter.empty
        for parameter in list(inspect.signature(optimizer_class.step).parameters.values())[1:]
    )


def _refuse_closure(member: _Member) -> None:
    """Refuse a class that evaluates the loss for some of the parameters.

    Raises:
        UserError: if it does; each of its steps would be along a loss that the others change, too.
    """
    if evaluates_loss(member.optimizer_class):
        raise UserError(
            f"{member.optimizer_class.__name__} evaluates the loss several times in one "
            "step, which it can do for all parameters only.",
            where=member.parts[0].where,
            hint="one optimizer for all parameters, or another class for this group",
        )


def _may_fuse(optimizer_class: type[torch.optim.Optimizer], named: Set[str]) -> bool:
    accepted = inspect.signature(optimizer_class).parameters
    owner = next(one for one in optimizer_class.__mro__ if "step" in vars(one))
    of_torch = owner.__module__.startswith("torch.")
    return of_torch and "fused" in accepted and not {"fused", "foreach"} & named


def _is_dense(parameter: nn.Parameter) -> bool:
    """Whether a parameter's elements fill a stretch of memory without gaps, in any order.

    A fused kernel on the CPU assumes so: for a view of some columns it would update their
    neighbours instead (PyTorch 2.13).
    """
    stretch = 1
    for stride, size in sorted(zip(parameter.stride(), parameter.shape, strict=True)):
        if size != 1 and stride != stretch:
            return False
        stretch *= size
    return True


def _weight_decay(optimizer_class: type[torch.optim.Optimizer], kwargs: Mapping[str, Any]) -> Any:
    """Return the weight decay in force, given or by default; 0 if the class has none."""
    parameter = inspect.signature(optimizer_class).parameters.get("weight_decay")
    return 0 if parameter is None else kwargs.get("weight_decay", parameter.default)


def _rehearse(member: _Member, settings: Mapping[str, Any], device: torch.device) -> None:
    """Make one step on copies of each group's parameters, to find what a signature does not show.

    Examples: a fused implementation that does not support the device, a class for sparse gradients
    (SparseAdam) or matrices only (Muon), a closure that is optional in the signature only, a
    setting that a class checks in its constructor. Small corners are copied, because copying whole
    parameters would delay the start.
    """
    name = member.optimizer_class.__name__
    # An optimizer may draw noise; the rehearsal must not change the run's random state.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for part in member.parts:
            copies = [(key, _corner(parameter)) for key, parameter in part.parameters.items()]
            whole = {**settings, **part.own}
            try:
                optimizer = construct(member.optimizer_class, [{"params": copies}], whole)
            except UserError:
                raise
            except Exception as error:
                raise UserError(
                    f"{name} refuses its settings: {error}", where=part.where
                ) from error
            try:
                set_to_training(optimizer)
                if evaluates_loss(member.optimizer_class):
                    optimizer.step(lambda: 1.0)
                else:
                    StepWithoutDynamo(optimizer)()
                with evaluation_weights(optimizer):
                    pass
            except Exception as error:
                raise UserError(
                    f"{name} cannot make a plain step on this model: {error}", where=part.where
                ) from error
            if kept := set(part.own) - optimizer.defaults.keys():
                raise UserError(
                    f"{name} has one '{min(kept)}' for all its parameters, so a group cannot have "
                    "its own.",
                    where=f"{part.where}.{min(kept)}",
                    hint="decay_biases_and_norms=true"
                    if part.where == "optimizer"
                    else f"a `_target_` in {part.where}, for an optimizer of its own",
                )


def _corner(parameter: nn.Parameter) -> nn.Parameter:
    """Copy up to 16 entries along each dimension, with a gradient of ones."""
    entries = parameter.detach()[tuple(slice(16) for _ in parameter.shape)]
    corner = nn.Parameter(entries.clone())
    corner.grad = torch.ones_like(corner)
    return corner
