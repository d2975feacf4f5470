"""What watches every operation of PyTorch: the dispatch mode, and which one is on top.

PyTorch documents these names for extending it, but keeps them in private modules.
"""

from __future__ import annotations

from typing import Any

from torch._C import _len_torch_dispatch_stack
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

__all__ = ["TorchDispatchMode", "current_dispatch_mode", "is_any_mode_active"]


def is_any_mode_active() -> bool:
    """Whether a dispatch mode is active."""
    return bool(_len_torch_dispatch_stack())


def current_dispatch_mode() -> Any:
    """Return the dispatch mode that sees operations first; None if there is none."""
    return _get_current_dispatch_mode()
