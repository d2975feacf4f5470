"""Checkpoints: tensors and plain values, followed by a checksum of the whole file.

The one before the last is kept: a run whose last checkpoint is damaged, or whose logs are shorter
than it says, continues from there.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import shutil
import struct
import zipfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from gradcli.errors import DamagedFileError, UserError
from gradcli.runs.files import write_atomically
from gradcli.runs.logs.log_blocks import CHECKSUMS_FILE, LOGS, refuse_other_logs
from gradcli.runs.stored import MalformedError, damaged, decoded, file_size, reading

CHECKPOINTS = "checkpoints"
LAST, PREVIOUS, BEST, FAULT = "last.pt", "previous.pt", "best.pt", "fault.pt"
#: Which files `checkpoint.keep` leaves of a run that has ended; with any other value all stay.
KEPT: Final[Mapping[str, tuple[str, ...]]] = {"last": (LAST,), "none": ()}

# torch.load reads past what comes after the archive, so that it opens these files too.
_MARK = b"gradcli:blake2b:"
_DIGEST_SIZE = 16
_BLOCK = 1 << 20
# What torch.load raises if the bytes are not those of a checkpoint.
_UNREADABLE = (
    *(RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError),
    *(EOFError, OSError, OverflowError, MemoryError, struct.error),
)


class _Hashing:
    """A file that computes the checksum of what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash = file, hashlib.blake2b(digest_size=_DIGEST_SIZE)

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def finish(self) -> None:
        self._file.write(_MARK + self._hash.digest())


def save_checkpoint(
    directory: Path, name: str, state: dict[str, Any], *, keep_as: str | None = None
) -> None:
    """Save a checkpoint, atomically.

    Args:
        directory: the run directory.
        name: of the file.
        state: tensors and plain values.
        keep_as: the name under which the file that it replaces is kept.
    """
    import torch

    def fill(file: IO[bytes]) -> None:
        hashing = _Hashing(file)
        torch.save(state, hashing)  # type: ignore[arg-type]  # it writes and flushes
        hashing.finish()

    folder = directory / CHECKPOINTS
    write_atomically(folder / name, fill, keep_as=folder / keep_as if keep_as else None)


def load_checkpoint(directory: Path, name: str = "last") -> dict[str, Any] | None:
    """Load a checkpoint, which holds only tensors and plain values; None if there is none yet.

    Raises:
        DamagedFileError: if it cannot be read, or is not as it was written.
    """
    path = directory / CHECKPOINTS / f"{name}.pt"
    return None if not os.path.lexists(path) else _load(path)


def checkpoint_paths(directory: Path) -> list[Path]:
    """Return the files of a run that hold checkpoints, whole or not, `last.pt` as the last.

    The batch of a fault is no checkpoint. A folder that is a link belongs to somebody else.
    """
    folder = directory / CHECKPOINTS
    if folder.is_symlink() or not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if path.name != FAULT]
    files = [path for path in files if path.is_symlink() or not path.is_dir()]
    return sorted(files, key=lambda path: (path.name == LAST, path.name))


def drop_checkpoints(directory: Path, keep: Collection[str] = ()) -> None:
    """Delete the checkpoints of a run that nothing is going to continue.

    The caller knows that no process works there, and that how the run ended is on the disk. A
    process that is killed meanwhile leaves fewer files, each of which is whole.

    Args:
        directory: the run directory.
        keep: the names of files that stay.

    Raises:
        OSError: if a file cannot be deleted.
    """
    for path in checkpoint_paths(directory):
        if path.name not in keep:
            path.unlink(missing_ok=True)
    folder = directory / CHECKPOINTS
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()


def compact_checkpoint(directory: Path) -> None:
    """Compress `last.pt`, which then takes about a fifth less; it is loaded as any other.

    One that is damaged is left as it is: whoever loads it is told.

    Raises:
        OSError: if it cannot be written.
    """
    path = directory / CHECKPOINTS / LAST

    def fill(file: IO[bytes]) -> None:
        hashing = _Hashing(file)
        with (
            zipfile.ZipFile(path) as source,
            zipfile.ZipFile(hashing, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,  # type: ignore[call-overload]
        ):
            for name in source.namelist():
                with source.open(name) as old, archive.open(name, "w") as new:
                    shutil.copyfileobj(old, new)
        hashing.finish()

    with suppress(DamagedFileError, zipfile.BadZipFile):
        _verify(path, file_size(path))
        write_atomically(path, fill)


@dataclass(frozen=True)
class Resumable:
    """A checkpoint that a run can continue from."""

    checkpoint: dict[str, Any]
    problems: tuple[str, ...] = ()
    """Why it is not the last one; empty if it is."""

    @property
    def log_bytes(self) -> dict[str, int]:
        """The sizes of the logs when it was saved."""
        sizes: dict[str, int] = self.checkpoint["log_bytes"]
        return sizes


def checkpoint_to_resume(directory: Path, *, was_saved: bool) -> Resumable | None:
    """Return the latest checkpoint that is whole, and that the logs reach up to.

    Args:
        directory: the run directory.
        was_saved: whether the run is known to have saved one.

    Returns:
        None if there is none yet.

    Raises:
        UserError: if there was one, but none can be used. Nothing was changed.
    """
    problems: list[DamagedFileError] = []
    for name in (LAST, PREVIOUS):
        if not os.path.lexists(directory / CHECKPOINTS / name):
            continue
        try:
            checkpoint = _supported(directory, name)
        except DamagedFileError as error:
            problems.append(error)
            continue
        missing = "" if name == LAST or problems else f"{CHECKPOINTS}/{LAST} is missing."
        said = [*(error.problem for error in problems), *([missing] if missing else [])]
        return Resumable(checkpoint, tuple(said))
    if not problems and not was_saved:
        return None
    raise _cannot_resume(directory, problems)


def _supported(directory: Path, name: str) -> dict[str, Any]:
    """Load a checkpoint whose logs are as they were when it was saved.

    Raises:
        DamagedFileError: if it cannot be read, or the logs are not.
    """
    path = directory / CHECKPOINTS / name
    checkpoint = _load(path)
    with reading(path):
        sizes = decoded(dict[str, int], checkpoint.get("log_bytes"), "log_bytes")
        if any(name not in (*LOGS, CHECKSUMS_FILE) or size < 0 for name, size in sizes.items()):
            raise MalformedError("names logs that a run does not have")
    refuse_other_logs(directory, sizes)
    return checkpoint


def _load(path: Path) -> dict[str, Any]:
    import torch

    size = file_size(path)
    _verify(path, size)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise damaged(path, _why_not_loaded(error)) from None
    except _UNREADABLE:
        raise damaged(path, "is not a checkpoint, or only a part of one") from None
    if not isinstance(state, dict):
        raise damaged(path, "is not a checkpoint")
    return state


def _why_not_loaded(error: pickle.UnpicklingError) -> str:
    """Say why torch refused a file, as the rest of a sentence; it names any code that it holds."""
    if code := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"holds code, {code[1]}, and not only tensors and plain values. It was not loaded"
    return "is not a checkpoint"


def _verify(path: Path, size: int) -> None:
    """Compare the checksum; the files of earlier releases have none.

    Raises:
        DamagedFileError: if it differs, or the file cannot be read.
    """
    tail = len(_MARK) + _DIGEST_SIZE
    found = hashlib.blake2b(digest_size=_DIGEST_SIZE)
    with reading(path), path.open("rb") as file:
        file.seek(max(0, size - tail))
        mark, written = file.read(len(_MARK)), file.read()
        if mark != _MARK:
            return
        file.seek(0)
        left = size - tail
        while left and (data := file.read(min(left, _BLOCK))):
            found.update(data)
            left -= len(data)
        if found.digest() != written:
            raise MalformedError("does not match its checksum")


def _cannot_resume(directory: Path, problems: list[DamagedFileError]) -> UserError:
    """Return the error of a run that had checkpoints, none of which can be used."""
    last, best = (directory / CHECKPOINTS / name for name in (LAST, BEST))
    # Both checkpoints may be stopped by the same log.
    said = " ".join(dict.fromkeys(error.problem for error in problems)) or f"{last} is missing."
    try:
        _supported(directory, BEST)
        hint = f"cp {best} {last}, to continue from the best epoch"
    except DamagedFileError:
        hint = "restore the file, or train anew"
    return DamagedFileError(
        f"There is no state to continue from. {said}",
        where=str(problems[0].where if problems else last),
        hint=hint,
    )
