"""Reads a text file as tokens: its bytes, or its characters.

Windows of a model's context are not cut here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from gradcli.data.formats.bounded import refuse_too_large
from gradcli.errors import UserError

Level = Literal["byte", "character"]

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_CODE_POINTS: Final = 0x110000
# While it is read, a character takes its bytes, Python's string and UTF-32: at most 4 bytes each.
_BYTES_PER_CHARACTER: Final = 12


@dataclass(frozen=True, slots=True)
class TextTokens:
    """A text as consecutive tokens, cut by position into three parts."""

    train: Tensor
    """(n,): the beginning; uint8 bytes, or characters as indices into `vocabulary`: int16, or
    int32 where there are more than 32,767 different ones."""
    val: Tensor
    """(n,): what follows it; may be empty."""
    test: Tensor
    """(n,): the end; may be empty."""
    vocabulary: tuple[str, ...] | None
    """The characters of the whole text by code point; None for bytes, whose tokens are 0 to 255."""


def read_text(
    path: Path, *, level: Level = "byte", val: float = 0.1, test: float = 0.1
) -> TextTokens:
    """Read a text.

    The first 1 - `val` - `test` of its tokens are for training, the next `val` for validation,
    and the last `test` for the test; the two are rounded to whole tokens. A text is not shuffled:
    windows that overlap would otherwise be in more than one part.

    Args:
        path: the file. Line ends are tokens as they are; nothing is translated.
        level: `byte` takes any file, `character` one in UTF-8, whose byte order mark is left out.
        val: the fraction for validation; 0 for no such part.
        test: the fraction for the test; 0 for no such part.

    Raises:
        UserError: if the file cannot be read or is not UTF-8, a part would be empty, or all tokens
            are one.
    """
    try:
        refuse_too_large(
            path.stat().st_size * (_BYTES_PER_CHARACTER if level == "character" else 1),
            "The text",
            path,
        )
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"The file cannot be read: {error.strerror}.", where=str(path)) from error
    if level == "byte":
        # A copy, because tensors are writable and bytes are not.
        tokens = torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy())
        return _cut(tokens, None, path, val=val, test=test)
    tokens, vocabulary = _characters(content, path)
    return _cut(tokens, vocabulary, path, val=val, test=test)


def decode_utf8(content: bytes, path: Path, hint: str) -> str:
    """Decode the content of a file, without its byte order mark.

    Raises:
        UserError: if it is not UTF-8; it gives the first byte that is not, by offset and line.
    """
    start = len(_BYTE_ORDER_MARK) if content.startswith(_BYTE_ORDER_MARK) else 0
    try:
        return content[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        offset = start + error.start
        line = content.count(b"\n", 0, offset) + 1
        raise UserError(
            f"The file is not UTF-8: byte {content[offset]:#04x} at offset {offset:,}, in line "
            f"{line:,} ({error.reason}).",
            where=f"{path}:{line}",
            hint=hint,
        ) from error


def _characters(content: bytes, path: Path) -> tuple[Tensor, tuple[str, ...]]:
    """Return the characters as indices into the sorted vocabulary.

    Raises:
        UserError: if the content is not UTF-8.
    """
    text = decode_utf8(content, path, "data.level=byte, which reads any file; or save it as UTF-8")
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    occurs = np.zeros(_CODE_POINTS, dtype=bool)
    occurs[codes] = True
    used = np.flatnonzero(occurs)
    dtype = np.int16 if len(used) <= np.iinfo(np.int16).max else np.int32
    index = np.zeros(_CODE_POINTS, dtype=dtype)
    index[used] = np.arange(len(used), dtype=dtype)
    return torch.from_numpy(index[codes]), tuple(chr(code) for code in used.tolist())


def _cut(
    tokens: Tensor, vocabulary: tuple[str, ...] | None, path: Path, *, val: float, test: float
) -> TextTokens:
    """Cut tokens by position.

    Raises:
        UserError: if a fraction is none, a part would be empty that should not, or all tokens are
            one.
    """
    total = len(tokens)
    for name, fraction in (("val", val), ("test", test)):
        if not (math.isfinite(fraction) and 0 <= fraction < 1):
            raise UserError(
                f"{fraction} is not a fraction of the text.",
                where=f"data.{name}_fraction",
                hint=f"data.{name}_fraction=0.1",
            )
    counts = {"val": round(val * total), "test": round(test * total)}
    counts["train"] = total - counts["val"] - counts["test"]
    for name, fraction in (("train", 1 - val - test), ("val", val), ("test", test)):
        if counts[name] < 1 and (fraction > 0 or name == "train"):
            raise UserError(
                f"Of {total:,} tokens, none is left for the part {name}, with data.val_fraction="
                f"{val} and data.test_fraction={test}.",
                where=str(path),
                hint="a longer text, or other fractions",
            )
    if bool((tokens == tokens[0]).all()):
        one = chr(int(tokens[0])) if vocabulary is None else vocabulary[0]
        raise UserError(
            f"The text holds nothing but {one!r}. With a single token there is nothing to learn: "
            "the loss soon is 0.",
            where=str(path),
            hint="a text of at least two different characters",
        )
    begin, end = counts["train"], counts["train"] + counts["val"]
    return TextTokens(tokens[:begin], tokens[begin:end], tokens[end:], vocabulary)
