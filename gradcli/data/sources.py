"""The shipped data sets: where each one is looked for, and what replaces it.

The order is: a folder of IDX files on the disk, a download, and for `auto` the bundled sample.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from gradcli.data import idx, prepared
from gradcli.data.data_source import DataRequest, DataSource
from gradcli.data.dataset import Dataset, split_off
from gradcli.data.downloads import failures
from gradcli.data.downloads.download import DownloadError
from gradcli.data.downloads.torchvision_mnist import download, raw_folder
from gradcli.errors import UserError

#: The folder of the bundled sample: 5,000 digits of MNIST in MNIST's own format.
SAMPLE_FOLDER: Final = Path(__file__).parent / "mnist5k"

_SAMPLE_VAL: Final = 500
_AUTO: Final = "auto"
#: The options that read `data.folder`.
_OF_FOLDERS: Final = ("idx", "arrays", "images")


class Idx(DataSource):
    """A folder with the user's own IDX files. A sixth of the training images is for validation."""

    def load(self, request: DataRequest) -> Dataset:
        """Read `data.folder`."""
        if request.folder is None:
            raise UserError(
                "data=idx needs the folder of the IDX files.",
                where="data.folder",
                hint="data=idx data.folder=FOLDER",
            )
        return _read(request.folder, request, target_score=self.target_score)


class Mnist5k(DataSource):
    """The bundled sample of MNIST, split 4,000/500/500."""

    def load(self, request: DataRequest) -> Dataset:
        """Read the sample."""
        refuse_folder(request)
        return self.read(request)

    def read(self, request: DataRequest, note: str = "") -> Dataset:
        """Read the sample, with a note on why it is used."""
        val = _SAMPLE_VAL if request.val is None else request.val
        return _read(
            SAMPLE_FOLDER,
            request,
            val=val,
            note=note,
            target_score=self.target_score,
        )


class TorchvisionDigits(DataSource):
    """A data set in MNIST's format that torchvision knows: from the disk, or else a download."""

    option: str
    """The name of its folder and of its option."""
    torchvision_class: str
    system_folder: Path | None = None
    """Where a package of the operating system puts the files; None if there is none."""

    def load(self, request: DataRequest) -> Dataset:
        """Read the files, and download them first if there are none."""
        refuse_folder(request)
        try:
            return self.read(request, retry=True)
        except DownloadError as error:
            raise UserError(
                f"{self.option} is not on the disk and could not be downloaded ({error}).",
                where=str(request.data_dir),
                hint=f"data=mnist5k, the bundled sample; or put the files "
                f"{', '.join(idx.NAMES)} (plain or .gz) into {request.data_dir / self.option}",
            ) from error

    def read(self, request: DataRequest, *, retry: bool) -> Dataset:
        """Read the files, and download them first if there are none.

        Args:
            request: which data, and how to split it.
            retry: whether to download even if a download failed less than an hour ago.

        Raises:
            DownloadError: if the download fails.
            UserError: if only some of the files are on the disk.
        """
        folder = self._on_disk(request.data_dir) or self._download(request, retry=retry)
        return _read(folder, request, target_score=self.target_score)

    def _download(self, request: DataRequest, *, retry: bool) -> Path:
        if not retry and (reason := failures.recent(self.option, request.cache_dir)):
            raise DownloadError(reason)
        try:
            download(
                self.torchvision_class,
                request.data_dir,
                mirrors=request.mirrors,
                progress=request.progress,
            )
        except DownloadError as error:
            failures.remember(self.option, str(error), request.cache_dir)
            raise
        failures.forget(self.option, request.cache_dir)
        return raw_folder(self.torchvision_class, request.data_dir)

    def _on_disk(self, data_dir: Path) -> Path | None:
        """Return the folder that holds all four files; None if there is none.

        Raises:
            UserError: if one of the user's folders holds only some of them.
        """
        raw = raw_folder(self.torchvision_class, data_dir)
        folders = [data_dir / self.option, raw, data_dir]
        if self.system_folder is not None:
            folders.append(self.system_folder)
        found = {folder: idx.present(folder) for folder in folders}
        for folder, files in found.items():
            if len(files) == len(idx.NAMES):
                return folder
        for folder, files in found.items():
            # A download completes what torchvision left unfinished. What the user put somewhere
            # must not be silently ignored.
            if files and folder not in (raw, self.system_folder):
                idx.locate(folder)
        return None


class Mnist(TorchvisionDigits):
    """MNIST, the handwritten digits."""

    option = "mnist"
    torchvision_class = "MNIST"
    target_score = 0.97


class FashionMnist(TorchvisionDigits):
    """Fashion-MNIST, clothes in MNIST's format."""

    option = "fashion_mnist"
    torchvision_class = "FashionMNIST"
    #: Of Debian's package dataset-fashion-mnist.
    system_folder = Path("/usr/share/datasets/fashion-mnist")
    target_score = 0.87


class Auto(DataSource):
    """MNIST if it is available, and otherwise the bundled sample; `info.name` says which."""

    def load(self, request: DataRequest) -> Dataset:
        """Read MNIST or the sample."""
        refuse_folder(request)
        if request.name != _AUTO:
            raise UserError(
                f"data=auto is called by what it finds, mnist or mnist5k, not '{request.name}'.",
                where="data.name",
                hint=f"data=mnist data.name={request.name}, or data=mnist5k",
            )
        try:
            return Mnist().read(replace(request, name="mnist"), retry=False)
        except DownloadError as error:
            # data=mnist tells which mirror gave which reason.
            reasons = dict.fromkeys(part.split(": ", 1)[-1] for part in str(error).split("; "))
            note = (
                f"MNIST is not on the disk and could not be downloaded ({'; '.join(reasons)}). The "
                "bundled sample of 5,000 digits is used. data=mnist tries the download again."
            )
            return Mnist5k().read(replace(request, name="mnist5k"), note)


def _read(
    folder: Path,
    request: DataRequest,
    *,
    target_score: float,
    val: int | None = None,
    note: str = "",
) -> Dataset:
    """Read a folder of IDX files; without a `val`, a sixth is for validation."""
    data = prepared.load(folder, request.cache_dir / "prepared")
    val = request.val if val is None else val
    return split_off(
        data,
        len(data.train) // 6 if val is None else val,
        name=request.name,
        note=note,
        target_score=target_score,
    )


def refuse_folder(request: DataRequest) -> None:
    """Refuse `data.folder`, which only some data sets read.

    Raises:
        UserError: if it is given.
    """
    if request.folder is not None:
        raise UserError(
            f"Only {', '.join(f'data={one}' for one in _OF_FOLDERS)} read data.folder; "
            f"data={request.name} does not.",
            where="data.folder",
            hint=f"data=idx data.folder={request.folder}",
        )
