"""Keeps what hooks see in backward passes, and tells which passes made the gradients at hand.

A training step may run more backward passes than the one that its update is about: a generator's
through the discriminator, one for adversarial inputs, one for a gradient penalty. What counts is
told by the parameters' gradients: a pass counts if it added to them and they have not been cleared
since. Every part of an accumulation counts; a pass whose gradients were cleared does not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradcli.fast.backward_pass import current_backward_pass, forget_removed_hooks
from gradcli.gradients.shards import is_sharded, local_part


class Hook:
    """A hook that does nothing in copies of what it watches, nor in code being compiled.

    It never fails: it may meet anything in a loop that is not ours (tensors without values, of the
    user's own class, or inside `torch.func`), and no observation is worth ending a training for.
    What it would have observed is then unknown.

    Args:
        function: is called with the hook's arguments; None for nothing.
    """

    #: Saving a tensor with this hook is fine; PyTorch would warn that the hook is not saved.
    __torch_unserializable__ = True

    def __init__(self, function: Callable[..., object] | None) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> None:
        """Observe, and change nothing."""
        if self._function is None or torch.compiler.is_compiling():
            return
        try:
            self._function(*arguments)
        except Exception:  # see above
            return

    def __reduce__(self) -> tuple[type[Hook], tuple[None]]:
        return type(self), (None,)


class BackwardLog:
    """What was seen in the backward passes since the last update.

    Attributes:
        added: whether any pass added to a gradient of a watched parameter that is not sharded.
        kept: whether gradients from before the log began are still part of those at hand.
        kept_elsewhere: the keys of the other parameters that had such a gradient when a pass first
            added to it.
    """

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []
        self._hooked: list[nn.Parameter] = []
        self.restart()

    def restart(self) -> None:
        """Forget everything: an update was made."""
        self._events: list[tuple[int, Any, float]] = []
        self._adding: set[int] = set()
        self._added: set[int] = set()
        self.added = self.kept = False
        self.kept_elsewhere: set[int] = set()
        self._added_elsewhere: set[int] = set()

    def attach(
        self,
        parameters: Iterable[nn.Parameter],
        others: Mapping[int, nn.Parameter] | None = None,
    ) -> None:
        """Watch when gradients are added to those of `parameters`.

        One parameter of each layer is enough, as they are cleared together. Of the `others`, which
        another optimizer may update, it is only noted whether they were cleared.
        """
        self.detach()
        for key, other in (others or {}).items():
            if other.requires_grad and other.is_leaf:
                self._hooked.append(other)
                first = _BeforeElsewhere(self, key, other)
                self._handles.append(other.register_hook(first))  # type: ignore[no-untyped-call]
        for parameter in parameters:
            if not (parameter.requires_grad and parameter.is_leaf):
                continue
            self._hooked.append(parameter)
            before, after = _Before(self, parameter), _After(self)
            self._handles += [
                parameter.register_hook(before),  # type: ignore[no-untyped-call]
                parameter.register_post_accumulate_grad_hook(after),  # type: ignore[no-untyped-call]
            ]

    def detach(self) -> None:
        """Remove all hooks."""
        for handle in self._handles:
            handle.remove()
        for parameter in self._hooked:
            forget_removed_hooks(parameter)
        self._handles.clear()
        self._hooked.clear()

    def note(self, key: Any, value: float = 0.0) -> None:
        """Keep a value that a hook sees in the backward pass that is running."""
        self._events.append((current_backward_pass(), key, value))

    def counted(self) -> list[tuple[Any, float]]:
        """Return what was noted in the passes that count, in order.

        If no pass added to any gradient, the loop assigns gradients itself, as with
        `torch.autograd.grad`; then the last pass counts.
        """
        counting: Collection[int] = self._adding
        if not counting and self._events:
            counting = {self._events[-1][0]}
        return [(key, value) for number, key, value in self._events if number in counting]

    def before_adding(self, parameter: nn.Parameter) -> None:
        """A gradient of `parameter` is about to be added to what it has, if it is kept at all."""
        if _is_empty(parameter.grad):
            if id(parameter) in self._added:
                self._forget_before(current_backward_pass())
        elif id(parameter) not in self._added:
            self.kept = True

    def before_adding_elsewhere(self, key: int, parameter: nn.Parameter) -> None:
        """A gradient of one of the others is about to be added to what it has."""
        if key not in self._added_elsewhere:
            self._added_elsewhere.add(key)
            if not _is_empty(parameter.grad):
                self.kept_elsewhere.add(key)

    def after_adding(self, parameter: nn.Parameter) -> None:
        """A gradient of `parameter` was added."""
        self._adding.add(current_backward_pass())
        # Autograd never sees a shard, so nothing tells what it had before.
        self.added |= not is_sharded(parameter)
        if not _is_empty(parameter.grad):
            self._added.add(id(parameter))

    def _forget_before(self, number: int) -> None:
        """Forget the passes before this one, because the gradients that they made were cleared."""
        begun = [place for place, (of, _, _) in enumerate(self._events) if of == number]
        self._events = self._events[begun[0] :] if begun else []
        self._adding &= {of for of, _, _ in self._events} | {number}
        self._added.clear()
        self.kept = False


class _Before(Hook):
    """Tells a log before each time that a parameter's gradient grows."""

    def __init__(self, log: BackwardLog | None = None, parameter: Any = None) -> None:
        super().__init__(None if log is None else lambda _: log.before_adding(parameter))


class _BeforeElsewhere(Hook):
    """Tells a log before each time that the gradient of one of the others grows."""

    def __init__(self, log: BackwardLog | None = None, key: int = 0, parameter: Any = None) -> None:
        super().__init__(
            None if log is None else lambda _: log.before_adding_elsewhere(key, parameter)
        )


class _After(Hook):
    """Tells a log after each time that a parameter's gradient has grown."""

    def __init__(self, log: BackwardLog | None = None) -> None:
        super().__init__(None if log is None else log.after_adding)


@torch.no_grad()
def _is_empty(gradient: Tensor | None) -> bool:
    """Whether there is no gradient, or all its elements are zero; waits for the device."""
    if gradient is None:
        return True
    gradient = local_part(gradient)
    if gradient.is_sparse:
        gradient = gradient.coalesce().values()
    return not bool(gradient.any())
