"""From an optimizer's class and settings to an optimizer on a model's parameters.

The contract of an optimizer: any subclass of `torch.optim.Optimizer` will do if

- its constructor takes the parameters first, as (name, parameter) pairs in groups, and then only
  keyword arguments that a YAML can hold. `lr` is the one that `--lr` and comparisons set;
- `step()` needs no closure and may read `p.grad`, which is None for a parameter that the loss does
  not reach. It may change gradients: they are measured before;
- `param_groups[i]["lr"]` is the learning rate, which a schedule sets before each step;
- what it remembers is in `self.state`, as tensors and plain values, and `state_dict` returns it. A
  resumed run has nothing else.

It can assume that gradients are finite, clipped, and of one batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gradcli.errors import UserError
from gradcli.fast.without_dynamo import StepWithoutDynamo, construct, load_state_dict

Groups = list[dict[str, Any]]


def build_optimizer(
    optimizer_class: type[torch.optim.Optimizer],
    kwargs: Mapping[str, Any],
    model: nn.Module,
    *,
    device: torch.device,
    decay_biases_and_norms: bool,
) -> torch.optim.Optimizer:
    """Build an optimizer for the parameters of `model` that require gradients.

    The class receives named parameters, as `torch.optim` accepts them since 2.6: in one group, or
    in two if weight decay spares biases and the scales of norm layers, which are the parameters
    with fewer than two dimensions.

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

    Raises:
        UserError: the model has no parameter to train, the class refuses its arguments, or it
            needs more than `step()` after `backward()`.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise UserError("the model has no parameter to train", where="model")
    _refuse_closure(optimizer_class)
    settings = dict(kwargs)
    if _may_fuse(optimizer_class, kwargs) and all(map(_is_dense, parameters.values())):
        settings["fused"] = True
    spare = not decay_biases_and_norms and _weight_decay(optimizer_class, kwargs) != 0
    groups = _groups(parameters, spare=spare)
    try:
        _rehearse(optimizer_class, settings, groups, device)
    except UserError:
        if settings == kwargs:
            raise
        # The fused implementation supports fewer settings; perhaps the plain one works.
        settings = dict(kwargs)
        _rehearse(optimizer_class, settings, groups, device)
    return construct(optimizer_class, groups, settings)


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


def _refuse_closure(optimizer_class: type[torch.optim.Optimizer]) -> None:
    """Refuse a `step` that cannot be called without arguments (L-BFGS)."""
    for parameter in list(inspect.signature(optimizer_class.step).parameters.values())[1:]:
        positional = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if positional and parameter.default is parameter.empty:
            raise UserError(
                f"{optimizer_class.__name__} evaluates the loss several times in one step and "
                f"needs a {parameter.name} for it; training here makes one backward pass per step",
                where="optimizer",
            )


def _may_fuse(optimizer_class: type[torch.optim.Optimizer], kwargs: Mapping[str, Any]) -> bool:
    accepted = inspect.signature(optimizer_class).parameters
    owner = next(one for one in optimizer_class.__mro__ if "step" in vars(one))
    of_torch = owner.__module__.startswith("torch.")
    return of_torch and "fused" in accepted and not {"fused", "foreach"} & kwargs.keys()


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


def _groups(parameters: Mapping[str, nn.Parameter], *, spare: bool) -> Groups:
    """Group the parameters by whether weight decay acts on them."""
    spared = {name: p for name, p in parameters.items() if spare and p.ndim < 2}
    decayed = {name: p for name, p in parameters.items() if name not in spared}
    groups: Groups = [{"params": list(decayed.items())}] if decayed else []
    if spared:
        groups.append({"params": list(spared.items()), "weight_decay": 0.0})
    return groups


def _rehearse(
    optimizer_class: type[torch.optim.Optimizer],
    settings: Mapping[str, Any],
    groups: Groups,
    device: torch.device,
) -> None:
    """Make one step on copies of the parameters, to find what a signature does not show.

    Examples: a fused implementation that does not support the device, a class for sparse gradients
    (SparseAdam) or matrices only (Muon), a closure that is optional in the signature only. Small
    corners are copied, because copying whole parameters would delay the start.
    """
    name = optimizer_class.__name__
    copies = [
        {**group, "params": [(key, _corner(parameter)) for key, parameter in group["params"]]}
        for group in groups
    ]
    # An optimizer may draw noise; the rehearsal must not change the run's random state.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            optimizer = construct(optimizer_class, copies, settings)
        except Exception as error:
            raise UserError(f"{name} refuses its settings: {error}", where="optimizer") from error
        try:
            StepWithoutDynamo(optimizer)()
        except Exception as error:
            raise UserError(
                f"{name} cannot make a plain step on this model: {error}", where="optimizer"
            ) from error


def _corner(parameter: nn.Parameter) -> nn.Parameter:
    """Copy up to 16 entries along each dimension, with a gradient of ones."""
    entries = parameter.detach()[tuple(slice(16) for _ in parameter.shape)]
    corner = nn.Parameter(entries.clone())
    corner.grad = torch.ones_like(corner)
    return corner
