"""Loading a data set from Python, by its class or by the name of a shipped one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import platformdirs

from gradcli.data.data_source import DataRequest, DataSource
from gradcli.data.dataset import Dataset
from gradcli.data.downloads.download import DownloadProgress
from gradcli.data.file_sources import IdxArrays, ImageFolder, NpzFile, TableFile, TextFile
from gradcli.data.problem_source import ProblemSource
from gradcli.data.shipped.austen import Austen
from gradcli.data.shipped.mnist1d import Mnist1d
from gradcli.data.shipped.scikit_learn import BreastCancer, Digits
from gradcli.data.sources import Auto, FashionMnist, Idx, Mnist, Mnist5k
from gradcli.errors import UserError, exception_in_words, nearest, place_in_own_code

#: The shipped data sets, by the names of their files in `configs/data/`.
SHIPPED: Final[dict[str, type[DataSource]]] = {
    "auto": Auto,
    "mnist": Mnist,
    "mnist5k": Mnist5k,
    "fashion_mnist": FashionMnist,
    "mnist1d": Mnist1d,
    "austen": Austen,
    "digits": Digits,
    "breast_cancer": BreastCancer,
    "idx": Idx,
    "npz": NpzFile,
    "images": ImageFolder,
    "arrays": IdxArrays,
    "table": TableFile,
    "text": TextFile,
    "problem": ProblemSource,
}


def load_dataset(
    name: str,
    *,
    source: DataSource | None = None,
    val: int | None = None,
    folder: Path | None = None,
    data_dir: Path | None = None,
    progress: Callable[[DownloadProgress], None] | None = None,
    mirrors: Sequence[str] | None = None,
    cache_dir: Path | None = None,
) -> Dataset:
    """Load a data set as tensors in memory, split into train, val and test.

    Args:
        name: of the data set; without a `source`, one of `SHIPPED`. `auto` is MNIST if it is
            available, and the bundled sample otherwise; `info.name` and `info.note` then say so.
        source: what loads it.
        val: how many training examples become the validation split. None is the data set's own
            choice: 500 for `mnist5k`, a sixth for the other shipped ones (10,000 of MNIST's
            60,000).
        folder: that `idx`, `arrays` and `images` read.
        data_dir: where data sets are looked for and downloaded to; None is the folder `data` in
            the cache folder. Only a download writes to it.
        progress: called during a download.
        mirrors: where to download from, instead of torchvision's mirrors.
        cache_dir: where prepared files are kept; None is the platform's cache folder.

    Raises:
        UserError: if the name is unknown, the data is not available, a file is broken, `val` is
            too large, or a class of the user's own raises any exception.
    """
    if source is None:
        if name not in SHIPPED:
            raise UserError(
                f"There is no data set named '{name}'.",
                where="data.name",
                choices=nearest(name, SHIPPED) or tuple(SHIPPED),
            )
        source = SHIPPED[name]()
    cache_dir = platformdirs.user_cache_path("gradcli") if cache_dir is None else cache_dir
    request = DataRequest(
        name=name,
        val=val,
        folder=folder,
        data_dir=cache_dir / "data" if data_dir is None else data_dir,
        cache_dir=cache_dir,
        progress=progress,
        mirrors=mirrors,
    )
    dataset = _load(source, request)
    if not isinstance(dataset, Dataset):
        raise UserError(
            f"{type(source).__name__}.load returned a {type(dataset).__name__}, not a Dataset.",
            where=f"data={name}",
            hint="return gradcli.data.split_dataset(...)",
        )
    return dataset


def _load(source: DataSource, request: DataRequest) -> Dataset:
    """Let a source load its data.

    Raises:
        UserError: the source's own; if its class is not a shipped one, for any other exception
            too, which is then the cause.
    """
    try:
        return source.load(request)
    except UserError:
        raise
    except Exception as error:
        if type(source) in SHIPPED.values():
            raise  # ours to mend
        raise UserError(
            f"{type(source).__name__}.load failed: {exception_in_words(error)}",
            where=place_in_own_code(error) or f"data={request.name}",
        ) from error
