"""Reads a folder of IDX files, the format in which MNIST is published.

A file is a magic number (two zero bytes, the type, the number of dimensions), the dimensions
as big-endian 32-bit integers, and the values (http://yann.lecun.com/exdb/mnist/). Only unsigned
bytes are read, plain or gzipped. Anything wrong with a file is a `UserError` that names it.

Programs that unpack the published files give them other names: `train-images.idx3-ubyte`, which is
the name that the `.gz` file remembers, or a folder `train-images-idx3-ubyte` that holds the file.
These are read too.
"""

from __future__ import annotations

import filecmp
import gzip
import math
import os
import zlib
from io import BufferedIOBase
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from gradcli.data.dataset import Split
from gradcli.errors import UserError

#: Images and labels of the training set, then of the test set.
NAMES: Final = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

_UNSIGNED_BYTE: Final = 8
# Deflate makes at most 1,032 bytes of one (https://zlib.net/zlib_tech.html).
_MOST_COMPRESSED: Final = 1032
_AT_ONCE: Final = 2**20
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
    images = _read_array(images_path, dimensions=3)
    labels = _read_array(labels_path, dimensions=1)
    if len(images) != len(labels):
        raise UserError(
            f"There are {len(labels)} labels, but {len(images)} images in {images_path.name}.",
            where=str(labels_path),
        )
    if images.size == 0:
        raise UserError("The file holds no images.", where=str(images_path))
    return Split(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels.astype(np.int64)))


def _read_array(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read a file, plain or gzipped. No more is unpacked than its header announces."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            shape = _read_shape(file, path, dimensions)
            values = _read_values(file, math.prod(shape), path.stat().st_size)
            surplus = file.read(1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"The file is not a complete gzip file: {error}.", where=str(path)
        ) from error
    except OSError as error:
        raise UserError(f"The file cannot be read: {error.strerror}.", where=str(path)) from error
    except MemoryError as error:
        raise UserError(
            f"Its header says {' x '.join(map(str, shape))} values, which do not fit into memory.",
            where=str(path),
        ) from error
    start = 4 + 4 * dimensions
    expected = start + math.prod(shape)
    if len(values) != math.prod(shape) or surplus:
        raise UserError(
            f"The file has {'more than ' if surplus else ''}{start + len(values):,} bytes, but its "
            f"header says {' x '.join(map(str, shape))} values, {expected:,} bytes in all.",
            where=str(path),
        )
    return values.reshape(shape)


def _read_shape(file: BufferedIOBase, path: Path, dimensions: int) -> tuple[int, ...]:
    """Read the header.

    Raises:
        UserError: if it is not that of unsigned bytes in so many dimensions.
    """
    start = 4 + 4 * dimensions
    header = file.read(start)
    magic = bytes([0, 0, _UNSIGNED_BYTE, dimensions])
    if header[:4] != magic:
        raise UserError(
            f"This is not an IDX file of unsigned bytes in {dimensions} dimension(s): "
            f"it begins with {header[:4].hex() or 'nothing'}, expected {magic.hex()}.",
            where=str(path),
        )
    if len(header) < start:
        raise UserError(
            f"The file ends in its header, after {len(header)} of {start} bytes.",
            where=str(path),
        )
    return tuple(np.frombuffer(header[4:], dtype=">u4").tolist())


def _read_values(file: BufferedIOBase, count: int, file_bytes: int) -> NDArray[np.uint8]:
    """Read up to `count` values; fewer if the file ends before.

    Memory is taken for what a file of `file_bytes` can hold at most, whatever its header says.
    """
    values = np.empty(min(count, file_bytes * _MOST_COMPRESSED), dtype=np.uint8)
    unread = values.data
    while unread and (read := file.readinto(unread[:_AT_ONCE])):
        unread = unread[read:]
    return values[: len(values) - len(unread)]
