"""Remembers the forward passes of the user's own loop since its last update, to repeat them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradcli.monitor.wrappers import is_compiled
from gradcli.records import LayerInfo
from gradcli.tracing.fault_place import Place
from gradcli.tracing.non_finite import ends_of, locate_fault_in_passes
from gradcli.tracing.pass_trace import in_backward
from gradcli.tracing.replay import Call, versions_of

# Passes that are remembered: all of an accumulation, as a rule. A loop that evaluates without
# `torch.no_grad` would otherwise fill the memory with its inputs.
_MOST_CALLS = 64
# Copying the state of the random generator is half of what a note costs. A model that has drawn no
# random numbers in its first passes is taken for one that never does; if it does after all, the
# repeated pass shows that, and its result is called uncertain.
_PASSES_UNTIL_SETTLED = 16
_AUTOCAST = torch.is_autocast_enabled
# The fields of a `Call`, which are noted in a tuple because that is quicker.
_Noted: TypeAlias = tuple[
    nn.Module,
    tuple[Any, ...],
    dict[str, Any],
    torch.dtype | None,
    Tensor | None,
    Tensor | None,
    tuple[int, ...],
]


class ForwardWatch:
    """Remembers the forward passes that gradients may flow through, until they are measured.

    It keeps references to their inputs, and no copies. Calls of the model are watched; if the loop
    calls `model.forward`, or the model's modules one by one, those of the modules.

    Args:
        model: without the wrappers around it.
        layers: of the model.
        device: where it is.
        on_forward: is called before each such pass.
        waits: whether the loop waits for the device at each step, so that a fault is known in time
            to repeat its pass there.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: tuple[LayerInfo, ...],
        device: torch.device,
        on_forward: Callable[[], None],
        *,
        waits: bool,
    ) -> None:
        self._model, self._layers, self._device = model, layers, device
        self._on_forward = on_forward
        self._ends = ends_of((*model.parameters(),))
        self._cuda = device if device.type == "cuda" and waits else None
        self._calls: deque[_Noted] = deque(maxlen=_MOST_CALLS)
        self._kind = device.type
        self._get_state = torch.default_generator.get_state
        self._saves_state = True
        self._passes_without_random = 0
        self._made = 0
        self._repeats = False
        self._of_modules: list[RemovableHandle] = []

    def attach(self, outer: nn.Module) -> list[RemovableHandle]:
        """Watch the model as the loop calls it: `outer` is the model, or a wrapper around it.

        A model that was compiled in place cannot be watched.
        """
        if getattr(outer, "_compiled_call_impl", None) is not None:
            return []
        handles = [outer.register_forward_pre_hook(_Hook(self, None), with_kwargs=True)]
        if not is_compiled(outer):  # hooks in compiled code would be compiled with it
            self._of_modules = [
                module.register_forward_pre_hook(_Hook(self, module), with_kwargs=True)
                for module in _callable_children(self._model)
            ]
        return handles + self._of_modules

    def settle(self) -> None:
        """End what may still be watched of the passes; they are about to be measured."""
        if self._saves_state and self._passes_without_random < _PASSES_UNTIL_SETTLED:
            self._see_whether_random()

    def forget(self) -> None:
        """Release the inputs of the passes that have been measured."""
        self._calls.clear()

    def updated(self) -> None:
        """Begin the passes of the next update."""
        self._calls.clear()
        self._made = 0

    def place(self, loss: float, loss_graph: Tensor | None, broken: frozenset[str]) -> Place:
        """Repeat the passes, and find the first non-finite value.

        Args:
            loss: of the step.
            loss_graph: the loss as a tensor, if the loop gave one.
            broken: the names of the parameters whose gradients are not finite.
        """
        self._repeats = True
        try:
            return locate_fault_in_passes(
                self._model,
                self._layers,
                [Call(*noted) for noted in self._calls],
                self._device,
                loss=loss,
                loss_graph=loss_graph,
                broken=broken,
                made_before=self._made - len(self._calls),
            )
        finally:
            self._repeats = False

    def note(
        self, module: nn.Module | None, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> None:
        """Remember a call of a module, None for the model; its hook calls this."""
        if self._repeats:
            return
        if module is None:
            module = self._model
            if self._of_modules:
                self._forget_modules()
        kind = self._kind
        self._made += 1
        self._calls.append(
            (
                module,
                arguments,
                keywords,
                torch.get_autocast_dtype(kind) if _AUTOCAST(kind) else None,
                self._get_state() if self._saves_state else None,
                None if self._cuda is None else torch.cuda.get_rng_state(self._cuda),
                versions_of(arguments, keywords, self._ends),
            )
        )
        self._on_forward()

    def _see_whether_random(self) -> None:
        """Stop copying random states once enough passes have drawn no random number."""
        if not self._calls:
            return
        state = self._calls[0][4]
        if state is None or not torch.equal(state, self._get_state()):
            self._passes_without_random = _PASSES_UNTIL_SETTLED
            return
        self._passes_without_random += 1
        self._saves_state = self._passes_without_random < _PASSES_UNTIL_SETTLED

    def _forget_modules(self) -> None:
        """Stop watching the modules: the loop calls the model."""
        for handle in self._of_modules:
            handle.remove()
        self._of_modules.clear()


class _Hook:
    """A forward pre-hook that does nothing in deep copies and saved copies of its model."""

    def __init__(self, watch: ForwardWatch | None, module: nn.Module | None) -> None:
        self._watch, self._module = watch, module

    def __call__(
        self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> None:
        if self._watch is None or torch.compiler.is_compiling():
            return
        if torch.is_grad_enabled() and not in_backward():
            self._watch.note(self._module, arguments, keywords)

    def __reduce__(self) -> tuple[type[_Hook], tuple[None, None]]:
        return _Hook, (None, None)


def _callable_children(model: nn.Module) -> Sequence[nn.Module]:
    """Return the modules that a loop may call one by one: the children, also those in lists."""
    found: list[nn.Module] = []
    for child in model.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            found += _callable_children(child)
        else:
            found.append(child)
    return found
