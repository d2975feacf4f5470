"""MNIST and its kin through torchvision: the only module that imports it.

torchvision knows where the files are, what their checksums are and how a folder of them looks.
Its own transfer has no time-out and no progress for a caller, so the transfer is ours
(`download`) and its classes then verify, unpack and read what came.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch

from gradcli.data.download import DownloadError, DownloadProgress, Mirror, fetch

#: Our names of data sets, and torchvision's of their classes.
CLASSES: Final = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}

#: The seconds that a failing download may cost in all, importing torchvision included...
PATIENCE: Final = 5.0
#: ... but on a machine where that import is slow, the mirrors have these at least.
LEAST_PATIENCE: Final = 2.0

#: torch, whose registry of operators is not typed.
_torch: Any = torch

#: Declarations of operators last as long as the object that made them.
_declarations: list[Any] = []


def raw_folder(name: str, data_folder: Path) -> Path:
    """Return the folder below `data_folder` where torchvision keeps a data set's files."""
    return data_folder / CLASSES[name] / "raw"


def download(
    name: str,
    data_folder: Path,
    *,
    mirrors: Sequence[str] | None = None,
    progress: Callable[[DownloadProgress], None] | None = None,
) -> None:
    """Download a data set into its `raw_folder`, from torchvision's mirrors unless told others.

    Files appear under their names only when all of them are there, verified and readable.

    Raises:
        DownloadError: it failed; the message says why, mirror by mirror.
    """
    begun = time.monotonic()
    try:
        dataset_class = getattr(import_datasets(), CLASSES[name])
    except Exception as error:
        # A broken installation fails in many ways, and each must leave the bundled sample usable.
        raise DownloadError(f"torchvision cannot be imported: {error}") from error
    urls = dataset_class.mirrors if mirrors is None else mirrors
    patience = max(PATIENCE - (time.monotonic() - begun), LEAST_PATIENCE)
    sources = [Mirror(url, patience / len(urls)) for url in urls]
    try:
        data_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=data_folder) as staging:
            staged, final = (raw_folder(name, root) for root in (Path(staging), data_folder))
            staged.mkdir(parents=True)
            for file, md5 in dataset_class.resources:
                fetch(file, md5, sources, staged, progress)
            # It finds the files in place, checks their sums, unpacks and reads them.
            dataset_class(staging, download=True)
            final.mkdir(parents=True, exist_ok=True)
            for path in staged.iterdir():
                path.replace(final / path.name)
    except OSError as error:
        raise DownloadError(
            f"{data_folder} cannot be written to: {error.strerror or error}"
        ) from error


@cache
def import_datasets() -> Any:
    """Import `torchvision.datasets`, beside a torch that it was not compiled for too.

    The package index has torchvision compiled for CUDA alone. Beside a CPU build of torch its
    library of operators does not load, and importing it then fails with "operator
    torchvision::nms does not exist". Reading MNIST needs none of them: declaring the two
    that it looks for is enough.
    """
    if not _load_operators():
        _declare_missing_operators()
    with warnings.catch_warnings():
        # The image decoders, which are not used here, may fail to load as well, with a warning.
        warnings.simplefilter("ignore")
        import torchvision.datasets
    return torchvision.datasets


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
