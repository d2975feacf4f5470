"""From a data set's name to its tensors: where each one is looked for, and what stands in.

The order is: a folder of IDX files at hand, a download, and for `auto` the bundled sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import platformdirs

from gradcli.data import failures, idx, prepared
from gradcli.data.dataset import Dataset, split_off
from gradcli.data.download import DownloadError, DownloadProgress
from gradcli.data.torchvision_mnist import download, raw_folder
from gradcli.errors import UserError, nearest

#: What can be asked for.
NAMES: Final = ("auto", "mnist", "mnist5k", "fashion_mnist", "idx")

#: The folder of the bundled sample: 5,000 digits of MNIST in its own format.
SAMPLE_FOLDER: Final = Path(__file__).parent / "mnist5k"

_SAMPLE_VAL: Final = 500


def load_dataset(
    name: str,
    *,
    val: int | None = None,
    folder: Path | None = None,
    data_dir: Path | None = None,
    progress: Callable[[DownloadProgress], None] | None = None,
    mirrors: Sequence[str] | None = None,
    cache_dir: Path | None = None,
) -> Dataset:
    """Load a data set as tensors in memory, split into train, val and test.

    Args:
        name: one of `NAMES`. `auto` is MNIST where it can be had, and the bundled sample
            otherwise; `info.name` and `info.note` of the result then say so.
        val: how many training examples become the validation split. None is the data set's own
            choice: 500 for `mnist5k`, a sixth for the others (10,000 of MNIST's 60,000).
        folder: the folder of IDX files that `idx` reads.
        data_dir: where data sets are looked for and downloaded to; None is the folder `data` in
            the cache folder. Only a download writes to it.
        progress: is called as a download goes on.
        mirrors: where to download from, instead of torchvision's mirrors.
        cache_dir: where prepared files are kept; None is the platform's cache folder.

    Raises:
        UserError: the name is unknown, the data cannot be had, a file is broken, or `val` does
            not fit.
    """
    cache_dir = platformdirs.user_cache_path("gradcli") if cache_dir is None else cache_dir
    data_dir = cache_dir / "data" if data_dir is None else data_dir
    _check(name, folder)
    note = ""
    if name == "idx":
        if folder is None:
            raise UserError(
                "data=idx needs the folder of the IDX files",
                where="data.folder",
                hint="data=idx data.folder=FOLDER",
            )
    elif name == "mnist5k":
        folder = SAMPLE_FOLDER
    elif name == "auto":
        try:
            folder = _obtain("mnist", data_dir, cache_dir, mirrors, progress, retry=False)
            name = "mnist"
        except DownloadError as error:
            name, folder = "mnist5k", SAMPLE_FOLDER
            # Which mirror gave which reason is told to whoever asks for data=mnist.
            reasons = dict.fromkeys(part.split(": ", 1)[-1] for part in str(error).split("; "))
            note = (
                f"MNIST is not at hand and could not be downloaded ({'; '.join(reasons)}): the "
                "bundled sample of 5,000 digits is used. data=mnist tries the download again."
            )
    else:
        try:
            folder = _obtain(name, data_dir, cache_dir, mirrors, progress, retry=True)
        except DownloadError as error:
            raise UserError(
                f"{name} is not at hand and could not be downloaded ({error})",
                where=str(data_dir),
                hint=f"data=mnist5k, the bundled sample; or put the files "
                f"{', '.join(idx.NAMES)} (plain or .gz) into {data_dir / name}",
            ) from error

    source = prepared.load(folder, cache_dir / "prepared")
    if val is None:
        val = _SAMPLE_VAL if name == "mnist5k" else len(source.train) // 6
    return split_off(source, val, name=name, note=note)


def _check(name: str, folder: Path | None) -> None:
    if name not in NAMES:
        raise UserError(
            f"There is no data set named {name}",
            where="data.name",
            choices=nearest(name, NAMES) or NAMES,
        )
    if folder is not None and name != "idx":
        raise UserError(
            f"data.folder is read by data=idx alone, not by data={name}",
            where="data.folder",
            hint=f"data=idx data.folder={folder}",
        )


def _obtain(
    name: str,
    data_dir: Path,
    cache_dir: Path,
    mirrors: Sequence[str] | None,
    progress: Callable[[DownloadProgress], None] | None,
    *,
    retry: bool,
) -> Path:
    """Return the folder of a data set's files, which are downloaded where they are not at hand.

    With `retry`, the download is tried even if it failed a short while ago.

    Raises:
        DownloadError: the files cannot be had.
        UserError: some of them are at hand, but not all.
    """
    folder = _at_hand(name, data_dir)
    if folder is not None:
        return folder
    if not retry and (reason := failures.recent(name, cache_dir)):
        raise DownloadError(reason)
    try:
        download(name, data_dir, mirrors=mirrors, progress=progress)
    except DownloadError as error:
        failures.remember(name, str(error), cache_dir)
        raise
    failures.forget(name, cache_dir)
    return raw_folder(name, data_dir)


def _at_hand(name: str, data_dir: Path) -> Path | None:
    """Return the folder that holds a data set's files, without any download; None for none.

    Raises:
        UserError: a folder of the user's holds some of the files, but not all.
    """
    raw = raw_folder(name, data_dir)
    found = {folder: idx.present(folder) for folder in (data_dir / name, raw, data_dir)}
    for folder, files in found.items():
        if len(files) == len(idx.NAMES):
            return folder
    for folder, files in found.items():
        # What torchvision left unfinished, a download completes; what the user put somewhere
        # must not be passed over in silence.
        if files and folder != raw:
            idx.locate(folder)
    return None
