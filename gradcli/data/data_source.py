"""What a data set is to gradcli: a class that a YAML names and that loads three splits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradcli.data.dataset import OTHER_TARGET_ACCURACY, Dataset
from gradcli.data.downloads.download import DownloadProgress


@dataclass(frozen=True, slots=True)
class DataRequest:
    """What a config and a command ask of a data set."""

    name: str
    """The option that was chosen: `info.name` of the result."""
    val: int | None
    """How many training examples become the validation split; None is the data set's choice."""
    folder: Path | None
    """The folder with the user's own files: `data.folder`."""
    data_dir: Path
    """Where data sets are kept. Only a download writes to it."""
    cache_dir: Path
    """Where prepared files are kept."""
    progress: Callable[[DownloadProgress], None] | None = None
    """Called during a download."""
    mirrors: Sequence[str] | None = None
    """Where to download from, instead of the data set's own mirrors."""


class DataSource(ABC):
    """A data set that a config can name with `_target_`.

    The keyword arguments of the constructor are keys of its YAML, next to `val`, `folder`,
    `normalize` and `drop_last`, which every data set has. The constructor is cheap: `load` does
    the work.
    """

    target_score: float = OTHER_TARGET_ACCURACY
    """The validation accuracy to which a comparison times the optimizers if it tunes nothing."""

    @abstractmethod
    def load(self, request: DataRequest) -> Dataset:
        """Return the data set, the same one at every call.

        `dataset.split_dataset` makes it from training and test examples: it splits off `val`,
        computes the mean and the fingerprint, and names it `request.name`. Images are uint8
        (n, channels, height, width), labels int64 (n,), from 0.

        Raises:
            UserError: if the data is not available, or the request cannot be met.
        """
