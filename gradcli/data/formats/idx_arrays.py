"""Reads IDX files of any element type and any number of axes: colour images, numbers as targets.

A file is two zero bytes, the type, the number of axes, each axis as a big-endian 32-bit integer,
and the values, big-endian and the last axis fastest (http://yann.lecun.com/exdb/mnist/).
`gradcli.data.idx` reads MNIST's own four files with `read_idx`.
"""

from __future__ import annotations

import gzip
import re
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from gradcli.data.formats.bounded import (
    MOST_COMPRESSED,
    read_up_to,
    refuse_too_large,
    shape_in_words,
    values_in,
)
from gradcli.data.formats.example_parts import (
    Channels,
    ExampleParts,
    Examples,
    as_inputs,
    as_targets,
    channels_first,
    refuse_unequal_lengths,
    refuse_unlike,
)
from gradcli.errors import UserError

#: The element types by the third byte of a file.
TYPES: Final[dict[int, np.dtype[Any]]] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}

_PARTS: Final[dict[str, Literal["train", "val", "test"]]] = {
    **{"train": "train", "val": "val", "test": "test", "t10k": "test"}
}
#: Such as `train-images-idx4-ubyte`, `t10k-labels.idx1-ubyte` and `test-targets-idx2-float.gz`.
_NAME: Final = re.compile(
    rf"({'|'.join(_PARTS)})-(images|inputs|labels|targets)[-.]idx\d+-\w+(\.gz)?"
)
_EXPECTED: Final = (
    "train-images-idxN-TYPE and train-labels-idx1-TYPE, and the same with val- or test-; plain or "
    ".gz; inputs and targets are good for images and labels"
)


def read_idx(path: Path, *, magic: bytes | None = None) -> NDArray[Any]:
    """Read a file, plain or gzipped (`.gz`).

    Args:
        path: the file.
        magic: the four bytes that it must begin with; None for any type and number of axes.

    Returns:
        An array in the machine's byte order, of the file's type and shape.

    Raises:
        UserError: if it is not a complete IDX file, or more than one.
    """
    zipped = path.suffix == ".gz"
    try:
        with gzip.open(path) if zipped else path.open("rb") as file:
            dtype, shape = _read_header(file, path, magic)
            announced = values_in(shape, path, "The file") * dtype.itemsize
            refuse_too_large(announced, f"{shape_in_words(shape)} values of {dtype.name}", path)
            most = path.stat().st_size * (MOST_COMPRESSED if zipped else 1)
            content = read_up_to(file, announced, most)
            surplus = file.read(1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"The file is not a complete gzip file: {error}.", where=str(path)
        ) from error
    except OSError as error:
        raise UserError(
            f"The file cannot be read: {error.strerror or error}.", where=str(path)
        ) from error
    if len(content) != announced or surplus:
        raise UserError(
            f"The header says {shape_in_words(shape)} values of {dtype.name}, {announced:,} bytes, "
            f"but {'more' if surplus else format(len(content), ',')} follow it.",
            where=str(path),
        )
    return content.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def read_idx_folder(folder: Path, *, channels: Channels = "auto") -> ExampleParts:
    """Read the files of a folder that are inputs and targets, by their names.

    Args:
        folder: with files named as MNIST's are, such as `train-images-idx4-ubyte`.
        channels: where the channels of images are (`example_parts.channels_first`).

    Returns:
        Types as `example_parts` has them; the order is the files'.

    Raises:
        UserError: if a file is missing or damaged, or files do not belong together.
    """
    files = _located(folder)
    parts: dict[str, Examples] = {}
    for part in ("train", "val", "test"):
        if (part, "inputs") not in files:
            continue
        paths = files[part, "inputs"], files[part, "targets"]
        names = paths[0].name, paths[1].name
        inputs = as_inputs(read_idx(paths[0]), names[0], paths[0])
        targets, _ = as_targets(read_idx(paths[1]), names[1], paths[1])
        refuse_unequal_lengths(inputs, targets, names, folder)
        parts[part] = Examples(channels_first(inputs, channels, names[0], paths[0]), targets)
    return refuse_unlike(ExampleParts(**parts), folder)


def _located(folder: Path) -> dict[tuple[str, str], Path]:
    """Return the files by part and kind.

    Raises:
        UserError: if there is no such folder, two files could be one, or a file is missing.
    """
    if not folder.is_dir():
        raise UserError("There is no such folder.", where=str(folder))
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir()):
        if not (match := _NAME.fullmatch(path.name)):
            continue
        kind = "inputs" if match[2] in ("images", "inputs") else "targets"
        role = _PARTS[match[1]], kind
        if role in found:
            raise UserError(
                f"Both {found[role].name} and {path.name} could be the {role[0]} {kind}.",
                where=str(folder),
                hint="remove the one that is not wanted",
            )
        found[role] = path
    for part in dict.fromkeys(("train", *(part for part, _ in found))):
        for kind in ("inputs", "targets"):
            if (part, kind) not in found:
                raise UserError(
                    f"The folder has no file of the {part} {kind}.",
                    where=str(folder),
                    hint=f"files named {_EXPECTED}",
                )
    return found


def _read_header(
    file: BufferedIOBase, path: Path, expected: bytes | None
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Read type and shape.

    Raises:
        UserError: if it is not the header of an IDX file, or of another kind, or incomplete.
    """
    magic = file.read(4)
    begins = f"it begins with {magic.hex() or 'nothing'}, expected"
    if expected is not None and magic != expected:
        raise UserError(
            f"This is not an IDX file of {TYPES[expected[2]].name} in {expected[3]} dimension(s): "
            f"{begins} {expected.hex()}.",
            where=str(path),
        )
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES:
        raise UserError(
            f"This is not an IDX file: {begins} 0000, "
            f"a type ({', '.join(f'{code:02x}' for code in TYPES)}), and the number of axes.",
            where=str(path),
        )
    axes = magic[3]
    header = file.read(4 * axes)
    if len(header) < 4 * axes:
        raise UserError(
            f"The file ends in its header, after {4 + len(header)} of {4 + 4 * axes} bytes.",
            where=str(path),
        )
    return TYPES[magic[2]], tuple(np.frombuffer(header, dtype=">u4").tolist())
