"""Remembers the inputs of the last forward pass of the user's own loop, to repeat it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from gradcli.gradients.non_finite import first_non_finite_output

# The arguments of a forward pass, and the autocast type around it (None without).
_Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any], torch.dtype | None]


class ForwardWatch:
    """Remembers the last forward pass that gradients may flow through.

    Args:
        device: where the model is.
        on_forward: is called before each such pass.
        autocast: whether to note the autocast type around it, too.
    """

    def __init__(
        self, device: torch.device, on_forward: Callable[[], None], *, autocast: bool
    ) -> None:
        self._device, self._on_forward, self._autocast = device, on_forward, autocast
        self._call: _Call | None = None

    def attach(self, model: nn.Module) -> list[RemovableHandle]:
        """Watch `model` as the loop calls it; one that was compiled in place cannot be watched."""
        if getattr(model, "_compiled_call_impl", None) is not None:
            return []
        return [model.register_forward_pre_hook(_Hook(self), with_kwargs=True)]

    def forget(self) -> None:
        """Release the inputs of the model."""
        self._call = None

    def first_non_finite(self, model: nn.Module) -> str | None:
        """Repeat the pass on a copy of `model`; return the first module with a non-finite output.

        None if there is none, or the pass is unknown or cannot be repeated.
        """
        if self._call is None:
            return None
        arguments, keywords, autocast = self._call
        device = self._device.type
        devices = [self._device] if device == "cuda" else []
        with (
            torch.random.fork_rng(devices=devices),
            torch.autocast(device, dtype=autocast, enabled=autocast is not None),
        ):
            try:
                return first_non_finite_output(model, lambda twin: twin(*arguments, **keywords))[0]
            except Exception:  # the user's own code may not survive being copied
                return None

    def note(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Remember a call of the model that gradients may flow through; its hook calls this."""
        autocast = None
        if self._autocast and torch.is_autocast_enabled(self._device.type):
            autocast = torch.get_autocast_dtype(self._device.type)
        self._call = arguments, keywords, autocast
        self._on_forward()


class _Hook:
    """A forward pre-hook that does nothing in deep copies and saved copies of its model."""

    def __init__(self, watch: ForwardWatch | None) -> None:
        self._watch = watch

    def __call__(
        self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> None:
        if self._watch is not None and torch.is_grad_enabled():
            self._watch.note(arguments, keywords)

    def __reduce__(self) -> tuple[type[_Hook], tuple[None]]:
        return _Hook, (None,)
