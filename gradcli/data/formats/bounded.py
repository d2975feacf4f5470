"""How much of a file is read into memory: never more than it can hold, whatever its header says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from gradcli.errors import UserError

#: The largest data set that is read. It stays in memory as a whole, next to the model.
MOST_BYTES: Final = 8 * 2**30
#: Deflate makes at most 1,032 bytes of one (https://zlib.net/zlib_tech.html).
MOST_COMPRESSED: Final = 1032

_AT_ONCE: Final = 2**20
# NumPy 1 admits so many axes, NumPy 2 twice as many.
_MOST_AXES: Final = 32


def refuse_too_large(byte_count: int, what: str, where: Path) -> None:
    """Refuse what takes more than `MOST_BYTES` of memory.

    Raises:
        UserError: if it does.
    """
    if byte_count > MOST_BYTES:
        raise UserError(
            f"{what} would take {byte_count / 2**30:,.1f} GiB of memory; at most "
            f"{MOST_BYTES / 2**30:g} GiB are read.",
            where=str(where),
            hint="a file with fewer examples",
        )


def read_up_to(file: IO[bytes] | BufferedIOBase, count: int, most: int) -> NDArray[np.uint8]:
    """Read `count` bytes, or what is left of the file.

    Args:
        file: at the first of the bytes.
        count: what a header announces.
        most: what the file can hold at most; no more memory than that is taken.

    Returns:
        uint8 (up to `count`,), writable.
    """
    values = np.empty(min(count, most), dtype=np.uint8)
    filled = 0
    while filled < len(values) and (block := file.read(min(_AT_ONCE, len(values) - filled))):
        values[filled : filled + len(block)] = np.frombuffer(block, dtype=np.uint8)
        filled += len(block)
    return values[:filled]


def shape_in_words(shape: Sequence[int]) -> str:
    """Return a shape as an error gives it: `60,000 x 28 x 28`."""
    return " x ".join(f"{length:,}" for length in shape) or "a single value"


def values_in(shape: Sequence[int], where: Path, what: str) -> int:
    """Return how many values an array of this shape holds.

    Raises:
        UserError: if it holds none, or has no axis, or more axes than NumPy admits.
    """
    if not shape or min(shape) < 1:
        raise UserError(
            f"{what} holds no examples: its shape is ({', '.join(map(str, shape))}).",
            where=str(where),
        )
    if len(shape) > _MOST_AXES:
        raise UserError(
            f"{what} has {len(shape)} axes; at most {_MOST_AXES} are read.", where=str(where)
        )
    return math.prod(shape)
