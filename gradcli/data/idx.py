"""Reads the folder of four IDX files in which MNIST is published, and sets of the same form.

`formats.read_idx` reads a file; of these four only unsigned bytes are taken, plain or gzipped.
Anything wrong with a file is a `UserError` that names it.

Programs that unpack the published files give them other names: `train-images.idx3-ubyte`, which is
the name that the `.gz` file remembers, or a folder `train-images-idx3-ubyte` that holds the file.
These are read too.
"""

from __future__ import annotations

import filecmp
import os
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch

from gradcli.data.dataset import Split
from gradcli.data.formats.idx_arrays import read_idx
from gradcli.errors import UserError

#: Images and labels of the training set, then of the test set.
NAMES: Final = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

# How the files begin: unsigned bytes in three dimensions, and in one.
_IMAGES: Final = bytes.fromhex("00000803")
_LABELS: Final = bytes.fromhex("00000801")
# In an error about a folder without the files.
_NAMES_SHOWN: Final = 8
_FOLDERS_TRIED: Final = 100


def present(folder: Path) -> list[Path]:
    """Return those of the four files that a folder holds, in the order of `NAMES`.

    If a file exists both gzipped and plain, the gzipped one is used: it is a fifth of the size.

    Raises:
        UserError: if two files with other names could be one of the four, and differ.
    """
    return [path for name in NAMES if (path := _find(folder, name))]


def read_folder(folder: Path) -> tuple[Split, Split]:
    """Read the training and the test set of a folder.

    Returns:
        Two splits with images uint8 (n, 1, height, width), in the files' order.

    Raises:
        UserError: if a file is missing or broken, or the files do not belong together.
    """
    train_images, train_labels, test_images, test_labels = locate(folder)
    train = _read_split(train_images, train_labels)
    test = _read_split(test_images, test_labels)
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        sizes = [" x ".join(map(str, split.inputs.shape[2:])) for split in (train, test)]
        raise UserError(
            f"The test images have {sizes[1]} pixels, but the training images have {sizes[0]}.",
            where=str(test_images),
        )
    return train, test


def locate(folder: Path) -> list[Path]:
    """Return the paths of the four files, in the order of `NAMES`.

    Raises:
        UserError: if the folder or one of the files is missing, or a name is ambiguous.
    """
    if not folder.is_dir():
        raise UserError("There is no such folder.", where=str(folder))
    for name in NAMES:
        if _find(folder, name) is None:
            raise UserError(
                f"The file {name} (or {name}.gz) is missing. {_content(folder)}",
                where=str(folder),
                hint=_deeper(folder)
                or f"the folder must hold all of {', '.join(NAMES)}, plain or .gz",
            )
    return present(folder)


def _find(folder: Path, name: str) -> Path | None:
    """Return the file of this name, or of one that unpacking gave it; None if there is none.

    Raises:
        UserError: if it could be either of two files, which differ.
    """
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    dotted = name.replace("-idx", ".idx")
    if (path := folder / f"{dotted}.gz").is_file():
        return path
    others = [folder / dotted]
    others += [folder / outer / inner for outer in (name, dotted) for inner in (name, dotted)]
    found = [path for path in others if path.is_file()]
    for path in found[1:]:
        if not filecmp.cmp(found[0], path, shallow=False):
            raise UserError(
                f"Both {found[0].relative_to(folder)} and {path.relative_to(folder)} could be "
                f"{name}, and they differ.",
                where=str(folder),
                hint="remove the one that is not wanted",
            )
    return found[0] if found else None


def _content(folder: Path) -> str:
    """Say what a folder holds instead of the four files."""
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    if not names:
        return "The folder is empty."
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"The folder holds {', '.join(names[:_NAMES_SHOWN])}{more}."


def _deeper(folder: Path) -> str:
    """Return the override that names a folder below which holds all four files; or nothing."""
    for pattern in ("*/", "*/*/"):
        for path in sorted(islice(folder.glob(pattern), _FOLDERS_TRIED)):
            if os.access(path, os.X_OK) and all(_find(path, name) for name in NAMES):
                return f"data.folder={path}"
    return ""


def _read_split(images_path: Path, labels_path: Path) -> Split:
    images = read_idx(images_path, magic=_IMAGES)
    labels = read_idx(labels_path, magic=_LABELS)
    if len(images) != len(labels):
        raise UserError(
            f"There are {len(labels)} labels, but {len(images)} images in {images_path.name}.",
            where=str(labels_path),
        )
    return Split(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels.astype(np.int64)))
