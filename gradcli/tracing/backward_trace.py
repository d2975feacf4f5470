"""Finds the step of a backward pass that made the first non-finite gradient.

Autograd records a forward pass as a graph of nodes, and the backward pass runs them. Module hooks
tell which module each node belongs to; a hook on each node sees what it receives and returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.utils.hooks import RemovableHandle

from gradcli.tracing.causes import slope_cause
from gradcli.tracing.fault_place import Place
from gradcli.tracing.nested_tensors import all_finite, tensors_in
from gradcli.tracing.pass_trace import END, START

_MODEL = "(model)"
_LEAF = "AccumulateGrad"


class BackwardTrace:
    """Watches the nodes of a forward pass in the backward pass that follows it.

    Args:
        model: it must carry the hooks of `attach` in the forward pass.
        found: is called with `place` when it is known.

    Attributes:
        place: of the first node that was given finite gradients and returned others.
    """

    def __init__(self, model: nn.Module, found: Callable[[Place], None] | None = None) -> None:
        self._model, self._found = model, found
        self._names = {id(module): name or _MODEL for name, module in model.named_modules()}
        self.place: Place | None = None
        self._stack: list[str] = []
        self._last_returned = ""
        self._nodes: dict[Node, Place | None] = {}
        """None for what came before the model."""

    def attach(self) -> list[RemovableHandle]:
        """Hook every module of the model."""
        handles = []
        for module in self._model.modules():
            handles.append(module.register_forward_pre_hook(self._entered, with_kwargs=True))
            handles.append(module.register_forward_hook(self._left, always_call=True))
        return handles

    def enter_module(self, module: nn.Module, given: Any) -> None:
        """Note that `module` is called with the tensors in `given`."""
        name = self._names.get(id(module), type(module).__name__)
        self._mark(given, before=name)
        self._stack.append(name)
        self._last_returned = ""

    def leave_module(self, output: Any) -> None:
        """Note that the module called last returned `output`."""
        self._mark(output, before="")
        if self._stack:
            self._last_returned = self._stack.pop()

    def watch(self) -> None:
        """Watch all nodes known so far in the backward pass to come."""
        for node, place in self._nodes.items():
            if place is not None:
                node.register_hook(self._hook(place))
                self._nodes[node] = None

    def _entered(self, module: nn.Module, arguments: Any, keywords: Any) -> None:
        self.enter_module(module, (arguments, keywords))

    def _left(self, module: nn.Module, arguments: Any, output: Any) -> None:
        self.leave_module(output)

    def _mark(self, value: Any, before: str) -> None:
        """Give the nodes that led to `value`, and have no place yet, to the module at work."""
        module = self._stack[-1] if self._stack else None
        after = self._last_returned
        between = bool(after or before)
        waiting = [one.grad_fn for one in tensors_in(value) if one.grad_fn is not None]
        while waiting:
            node = waiting.pop()
            if node in self._nodes or node.name().endswith(_LEAF):
                continue
            self._nodes[node] = (
                Place(
                    "backward",
                    module,
                    node.name(),
                    after=(after or START) if between else "",
                    before=(before or END) if between else "",
                )
                if module or after
                else None
            )
            waiting += [one for one, _ in node.next_functions if one is not None]

    def _hook(self, place: Place) -> Callable[[Sequence[Any], Sequence[Any]], None]:
        def look(returned: Sequence[Tensor | None], given: Sequence[Tensor | None]) -> None:
            if self.place is None and all_finite(given) and not all_finite(returned):
                reason = slope_cause(place.operation)
                self.place = Place(
                    "backward",
                    place.layer,
                    place.operation,
                    reason,
                    after=place.after,
                    before=place.before,
                )
                if self._found is not None:
                    self._found(self.place)

        return look
