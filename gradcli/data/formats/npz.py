"""Reads `.npz`, NumPy's archive of arrays, such as Keras' `mnist.npz`.

It is a zip archive of `.npy` files, each a header with type and shape, and the values
(https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). Nothing in it is
unpickled, and no more is unpacked than its headers announce.
"""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple

from numpy.lib import format as npy
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

_PARTS: Final = {
    **{"train": "train", "training": "train", "test": "test"},
    **{"val": "val", "valid": "val", "validation": "val"},
}
_KINDS: Final[dict[str, Literal["inputs", "targets"]]] = {
    **dict.fromkeys(("x", "inputs", "images", "data", "features"), "inputs"),
    **dict.fromkeys(("y", "targets", "labels"), "targets"),
}
_EXPECTED: Final = "x_train and y_train, perhaps x_val, y_val, x_test and y_test; or x and y"
_KEYS_SHOWN: Final = 8
#: How a member of a zip archive begins.
_ZIP: Final = b"PK\x03\x04"

#: What the standard library raises for an archive that is not as it should be.
_DAMAGE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # a method or a version of zip that it does not know
    RuntimeError,  # a password
    ValueError,
    OverflowError,
)


class _Role(NamedTuple):
    """What an array is for."""

    part: str
    kind: Literal["inputs", "targets"]


def read_npz(path: Path, *, channels: Channels = "auto") -> ExampleParts:
    """Read the arrays of an archive that are inputs and targets.

    A key is a kind (`x`, `inputs`, `images`, `data`, `features`; `y`, `targets`, `labels`), alone
    or joined by `_` to a part (`train`, `val`, `test`) before or after it; other keys are left out.

    Args:
        path: the archive, of stored or deflated members, as NumPy writes it.
        channels: where the channels of images are (`example_parts.channels_first`).

    Returns:
        Types as `example_parts` has them; the order is the file's.

    Raises:
        UserError: if the file is damaged, holds no such pair of arrays, an array is not of
            numbers, or arrays do not belong together.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path)
            refuse_too_large(
                sum(info.file_size for info in members.values()),
                " and ".join(_key(info) for info in members.values()),
                path,
            )
            arrays = {role: _read_array(archive, info, path) for role, info in members.items()}
    except UserError:
        raise
    except _DAMAGE as error:
        raise _not_sound(error, path) from error
    except OSError as error:
        raise UserError(
            f"The file cannot be read: {error.strerror or error}.", where=str(path)
        ) from error
    keys = {role: _key(info) for role, info in members.items()}
    return _parts(arrays, keys, channels, path)


def _not_sound(error: Exception, path: Path) -> UserError:
    """Return the error about an archive that cannot be read, by how it begins."""
    with path.open("rb") as file:
        begins = file.read(len(npy.MAGIC_PREFIX))
    if begins == npy.MAGIC_PREFIX:
        return UserError(
            "This is a single array (.npy); an archive with inputs and targets was expected.",
            where=str(path),
            hint="numpy.savez('FILE.npz', x=inputs, y=targets)",
        )
    if begins.startswith(_ZIP) and "not a zip file" in str(error):
        return UserError(
            "This .npz archive is truncated: its end, with the list of its arrays, is missing.",
            where=str(path),
            hint="copy or save it again",
        )
    return UserError(f"This is not a sound .npz archive: {error}.", where=str(path))


def _members(archive: zipfile.ZipFile, path: Path) -> dict[_Role, zipfile.ZipInfo]:
    """Return the members that are inputs or targets, by their role.

    Raises:
        UserError: if two have one role, or one lacks its counterpart, or there is no training part.
    """
    found: dict[_Role, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if (role := _role(_key(info))) is None:
            continue
        if role in found:
            raise UserError(
                f"Both {_key(found[role])} and {_key(info)} could be the {role.part} {role.kind}.",
                where=str(path),
                hint=f"keep one of them; the keys read are {_EXPECTED}",
            )
        found[role] = info
    keys = [_key(info) for info in archive.infolist()]
    for part in dict.fromkeys(("train", *(role.part for role in found))):
        for kind in ("inputs", "targets"):
            if _Role(part, kind) not in found:
                raise UserError(
                    f"The archive has no {part} {kind}. Its keys are {_some(keys)}.",
                    where=str(path),
                    hint=f"save it with the keys {_EXPECTED}",
                )
    return found


def _key(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(".npy")


def _role(key: str) -> _Role | None:
    """Return what an array of this key is for; None if that is not known."""
    first, _, second = key.lower().partition("_")
    if not second:
        first, second = "train", first
    for part, kind in ((first, second), (second, first)):
        if part in _PARTS and kind in _KINDS:
            return _Role(_PARTS[part], _KINDS[kind])
    return None


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> NDArray[Any]:
    """Read a member; memory is taken for what its compressed bytes can hold at most.

    Raises:
        UserError: if its header and its size differ, or it holds Python objects.
    """
    key = _key(info)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(
            f"{key} is compressed by a method that NumPy does not write.",
            where=str(path),
            hint="save it with numpy.savez or numpy.savez_compressed",
        )
    with archive.open(info) as file:
        shape, fortran_order, dtype = _read_header(file, key, path)
        count = values_in(shape, path, key)
        announced, there = count * dtype.itemsize, info.file_size - file.tell()
        if announced != there:
            raise UserError(
                f"The header of {key} says {shape_in_words(shape)} values of {dtype}, "
                f"{announced:,} bytes, but {max(there, 0):,} follow it.",
                where=str(path),
            )
        content = read_up_to(file, announced, info.compress_size * MOST_COMPRESSED)
        file.read(1)  # at its end, a member is compared with its checksum
    if len(content) != announced:
        raise UserError(
            f"{key} ends after {len(content):,} of {announced:,} bytes.", where=str(path)
        )
    order: Literal["F", "C"] = "F" if fortran_order else "C"
    values: NDArray[Any] = content.view(dtype).reshape(shape, order=order)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _read_header(file: IO[bytes], key: str, path: Path) -> tuple[tuple[int, ...], bool, Any]:
    """Return shape, whether the first axis varies fastest, and type.

    Raises:
        UserError: if it cannot be read, or the type is none of numbers or text.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran_order, dtype = read(file)
    except (zipfile.BadZipFile, zlib.error):
        raise  # the archive is at fault, not the header
    except Exception as error:
        # The header is a Python literal, and garbage fails in any way that a parser can.
        raise UserError(f"The header of {key} cannot be read: {error}.", where=str(path)) from error
    if dtype.hasobject:
        raise UserError(
            f"{key} holds Python objects, which are never loaded: they can run code.",
            where=str(path),
            hint=f"save it as numbers or text, such as {key}.astype('float32') or "
            f"{key}.astype(str)",
        )
    if dtype.kind not in "biufUS" or not dtype.itemsize:
        raise UserError(f"{key} holds {dtype}; numbers or text were expected.", where=str(path))
    return shape, fortran_order, dtype


def _parts(
    arrays: dict[_Role, NDArray[Any]], keys: dict[_Role, str], channels: Channels, path: Path
) -> ExampleParts:
    parts: dict[str, Examples] = {}
    for part in ("train", "val", "test"):
        roles = _Role(part, "inputs"), _Role(part, "targets")
        if roles[0] not in arrays:
            continue
        names = keys[roles[0]], keys[roles[1]]
        inputs = as_inputs(arrays[roles[0]], names[0], path)
        known = parts["train"].classes if parts else None
        targets, classes = as_targets(arrays[roles[1]], names[1], path, known)
        refuse_unequal_lengths(inputs, targets, names, path)
        parts[part] = Examples(channels_first(inputs, channels, names[0], path), targets, classes)
    return refuse_unlike(ExampleParts(**parts), path)


def _some(keys: Iterable[str]) -> str:
    keys = list(keys)
    more = f" and {len(keys) - _KEYS_SHOWN} more" if len(keys) > _KEYS_SHOWN else ""
    return ", ".join(keys[:_KEYS_SHOWN]) + more if keys else "none"
