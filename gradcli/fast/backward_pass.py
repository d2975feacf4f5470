"""Which backward pass is running."""

from __future__ import annotations

from collections.abc import Callable

import torch

_current: Callable[[], int] | None = getattr(torch._C, "_current_graph_task_id", None)


def current_backward_pass() -> int:
    """Return the number of the backward pass that this thread is in; -1 outside of one.

    Numbers grow, and no two passes share one. A pass that runs within another one, as
    checkpointing makes them, has its own. Without PyTorch's private counter, it is always -1.
    """
    return -1 if _current is None else _current()
