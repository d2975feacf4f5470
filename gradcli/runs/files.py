"""Atomic writes: a reader sees the old file or the new one, whatever happens in between."""

from __future__ import annotations

import glob
import json
import math
import os
import shlex
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import gradcli
from gradcli.errors import UserError
from gradcli.system.naming import naming
from gradcli.system.windows import IS_WINDOWS, replace_file

#: The version of what is written into the directories of runs and comparisons. A reader accepts
#: every earlier one. It rises with any change that an earlier reader would misread or fail on.
SCHEMA = 2
#: The files whose presence makes a folder the directory of a run, or of a comparison.
RUN_FILE, COMPARISON_FILE = "run.json", "comparison.json"


def write_atomically(
    path: Path, write: Callable[[IO[bytes]], object], keep_as: Path | None = None
) -> None:
    """Replace `path` with a file that `write` fills, once all of it is on the disk.

    The new name is on the disk, too, before this returns: what is written later may rest on it.

    Args:
        path: the file.
        write: fills the new one.
        keep_as: where the old one is kept. A process that is killed at this moment leaves it there,
            and nothing at `path`.

    Raises:
        OSError: with `path` as its file name, if it cannot be written.
    """
    with naming(path):
        _replace(path, write, keep_as)


def _replace(path: Path, write: Callable[[IO[bytes]], object], keep_as: Path | None) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        if keep_as is not None and path.exists():
            replace_file(path, keep_as)
        replace_file(temporary, path)
        sync_names(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
            raise error.__context__ from None  # torch's own error hides what the system said
        raise


def sync_names(folder: Path) -> None:
    """Wait until the disk has the names in a folder as they are now.

    A file's own `fsync` keeps its content, which a crash may leave without a name. Windows opens no
    folders, and needs no such call: its file system keeps a journal of names.
    """
    if IS_WINDOWS:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path, names: Iterable[str]) -> None:
    """Delete what killed processes left behind while they wrote files of these names.

    The caller holds the lock of the directory, so that no process is writing them now.
    """
    for name in names:
        for left in folder.glob(f".{glob.escape(name)}.????????"):
            left.unlink(missing_ok=True)


def refuse_links(directory: Path) -> None:
    """Refuse to write into a directory that holds symbolic links: gradcli makes none.

    They lead elsewhere, and whoever made the directory would choose what is overwritten there.

    Raises:
        UserError: if it holds one, at any depth.
    """
    if (link := _first_link(directory)) is not None:
        raise UserError(
            f"{link} is a symbolic link to {link.readlink()}. gradcli writes only into the "
            "directory of a run itself.",
            where=str(link),
            hint=shlex.join(["rm", str(link)]),
        )


def _first_link(directory: Path) -> Path | None:
    """Return a symbolic link at any depth; what an entry is, a directory tells with its name."""
    folders = [os.fspath(directory)]
    while folders:
        try:
            with os.scandir(folders.pop()) as found:
                entries = list(found)
        except OSError:  # of another user's, or not there: nothing is written through it either
            continue
        for entry in entries:
            if entry.is_symlink():
                return Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
    return None


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, atomically, with NaN and infinities as strings."""
    text = json.dumps(plain(value), indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def plain(value: Any) -> Any:
    """Return `value` with NaN and infinities as the strings "nan", "inf" and "-inf"."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def number(value: Any) -> float:
    """Return as a float what `plain` may have turned into a string."""
    return float(value)


def restored(value: Any) -> Any:
    """Undo `plain`: turn the strings "nan", "inf" and "-inf" into floats again."""
    if isinstance(value, dict):
        return {key: restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [restored(item) for item in value]
    return float(value) if value in ("nan", "inf", "-inf") else value


def refuse_unknown_schema(described: dict[str, Any], path: Path, newest: int = SCHEMA) -> None:
    """Refuse what a newer gradcli has written, which this one might misread.

    Args:
        described: the content of a file that states its `schema`.
        path: the file.
        newest: the newest schema of such files that this code knows.

    Raises:
        UserError: if the file's schema is newer.
    """
    schema = described.get("schema", 1)
    if schema not in range(1, newest + 1):
        known = "schema 1" if newest == 1 else f"schemas 1 to {newest}"
        raise UserError(
            f"{path} has schema {schema}; gradcli {gradcli.__version__} reads {known}. "
            "A newer gradcli wrote it.",
            where=str(path),
            hint="pip install --upgrade gradcli",
        )
