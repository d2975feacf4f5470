"""Unwraps models, optimizers and losses of training loops, and refuses what cannot be watched."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

from gradcli.errors import UserError


def unwrap_model(model: nn.Module) -> nn.Module:
    """Return the module inside `torch.compile`, DataParallel and DistributedDataParallel.

    Raises:
        UserError: if DataParallel copies the module to several devices.
    """
    while True:
        if isinstance(model, nn.DataParallel) and len(model.device_ids) > 1:
            raise UserError(
                "DataParallel runs copies of the model in threads, whose passes cannot be watched.",
                where="model",
                hint="DistributedDataParallel(model), one process per device",
            )
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        else:
            inner = getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def is_compiled(model: nn.Module) -> bool:
    """Whether any part of `model` is compiled by `torch.compile` or `Module.compile`."""
    return any(
        "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


def refuse_unwatchable(model: nn.Module, optimizer: Any) -> None:
    """Refuse a model whose gradients are not all in one place, and an unrelated optimizer.

    Raises:
        UserError: with the reason and what to do.
    """
    parameters = list(model.parameters())
    if not parameters:
        raise UserError("The model has no parameters, so there are no gradients.", where="model")
    if any(is_lazy(parameter) for parameter in parameters):
        raise UserError(
            "The model has lazy layers, whose shapes are still unknown.",
            where="model",
            hint="run one batch through it first",
        )
    if len({parameter.device for parameter in parameters}) > 1:
        raise UserError("The model is spread over several devices.", where="model")
    own = {id(parameter) for parameter in parameters}
    groups = getattr(optimizer, "param_groups", ())
    if not any(id(parameter) in own for group in groups for parameter in group["params"]):
        raise UserError(
            "The optimizer updates none of the model's parameters.",
            where="optimizer",
            hint="make the optimizer from model.parameters()",
        )


def one_number(loss: Tensor | float) -> Tensor | float:
    """Return the loss as a number if that does not wait for a device, else as a copy, ().

    Raises:
        UserError: if it is not one number.
    """
    if not isinstance(loss, Tensor):
        return float(loss)
    if loss.numel() != 1:
        raise UserError(
            f"The loss has the shape {tuple(loss.shape)}; it must be one number.",
            where="monitor.step(loss)",
            hint="monitor.step(loss.mean())",
        )
    if loss.is_cpu:
        return loss.item()
    return loss.detach().reshape(()).clone()


def hook_updates(
    optimizer: Any, before: Callable[..., None], after: Callable[..., None]
) -> tuple[torch.optim.Optimizer, list[RemovableHandle]]:
    """Hook the optimizer, or the one that a wrapper of it holds.

    Returns:
        The optimizer that makes the updates, and the hooks' handles.

    Raises:
        UserError: if it has no step hooks.
    """
    candidates: tuple[Any, Any] = (optimizer, getattr(optimizer, "optimizer", None))
    for candidate in candidates:
        with suppress(AttributeError):
            return candidate, [
                candidate.register_step_pre_hook(before),
                candidate.register_step_post_hook(after),
            ]
    raise UserError(
        f"{type(optimizer).__name__} has no step hooks, so its updates cannot be watched.",
        where="optimizer",
        hint="derive it from torch.optim.Optimizer, and call super().__init__()",
    )
