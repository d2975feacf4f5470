"""A command-line laboratory for gradients: see what they do in every layer that trains.

`train` does what `gradcli train` does; `load_run` opens a run directory. Importing this
package is light: the heavy parts load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradcli.api import train
    from gradcli.errors import UserError
    from gradcli.runs import Run, load_run

__version__ = "0.1.0"
__all__ = ["Run", "UserError", "load_run", "train"]

_HOMES = {
    "Run": "gradcli.runs",
    "UserError": "gradcli.errors",
    "load_run": "gradcli.runs",
    "train": "gradcli.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gradcli' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
