"""An update that looks up its tensors once instead of at every step.

Each `step` of `torch.optim` collects its parameters' gradients and states in Python, then calls
the functional form of its algorithm, a public function next to the class. Here that function is
called with lists that are kept; for fused optimizers, the kernel itself. It is the same code on
the same tensors, so the same weights to the last bit. A fused kernel can also scale the
gradients, which saves clipping a pass over them.

Microseconds of the whole update within a training loop (2 cores of an AMD EPYC, one thread;
784-256-128-10, and 42 tensors of a 20-layer net):

                           `step`   functional form   kernel
    Adam, fused               470               376      265
    Adam, fused, 42 tensors   610               400      255
    SGD with momentum         460               254      150
    RMSprop                   795               560      445
    RMSprop, 42 tensors                         900      545

    scaling 6 and 42 gradients: 70 and 200 by `mul_`, 30 and 10 by the kernel
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adadelta import adadelta
from torch.optim.adagrad import adagrad
from torch.optim.adam import adam
from torch.optim.adamax import adamax
from torch.optim.adamw import adamw
from torch.optim.nadam import nadam
from torch.optim.radam import radam
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from gradcli.fast import gate, without_dynamo

_Function: TypeAlias = Callable[..., None]


def _share_memory(counters: list[Tensor]) -> list[Tensor]:
    """Return equal step counters, all views of one tensor, so that one call counts them all."""
    return list(torch.stack(counters).unbind())


def _count(counters: list[Tensor], steps: int | Tensor) -> None:
    """Add steps to counters that share their memory; one call for each would take 4 µs each."""
    whole = counters[0]._base
    assert whole is not None
    whole.add_(steps)


def _fused_adam(
    parameters: list[Tensor],
    gradients: list[Tensor],
    *states: list[Tensor],
    found_inf: Tensor | None,
    decoupled_weight_decay: bool = False,
    **settings: Any,
) -> None:
    """Do what `adam` does with `fused` if all tensors have one device and one type."""
    steps = states[-1]
    kernel = torch._fused_adamw_ if decoupled_weight_decay else torch._fused_adam_
    _count(steps, 1)
    kernel(parameters, gradients, *states, found_inf=found_inf, **settings)
    if found_inf is not None:
        _count(steps, -found_inf)


def _fused_adamw(
    parameters: list[Tensor], gradients: list[Tensor], *states: list[Tensor], **settings: Any
) -> None:
    """Do what `adamw` does with `fused` if all tensors have one device and one type."""
    _fused_adam(parameters, gradients, *states, decoupled_weight_decay=True, **settings)


def _fused_sgd(
    parameters: list[Tensor], gradients: list[Tensor], buffers: list[Tensor], **settings: Any
) -> None:
    """Do what `sgd` does with `fused`, from the second step on."""
    torch._fused_sgd_(parameters, gradients, buffers, is_first_step=False, **settings)


def _foreach_rmsprop(
    parameters: list[Tensor],
    gradients: list[Tensor],
    averages: list[Tensor],
    _grad_averages: list[Tensor],
    _buffers: list[Tensor],
    steps: list[Tensor],
    *,
    lr: float,
    alpha: float,
    eps: float,
) -> None:
    """Do what `rmsprop` does with default settings, without checking them."""
    _count(steps, 1)
    torch._foreach_mul_(averages, alpha)
    torch._foreach_addcmul_(averages, gradients, gradients, value=1 - alpha)
    roots = torch._foreach_sqrt(averages)
    torch._foreach_add_(roots, eps)
    torch._foreach_addcdiv_(parameters, gradients, roots, value=-lr)


def _is_plain_rmsprop(group: dict[str, Any]) -> bool:
    extras = ("momentum", "weight_decay", "centered", "maximize", "differentiable", "capturable")
    return isinstance(group["lr"], float) and not any(group.get(name) for name in extras)


def _is_fused(group: dict[str, Any]) -> bool:
    return bool(group.get("fused"))


# The functional form, and the states that it takes after the gradients, in this order.
_AdamW = torch.optim.AdamW  # an `Adam` with its own setting, but not in 2.6
_ADAM_STATE = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step")
_FORMS: dict[type[Optimizer], tuple[_Function, tuple[str, ...]]] = {
    torch.optim.Adadelta: (adadelta, ("square_avg", "acc_delta", "step")),
    torch.optim.Adagrad: (adagrad, ("sum", "step")),
    torch.optim.Adam: (adam, _ADAM_STATE),
    torch.optim.Adamax: (adamax, ("exp_avg", "exp_inf", "step")),
    _AdamW: (adam if issubclass(_AdamW, torch.optim.Adam) else adamw, _ADAM_STATE),
    torch.optim.NAdam: (nadam, ("exp_avg", "exp_avg_sq", "mu_product", "step")),
    torch.optim.RAdam: (radam, ("exp_avg", "exp_avg_sq", "step")),
    torch.optim.RMSprop: (rmsprop, ("square_avg", "grad_avg", "momentum_buffer", "step")),
    torch.optim.SGD: (sgd, ("momentum_buffer",)),
}
# The kernel that a functional form calls, the settings that it takes, and whether it gives the same
# result for a group.
_SETTINGS = ("lr", "weight_decay", "maximize", "found_inf")
_ADAM_SETTINGS = (*_SETTINGS, "betas", "eps", "amsgrad")
_KERNELS: dict[_Function, tuple[_Function, tuple[str, ...], Callable[[dict[str, Any]], bool]]] = {
    adam: (_fused_adam, (*_ADAM_SETTINGS, "decoupled_weight_decay"), _is_fused),
    adamw: (_fused_adamw, _ADAM_SETTINGS, _is_fused),
    rmsprop: (_foreach_rmsprop, ("lr", "alpha", "eps"), _is_plain_rmsprop),
    sgd: (_fused_sgd, (*_SETTINGS, "momentum", "dampening", "nesterov"), _is_fused),
}


class FunctionalUpdate:
    """Makes an optimizer's update by the functional form of its class, if the result is the same.

    Args:
        optimizer: any; if its class has no form here, no update is made.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._step = type(optimizer).step
        device_types = {
            parameter.device.type
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        self._has_form = type(optimizer) in _FORMS and all(map(gate.is_open, device_types))
        self._groups: list[_Group] = []
        self._state: object = None

    def __call__(self, grad_scale: Tensor | None = None) -> bool:
        """Update the parameters by their gradients, under `no_grad`, or return False.

        Args:
            grad_scale: what a fused optimizer divides the gradients by, ().
        """
        optimizer = self._optimizer
        # Loading a state replaces the dictionary in which the tensors were looked up.
        if (
            self._state is not optimizer.state
            or type(optimizer).step is not self._step
            or without_dynamo.is_watched(optimizer)
        ):
            return False
        gradients = []
        for group in self._groups:
            of_group = group.gradients()
            if of_group is None:
                return False
            gradients.append(of_group)
        for group, of_group in zip(self._groups, gradients, strict=True):
            group.update(of_group, grad_scale)
        return True

    def prepare(self) -> None:
        """Look up the states after the optimizer has made an update itself."""
        state = self._optimizer.state
        if not self._has_form or self._state is state:
            return
        self._groups = [_Group(self._optimizer, group) for group in self._optimizer.param_groups]
        self._state = state if all(group.complete for group in self._groups) else None


class _Group:
    """A group of P parameters and, for each kind of state, a list of P tensors.

    The list of a kind that the settings do not need, such as SGD's momentum, is empty.
    """

    def __init__(self, optimizer: Optimizer, group: dict[str, Any]) -> None:
        self._optimizer, self._settings = optimizer, group
        self._parameters: list[Tensor] = group["params"]
        states = [optimizer.state.get(parameter, {}) for parameter in self._parameters]
        self.complete = all(state.keys() == states[0].keys() for state in states) and not any(
            parameter.is_complex() for parameter in self._parameters
        )
        if not self.complete:
            return
        self._function, kinds = _FORMS[type(optimizer)]
        self._states = [
            [state[kind] for state in states] if kind in states[0] else [] for kind in kinds
        ]
        accepted: Sequence[str] = [*inspect.signature(self._function).parameters, "betas"]
        if self._function in _KERNELS and self._alike():
            kernel, settings, is_for = _KERNELS[self._function]
            if is_for(group):
                self._function, accepted = kernel, settings
                self._share_counters(kinds, states)
        self._names = [name for name in group if name in accepted and name != "params"]
        self._takes_found_inf = "found_inf" in accepted
        self._has_momentum = bool(group.get("momentum"))

    def _share_counters(self, kinds: Sequence[str], states: list[dict[str, Any]]) -> None:
        """Let the step counters that the kernel takes share their memory."""
        if "step" not in kinds:
            return
        counters = self._states[kinds.index("step")] = _share_memory(
            self._states[kinds.index("step")]
        )
        for state, counter in zip(states, counters, strict=True):
            state["step"] = counter

    def _alike(self) -> bool:
        """Whether all tensors except the step counters have one device and one type."""
        tensors = [*self._parameters, *(one for kind in self._states for one in kind if one.ndim)]
        return len({(tensor.device, tensor.dtype) for tensor in tensors}) == 1

    def gradients(self) -> list[Tensor] | None:
        """Return the gradients, or None if only `step` knows what to do with them."""
        if bool(self._settings.get("momentum")) is not self._has_momentum:
            return None
        found = []
        for parameter in self._parameters:
            gradient = parameter.grad
            if gradient is None or gradient.is_sparse:
                return None
            found.append(gradient)
        return found

    def update(self, gradients: list[Tensor], grad_scale: Tensor | None) -> None:
        """Update the parameters by their gradients."""
        group = self._settings
        settings = {name: group[name] for name in self._names}
        if "betas" in settings:
            settings["beta1"], settings["beta2"] = settings.pop("betas")
        if self._takes_found_inf:
            settings["found_inf"] = getattr(self._optimizer, "found_inf", None)
            settings["grad_scale"] = grad_scale
        self._function(self._parameters, gradients, *self._states, **settings)
