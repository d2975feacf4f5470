"""MNIST and similar data sets from torchvision.

torchvision knows the files, their checksums and the layout of their folder. Its own transfer has
no time-out and reports no progress, so `download` transfers the files, and torchvision's classes
verify, unpack and read them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from gradcli.data.downloads.download import DownloadError, DownloadProgress, Mirror, fetch
from gradcli.extras.torchvision_import import import_torchvision
from gradcli.system.windows import replace_file

#: The seconds that a failing download may take in all, including the import of torchvision...
PATIENCE: Final = 5.0
#: ... but the mirrors get at least these, even if that import is slow.
LEAST_PATIENCE: Final = 2.0


def raw_folder(class_name: str, data_folder: Path) -> Path:
    """Return the folder below `data_folder` in which torchvision keeps the files of a class."""
    return data_folder / class_name / "raw"


def download(
    class_name: str,
    data_folder: Path,
    *,
    mirrors: Sequence[str] | None = None,
    progress: Callable[[DownloadProgress], None] | None = None,
) -> None:
    """Download a data set into its `raw_folder`.

    Files appear under their names only once all of them are complete, verified and readable.

    Args:
        class_name: of the data set in torchvision, such as `MNIST`.
        data_folder: where data sets are kept.
        mirrors: where to download from; None is torchvision's mirrors.
        progress: called during the download.

    Raises:
        DownloadError: if it fails; the message gives the reason for each mirror.
    """
    begun = time.monotonic()
    try:
        dataset_class = getattr(import_datasets(), class_name)
    except Exception as error:
        # A broken installation fails in many ways; the bundled sample must work after all of them.
        raise DownloadError(f"torchvision cannot be imported: {error}") from error
    urls = dataset_class.mirrors if mirrors is None else mirrors
    patience = max(PATIENCE - (time.monotonic() - begun), LEAST_PATIENCE)
    sources = [Mirror(url, patience / len(urls)) for url in urls]
    try:
        data_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=data_folder) as staging:
            staged, final = (raw_folder(class_name, root) for root in (Path(staging), data_folder))
            staged.mkdir(parents=True)
            for file, md5 in dataset_class.resources:
                fetch(file, md5, sources, staged, progress)
            # It finds the files there, verifies their checksums, unpacks and reads them.
            dataset_class(staging, download=True)
            final.mkdir(parents=True, exist_ok=True)
            for path in staged.iterdir():
                replace_file(path, final / path.name)
    except OSError as error:
        raise DownloadError(
            f"{data_folder} cannot be written to: {error.strerror or error}"
        ) from error


@cache
def import_datasets() -> Any:
    """Import `torchvision.datasets`, even with a torch that torchvision was not compiled for."""
    return import_torchvision("datasets")
