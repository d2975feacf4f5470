"""PyTorch's optimizers without `torch._dynamo`, the front of its compiler.

The constructor, `step`, `state_dict` and `load_state_dict` of `torch.optim` are wrapped to keep the
compiler out of them. The wrappers import the compiler to do so, which takes nearly as long as
`import torch` itself (1.3 to 1.6 s on 2 cores); a program that compiles nothing does not need it.
The functions here call the wrapped code directly: the same code on the same tensors, so the
same weights to the last bit, and the first training step comes after about 0.6 of the time.

They do so only if everything is as it was tested: the gate is open, the class is one of
`torch.optim` itself, and its wrappers are the known ones. If anything is hooked, profiled,
differentiated or compiled, or if `torch._dynamo` is loaded already, PyTorch's own methods are
called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import _compile
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer

from gradcli.fast import gate


def construct(
    optimizer_class: type[Optimizer],
    groups: Sequence[dict[str, Any]],
    settings: Mapping[str, Any],
) -> Optimizer:
    """Return `optimizer_class(groups, **settings)`; raise what that raises."""
    add_param_group = _beneath_disable(optimizer_class, "add_param_group")
    if add_param_group is None:
        return optimizer_class(groups, **settings)
    optimizer = optimizer_class.__new__(optimizer_class)
    # Python finds an attribute of the object before the method of its class, so no class
    # has to be changed.
    vars(optimizer)["add_param_group"] = MethodType(add_param_group, optimizer)
    try:
        optimizer.__init__(groups, **settings)  # type: ignore[misc]
    finally:
        del vars(optimizer)["add_param_group"]
    return optimizer


def state_dict(optimizer: Optimizer) -> dict[str, Any]:
    """Return `optimizer.state_dict()`."""
    state: dict[str, Any] = _method(optimizer, "state_dict")()
    return state


def load_state_dict(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Call `optimizer.load_state_dict(state)`."""
    _method(optimizer, "load_state_dict")(state)


class StepWithoutDynamo:
    """Makes an optimizer's update: calling it is `optimizer.step()`.

    Each call checks whether anything watches the step. The check takes 1 µs; the wrappers that it
    saves take twenty times as long.

    Args:
        optimizer: any; hooks and schedulers may be added later.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._wrapped = type(optimizer).step
        self._step = None
        if _is_known(type(optimizer)):
            unhooked = _beneath(self._wrapped, Optimizer.profile_hook_step)
            self._step = _beneath(unhooked, torch_optimizer._use_grad_for_differentiable)

    def __call__(self) -> None:
        """Update the parameters by their gradients."""
        if self._step is None or self._is_watched():
            self._optimizer.step()
            return
        with torch.no_grad():
            self._step(self._optimizer)

    def _is_watched(self) -> bool:
        """Whether something would notice the missing wrappers, or they cost nothing by now."""
        return (
            "torch._dynamo" in sys.modules
            or type(self._optimizer).step is not self._wrapped
            or is_watched(self._optimizer)
        )


def is_watched(optimizer: Optimizer) -> bool:
    """Whether something would notice that an update is made without `optimizer.step()`."""
    return bool(
        torch.autograd._profiler_enabled()  # type: ignore[attr-defined]
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or torch_optimizer._global_optimizer_pre_hooks
        or torch_optimizer._global_optimizer_post_hooks
        or "step" in vars(optimizer)  # a scheduler of torch's counts the steps
        or optimizer.defaults.get("differentiable")
    )


def _method(optimizer: Optimizer, name: str) -> Callable[..., Any]:
    """Return a method of an optimizer, without its wrapper if that is allowed."""
    function = _beneath_disable(type(optimizer), name)
    if function is None or name in vars(optimizer):
        method: Callable[..., Any] = getattr(optimizer, name)
        return method
    return MethodType(function, optimizer)


def _beneath_disable(optimizer_class: type[Optimizer], name: str) -> Callable[..., Any] | None:
    """Return the function that `torch._disable_dynamo` has wrapped, or None if it must be kept."""
    if not _is_known(optimizer_class):
        return None
    return _beneath(getattr(optimizer_class, name), _compile._disable_dynamo)


def _is_known(optimizer_class: type[Optimizer]) -> bool:
    """Whether an optimizer's wrappers are known and the compiler has not been imported yet."""
    return (
        gate.is_open()
        and "torch._dynamo" not in sys.modules
        and getattr(torch.optim, optimizer_class.__name__, None) is optimizer_class
    )


def _beneath(function: object, decorator: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return what `function` wraps, or None if `decorator` did not make it.

    A decorator's code holds the code of the functions that it makes among its constants.
    """
    if not isinstance(function, FunctionType) or not isinstance(decorator, FunctionType):
        return None
    if function.__code__ not in decorator.__code__.co_consts:
        return None
    wrapped: Callable[..., Any] = function.__wrapped__  # type: ignore[attr-defined]
    return wrapped
