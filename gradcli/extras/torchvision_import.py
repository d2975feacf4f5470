"""torchvision, imported beside any build of torch: the only module that imports it."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import torch

#: torch, whose registry of operators is not typed.
_torch: Any = torch

#: Declarations of operators last as long as the object that made them.
_declarations: list[Any] = []


def import_torchvision(part: str) -> Any:
    """Import a part of torchvision, such as `datasets`, even if it was compiled for another torch.

    The package index has torchvision for Linux compiled for CUDA only. With a CPU build of torch
    its library of operators does not load, and the import fails with "operator torchvision::nms
    does not exist". Data sets and classifiers need no operator: declaring the two that the import
    looks for is enough.
    """
    if not _load_operators():
        _declare_missing_operators()
    with warnings.catch_warnings():
        # The image decoders, which nothing here uses, may fail to load with a warning.
        warnings.simplefilter("ignore")
        import torchvision
    return importlib.import_module(f"{torchvision.__name__}.{part}")


def _load_operators() -> bool:
    """Load torchvision's compiled operators as it will do itself; return False if that fails.

    This comes before declaring: loading an operator that is already declared ends the process. The
    library is called `_C`, and `_C_stable` from torchvision 0.29 on.
    """
    specification = importlib.util.find_spec("torchvision")
    if specification is None or not specification.submodule_search_locations:
        return False
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    folder = Path(specification.submodule_search_locations[0])
    libraries = [path for path in folder.glob("_C*") if path.name.endswith(suffixes)]
    try:
        for library in libraries:
            _torch.ops.load_library(str(library))
    except OSError:
        return False
    return bool(libraries)


def _declare_missing_operators() -> None:
    for operator in ("nms", "qnms"):
        if not hasattr(_torch.ops.torchvision, operator):
            library = _torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _declarations.append(library)
