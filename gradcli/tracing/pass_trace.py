"""Traces the operations of a forward pass to the one that made the first non-finite value.

A dispatch mode sees every operation, and module hooks tell which module is at work. Not every
non-finite value is a fault: masks are -inf on purpose. So a value only counts once a module returns
NaN, or an infinity that nobody asked for. From there the trace goes back through the operations
that handed it on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradcli.fast.backward_pass import current_backward_pass
from gradcli.fast.dispatch import TorchDispatchMode
from gradcli.tracing.causes import cause, is_fully_masked
from gradcli.tracing.fault_place import Place
from gradcli.tracing.nested_tensors import (
    is_plain,
    named_tensors,
    numbers_in,
    storage_of,
    tensors_in,
)

# What these return is not initialised, so it means nothing.
_ALLOCATIONS = frozenset({"empty", "empty_like", "empty_strided", "new_empty", "resize"})
_MODEL = "(model)"
#: As `Place.after` and `Place.before`: the ends of the module whose own operation it was.
START, END = "its inputs", "its outputs"
#: The cause, if it is not a parameter but a buffer that was not finite before the pass.
BUFFER = "a buffer, as an earlier pass or the loading of the weights left it"
TARGETS = "a tensor given to the loss, such as the targets"


@dataclass(slots=True)
class _Event:
    """An operation that returned a non-finite value."""

    operation: str
    module: str | None
    """The innermost module at work; None outside all."""
    has_nan: bool
    inputs: list[_Input]
    """Those that are not finite."""
    cause: str
    deliberate: bool
    """Whether the infinity is a constant in the code, as in a mask."""
    fully_masked: bool
    after: str
    """The module of the same parent that had returned last; empty for none."""
    before: str = ""
    """The module of the same parent that was called next."""


@dataclass(slots=True)
class _Input:
    """A non-finite tensor that an operation was given."""

    has_nan: bool
    event: _Event | None
    """What made it, if that was seen."""
    parameter: Place | None = None
    """The place, if it is a parameter or a buffer."""
    size: int = 0
    argument: str = ""
    """Its name among the arguments of the model."""


@dataclass(slots=True)
class _Frame:
    """A module at work."""

    name: str
    last_returned: str = ""


@dataclass(slots=True)
class PassFinding:
    """What a trace has found in one pass.

    `nan` is the origin of the first NaN that a module returned, and `infinity` that of the first
    infinity, if nobody asked for it.
    """

    nan: Place | None = None
    infinity: Place | None = None

    @property
    def place(self) -> Place | None:
        """Where the fault is, if there is any."""
        return self.nan or self.infinity


class PassTrace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Finds the first non-finite value of a forward pass; use it as a context around the pass.

    Args:
        model: it must carry the hooks of `attach` in the pass.

    Attributes:
        finding: what was found.
        entered: the modules' names in the order of their calls.
        reads: the storages that operations were given; None, the default, to collect none.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._model = model
        self.reads: set[int] | None = None
        self.names = {id(module): name or _MODEL for name, module in model.named_modules()}
        self.begin({})

    def begin(self, arguments: Mapping[str, Any]) -> None:
        """Forget the pass before; `arguments` are those of the model, by name."""
        self.finding = PassFinding()
        self.entered: list[str] = []
        self._stack: list[_Frame] = []
        self._outside = _Frame("")
        self._events: dict[int, tuple[_Event, Tensor]] = {}
        self._awaiting: list[tuple[_Frame, _Event]] = []
        self._arguments = {
            storage_of(tensor): name
            for argument, value in arguments.items()
            for name, tensor in named_tensors(value, argument)
            if is_plain(tensor)
        }
        self._parameters: dict[int, Place] | None = None
        self._last_outside: _Event | None = None
        self.active = True

    def attach(self) -> list[RemovableHandle]:
        """Hook every module of the model."""
        handles = []
        for module in self._model.modules():
            handles.append(module.register_forward_pre_hook(self._entered))
            handles.append(module.register_forward_hook(self._left, always_call=True))
        return handles

    @property
    def depth(self) -> int:
        """The number of modules at work."""
        return len(self._stack)

    def after_the_model(self) -> Place | None:
        """Return the origin of what was computed last after the model, if it is not finite."""
        if self._last_outside is None:
            return None
        return self._origin(self._last_outside)

    def enter_module(self, module: nn.Module) -> None:
        """Note that `module` is called."""
        parent = self._stack[-1] if self._stack else self._outside
        name = self.names.get(id(module), type(module).__name__)
        for frame, event in self._awaiting:
            if frame is parent and not event.before:
                event.before = name
        self._awaiting = [pair for pair in self._awaiting if not pair[1].before]
        self._stack.append(_Frame(name))
        self.entered.append(name)

    def leave_module(self, module: nn.Module, output: Any) -> None:
        """Note that `module` returned `output`."""
        if self._stack:
            name = self._stack.pop().name
            (self._stack[-1] if self._stack else self._outside).last_returned = name
        if not self.active:
            return
        for event, tensor in self._events_of(output):
            if bool(torch.isnan(tensor).any()):
                self.finding.nan = self._origin(event)
                # All that follows is a consequence, and need not be kept.
                self.active = False
                self._events = {}
                return
            if self.finding.infinity is None and bool(torch.isinf(tensor).any()):
                source = self._source(event)
                if not self._is_on_purpose(source):
                    self.finding.infinity = self._described(source, event)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        keywords = kwargs or {}
        if self.reads is not None:
            self.reads.update(storage_of(one) for one in tensors_in(args) if is_plain(one))
        operation = func.overloadpacket.__name__.removesuffix("_")
        if not self.active or operation in _ALLOCATIONS or in_backward():
            return func(*args, **keywords)
        earlier = args
        if func._schema.is_mutable:  # the inputs will have changed when the result is known
            earlier = tuple(
                one.clone() if isinstance(one, Tensor) and is_plain(one) else one for one in args
            )
        result = func(*args, **keywords)
        for tensor in tensors_in(result):
            if is_plain(tensor) and not bool(torch.isfinite(tensor).all()):
                self._note(operation, args, earlier, keywords, tensor)
        return result

    def _entered(self, module: nn.Module, arguments: Any) -> None:
        self.enter_module(module)

    def _left(self, module: nn.Module, arguments: Any, output: Any) -> None:
        self.leave_module(module, output)

    def _note(
        self,
        operation: str,
        arguments: tuple[Any, ...],
        earlier: tuple[Any, ...],
        keywords: dict[str, Any],
        result: Tensor,
    ) -> None:
        """Keep an operation whose `result` is not finite."""
        has_nan = bool(torch.isnan(result).any())
        inputs = [
            self._input(tensor, values)
            for tensor, values in zip(
                tensors_in((arguments, keywords)), tensors_in((earlier, keywords)), strict=True
            )
            if is_plain(values) and not bool(torch.isfinite(values).all())
        ]
        born = not any(one.has_nan for one in inputs) if has_nan else not inputs
        constants = numbers_in((earlier, keywords))
        frame = self._stack[-1] if self._stack else self._outside
        fully_masked = born and bool(inputs) and is_fully_masked(operation, earlier)
        event = _Event(
            operation,
            self._stack[-1].name if self._stack else None,
            has_nan,
            inputs,
            cause(operation, [*earlier, *keywords.values()], result) if born else "",
            deliberate=not has_nan and any(math.isinf(one) for one in constants),
            fully_masked=fully_masked,
            after=frame.last_returned,
        )
        self._events[storage_of(result)] = event, result
        if not self._stack:
            self._last_outside = event
        if born:
            self._awaiting.append((frame, event))

    def _input(self, tensor: Tensor, values: Tensor) -> _Input:
        key, size = storage_of(tensor), tensor.numel()
        has_nan = bool(torch.isnan(values).any())
        event = self._events[key][0] if key in self._events else None
        if event is None:
            place, argument = self._owners().get(key), self._arguments.get(key, "")
            return _Input(has_nan, None, place, size, argument)
        # What was made of a parameter alone, such as its transpose, stands for it.
        only = event.inputs[0] if len(event.inputs) == 1 else None
        return only if only is not None and only.parameter else _Input(has_nan, event, size=size)

    def _owners(self) -> dict[int, Place]:
        """Return the places of parameters and buffers, by storage."""
        if self._parameters is None:
            self._parameters = {}
            for name, module in self._model.named_modules():
                own = [
                    *((*pair, "") for pair in module.named_parameters(recurse=False)),
                    *((*pair, BUFFER) for pair in module.named_buffers(recurse=False)),
                ]
                for tensor_name, tensor, reason in own:
                    if is_plain(tensor):
                        full = f"{name}.{tensor_name}" if name else tensor_name
                        place = Place("parameters", name or _MODEL, cause=reason, tensor=full)
                        self._parameters.setdefault(storage_of(tensor), place)
        return self._parameters

    def _events_of(self, output: Any) -> Iterator[tuple[_Event, Tensor]]:
        for tensor in tensors_in(output):
            if is_plain(tensor) and storage_of(tensor) in self._events:
                yield self._events[storage_of(tensor)][0], tensor

    def _source(self, event: _Event) -> _Event | _Input:
        """Go back from an operation to the one that made the value, or to what was given."""
        while True:
            nans = [one for one in event.inputs if one.has_nan]
            carriers = nans if event.has_nan and nans else event.inputs
            if event.has_nan and not nans:  # NaN out of infinities, or out of finite numbers
                if event.fully_masked:
                    return event
                carriers = [one for one in carriers if not self._is_deliberate(one)]
            if not carriers:
                return event
            # A parameter is there before the pass; a layer's weight comes before its bias.
            carriers = sorted(carriers, key=lambda one: (one.parameter is None, -one.size))
            if carriers[0].event is None:
                return carriers[0]
            event = carriers[0].event

    def _is_deliberate(self, given: _Input) -> bool:
        """Whether an infinity is one that the code asked for, or a constant."""
        return self._is_on_purpose(given if given.event is None else self._source(given.event))

    def _is_on_purpose(self, source: _Event | _Input) -> bool:
        if isinstance(source, _Event):
            return source.deliberate
        is_buffer = source.parameter is not None and source.parameter.cause == BUFFER
        return not source.has_nan and (is_buffer or not (source.parameter or source.argument))

    def has_read(self, tensors: Iterable[Tensor]) -> bool:
        """Whether an operation was given one of `tensors`."""
        reads = self.reads or set()
        return any(is_plain(one) and storage_of(one) in reads for one in tensors)

    def _origin(self, event: _Event) -> Place:
        return self._described(self._source(event), event)

    def _described(self, source: _Event | _Input, seen: _Event) -> Place:
        if isinstance(source, _Input):
            if source.parameter is not None:
                return source.parameter
            if source.argument:
                return Place("inputs", tensor=source.argument)
            if seen.module is None:
                return Place("inputs", tensor=TARGETS)
            return Place("forward", seen.module, seen.operation, "a constant that is not finite")
        if source.module is None and not source.before:
            return Place("loss", None, source.operation, source.cause)
        # Without children around it, the operation is simply the module's own.
        between = bool(source.after or source.before)
        return Place(
            "forward",
            source.module,
            source.operation,
            source.cause,
            after=(source.after or (START if source.module else "the model's inputs"))
            if between
            else "",
            before=(source.before or END) if between else "",
        )


def in_backward() -> bool:
    """Whether a backward pass is running, in which a checkpoint repeats forward passes."""
    return current_backward_pass() != -1
