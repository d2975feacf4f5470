"""Repeats a forward pass of a model, and its backward pass, to find a non-finite value.

The model itself is run again, because many cannot be copied. `state_kept` undoes what that changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gradcli.fast.dispatch import TorchDispatchMode
from gradcli.tracing.backward_trace import BackwardTrace
from gradcli.tracing.fault_place import Place
from gradcli.tracing.kept_state import state_kept
from gradcli.tracing.nested_tensors import mapped, tensors_in
from gradcli.tracing.pass_trace import PassTrace

# Of the made-up gradient w.r.t. the outputs: any values do that are neither 0 nor alike.
_SEED = 20_000
_STATEFUL = "the model's output may depend on the passes before"


# The operations by which processes communicate; other processes do not take part in a repetition.
_COLLECTIVES = frozenset({"c10d", "_c10d_functional"})


class _NeedsOthersError(Exception):
    """A pass communicates with other processes, so that repeating it alone would wait for ever."""


class _Alone(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises before an operation that other processes must take part in."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.namespace in _COLLECTIVES:
            raise _NeedsOthersError
        return func(*args, **(kwargs or {}))


@dataclass(slots=True)
class Call:
    """A call of a model, or of one of its modules, as it can be repeated."""

    module: nn.Module
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    autocast: torch.dtype | None = None
    """The type of the autocast around it; None without."""
    random_state: Tensor | None = None
    """Of the CPU's generator before the call; None if it is not known."""
    device_state: Tensor | None = None
    """Of the generator of a CUDA device."""
    versions: tuple[int, ...] = field(default=())
    """The version counters of the tensors among the arguments, and of some weights."""

    def changed(self, weights: tuple[Tensor, ...]) -> bool:
        """Whether a tensor of `versions` has changed since."""
        return bool(self.versions) and self.versions != versions_of(
            self.arguments, self.keywords, weights
        )


@dataclass(slots=True)
class Repeated:
    """What a repeated pass shows."""

    forward: Place | None = None
    """Where the first non-finite value of the forward pass is."""
    loss: Tensor | None = None
    """As `loss_of` returns it."""
    backward: Place | None = None
    """Where the first non-finite gradient is, if it was looked for."""
    broken: frozenset[str] = frozenset()
    """The parameters whose gradients are not finite in the repeated backward pass."""
    order: tuple[str, ...] = ()
    """The modules in the order of their calls."""
    largest_output: float = 0.0
    """The largest magnitude among the outputs."""
    unsure: str = ""
    """Why the pass may differ from the one repeated; empty if it cannot."""


def versions_of(
    arguments: tuple[Any, ...], keywords: dict[str, Any], weights: tuple[Tensor, ...]
) -> tuple[int, ...]:
    """Return the version counters of the tensors among the arguments, and of `weights`."""
    given = [*arguments, *keywords.values()] if keywords else arguments
    try:
        return tuple([one._version for one in (*given, *weights) if isinstance(one, Tensor)])
    except RuntimeError:  # tensors made in inference mode have none
        return ()


def repeat(
    model: nn.Module,
    call: Call,
    device: torch.device,
    loss_of: Callable[[Any], Tensor] | None = None,
) -> Repeated:
    """Repeat a call of `model` or of one of its modules, and look for a non-finite value.

    Args:
        model: in the state in which the call was made, as far as that still exists. It is left as
            it was found.
        call: the call.
        device: where the model is.
        loss_of: computes the loss from the outputs. Without it, the backward pass begins with
            made-up gradients: they show derivatives that do not exist, but not an overflow.
    """
    repeated = Repeated()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the pass itself has given them
            _repeat(model, call, device, loss_of, repeated)
    except _NeedsOthersError:
        repeated.unsure = "one process cannot repeat a pass in which several communicate"
    except Exception as error:  # the user's own code may not survive being run again
        repeated.unsure = f"the pass cannot be repeated ({type(error).__name__})"
    return repeated


def _repeat(
    model: nn.Module,
    call: Call,
    device: torch.device,
    loss_of: Callable[[Any], Tensor] | None,
    repeated: Repeated,
) -> None:
    with state_kept(model, device) as changes, torch.enable_grad():
        first, trace = _outputs(model, call, device, loss_of, repeated)
        trusted = [one.detach().clone() for one in tensors_in(first)]
    if trace.has_read(changes.replaced):
        repeated.unsure = _STATEFUL
        return
    if repeated.forward is not None:
        if changes.seen and not _is_found_again(model, call, device, repeated.forward):
            repeated.unsure = _STATEFUL
        return
    if repeated.broken:
        return
    if changes.random and call.random_state is None:
        repeated.unsure = "the random numbers of the pass are not known"
    if repeated.unsure or not changes.seen:
        return
    if changes.counted:
        repeated.unsure = _STATEFUL
        return
    # The model changes its own state in a pass. It does not matter if the outputs stay the same.
    with state_kept(model, device), torch.no_grad():
        for _ in range(2):
            second = [*tensors_in(_called(call, device))]
    if len(second) != len(trusted) or not all(
        torch.equal(one, other) for one, other in zip(second, trusted, strict=True)
    ):
        repeated.unsure = _STATEFUL


def _is_found_again(model: nn.Module, call: Call, device: torch.device, place: Place) -> bool:
    """Whether one more pass, from the state that the first one left, finds the same place."""
    with state_kept(model, device), torch.enable_grad():
        _called(call, device)
        again = Repeated()
        _outputs(model, call, device, None, again)
    return again.forward is not None and (again.forward.layer, again.forward.operation) == (
        place.layer,
        place.operation,
    )


def _outputs(
    model: nn.Module,
    call: Call,
    device: torch.device,
    loss_of: Callable[[Any], Tensor] | None,
    repeated: Repeated,
) -> tuple[Any, PassTrace]:
    """Run the pass with traces, and fill in what they find."""
    trace, graph = PassTrace(model), BackwardTrace(model)
    trace.reads = set()
    copied = _copied(call)
    names = argument_names(call.module, copied.arguments)
    trace.begin({**dict(zip(names, copied.arguments, strict=True)), **copied.keywords})
    handles = [*trace.attach(), *graph.attach()]
    try:
        with trace:
            outputs = _called(copied, device, copy=False)
    finally:
        for handle in handles:
            handle.remove()
    repeated.forward, repeated.order = trace.finding.place, tuple(trace.entered)
    if repeated.forward is not None:
        return outputs, trace
    repeated.largest_output = max(
        (float(one.detach().abs().max()) for one in tensors_in(outputs) if one.numel()), default=0.0
    )
    if loss_of is not None:
        repeated.loss = loss_of(outputs)
        if not bool(torch.isfinite(repeated.loss).all()):
            return outputs, trace
        roots = [repeated.loss]
        gradients = [torch.ones_like(repeated.loss)]
    else:
        roots = [one for one in tensors_in(outputs) if one.requires_grad]
        generator = torch.Generator().manual_seed(_SEED)
        gradients = [
            torch.randn(one.shape, generator=generator).to(one.device, one.dtype) for one in roots
        ]
    parameters = {name: one for name, one in model.named_parameters() if one.requires_grad}
    if not roots or not parameters:
        return outputs, trace
    graph.watch()
    found = torch.autograd.grad(
        roots, [*parameters.values()], gradients, allow_unused=True, retain_graph=False
    )
    repeated.backward = graph.place
    repeated.broken = frozenset(
        name
        for name, gradient in zip(parameters, found, strict=True)
        if gradient is not None
        and gradient.layout == torch.strided
        and not bool(torch.isfinite(gradient).all())
    )
    return outputs, trace


def _called(call: Call, device: torch.device, *, copy: bool = True) -> Any:
    """Make the call, with the random states that it had."""
    if call.random_state is not None:
        torch.set_rng_state(call.random_state)
    if call.device_state is not None:
        torch.cuda.set_rng_state(call.device_state, device)
    if copy:
        call = _copied(call)
    autocast = call.autocast
    with (
        _Alone(),  # type: ignore[no-untyped-call]
        torch.autocast(device.type, dtype=autocast, enabled=autocast is not None),
    ):
        return call.module(*call.arguments, **call.keywords)


def _copied(call: Call) -> Call:
    """Return the call with copies of its tensors, which the pass may change."""

    def copy(tensor: Tensor) -> Tensor:
        return tensor.detach().clone().requires_grad_(tensor.requires_grad)

    return Call(
        call.module,
        mapped(call.arguments, copy),
        mapped(call.keywords, copy),
        call.autocast,
        call.random_state,
        call.device_state,
    )


def argument_names(module: nn.Module, arguments: tuple[Any, ...]) -> list[str]:
    """Name the arguments of a call as the module's `forward` does, or else by their places."""
    code = getattr(
        getattr(type(module).forward, "__wrapped__", type(module).forward), "__code__", None
    )
    names = list(code.co_varnames[1 : code.co_argcount]) if code is not None else []
    return [
        names[index] if index < len(names) else f"input {index + 1}"
        for index in range(len(arguments))
    ]
