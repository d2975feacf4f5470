"""Python files that the user names: run as modules, up to where they begin to train.

A file that describes a problem often also trains it, in its last lines. Whoever only wants the
problem runs the file until it asks gradcli to train, compare or inspect, and no further.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType

_is_reading: ContextVar[bool] = ContextVar("is_reading", default=False)
_modules: dict[tuple[str, str], ModuleType] = {}


class _BeganToTrain(BaseException):
    """The file has come to where it trains: what it describes is there by now."""


def refuse_to_train_while_read() -> None:
    """End the file that calls this, if it is being read for what it describes."""
    if _is_reading.get():
        raise _BeganToTrain


def file_sha256(path: Path) -> str:
    """Return a hash of the content of a file.

    Raises:
        OSError: if it cannot be read.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_same_file(path: str, allowed: str) -> bool:
    """Whether something that the user allows is the Python file at `path`, not a package."""
    return allowed.endswith(".py") and os.path.realpath(path) == os.path.realpath(allowed)


def module_from_file(path: Path) -> ModuleType:
    """Run a Python file as a module, once per content; it may import its neighbours.

    The module has the name of the file, so that `if __name__ == "__main__":` does not hold.

    Raises:
        OSError: if the file cannot be read.
        Exception: whatever the file raises.
    """
    key = (str(path), file_sha256(path))
    if key not in _modules:
        _modules[key] = _run(path)
    return _modules[key]


def _run(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(specification)
    shadowed = sys.modules.get(path.stem)
    sys.modules[path.stem] = module  # dataclasses and pickles look their module up by name
    sys.path.insert(0, str(path.parent))
    reading = _is_reading.set(True)
    try:
        specification.loader.exec_module(module)
    except _BeganToTrain:
        pass
    except BaseException:
        sys.modules.pop(path.stem, None)
        if shadowed is not None:
            sys.modules[path.stem] = shadowed
        raise
    finally:
        _is_reading.reset(reading)
        sys.path.remove(str(path.parent))
    return module
