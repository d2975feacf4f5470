"""A trial's files on their way between two machines without a common folder.

The machine that trains looks for changes now and then, and the other one repeats them. What was
there before and still is, as in a log that grows, is not sent again. At any moment the copy is one
that the trial could be resumed from: no file in it says more than the files that it builds on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from gradcli.runs import claim_run, set_aside
from gradcli.runs.checkpoints import CHECKPOINTS
from gradcli.runs.files import RUN_FILE, write_atomically
from gradcli.runs.logs.log_blocks import CHECKSUMS_FILE
from gradcli.system.locks import LEASE_FILE, LOCK_FILE

#: The folder beside that of the trials in which damaged ones are kept.
_SET_ASIDE = "damaged"


@dataclass(frozen=True, slots=True)
class Written:
    """A file, or what follows in it after the first `offset` bytes."""

    name: str
    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed in a run directory.

    `written` is in the order in which to read it, which is the reverse of that in which to write
    it. `gone` are files that are no longer there. `began_anew` says that all earlier files were
    damaged and set aside.
    """

    written: tuple[Written, ...]
    gone: tuple[str, ...]
    began_anew: bool


def files_of(directory: Path) -> dict[str, bytes]:
    """Return the contents of a run directory by name, without what belongs to this machine."""
    return {name: (directory / name).read_bytes() for name in _names(directory)}


class Outbox:
    """Finds what has changed in a run directory since the last look.

    Args:
        directory: which another process writes.
        sent: its files as the other machine has them.
    """

    def __init__(self, directory: Path, sent: Mapping[str, bytes]) -> None:
        self._directory = directory
        self._sent = {name: (len(data), blake2b(data).digest()) for name, data in sent.items()}
        self._seen: dict[str, tuple[int, int, int]] = {}
        self._began_anew = False

    def changes(self) -> Changes:
        """Return what has changed."""
        names = list(_names(self._directory))
        began_anew = not self._began_anew and (self._directory.parents[1] / _SET_ASIDE).exists()
        if began_anew:
            self._began_anew = True
            self._sent, self._seen = {}, {}
            names = list(_names(self._directory))
        written: list[Written] = []
        for name in sorted(names, key=_rank):
            with suppress(FileNotFoundError):  # it was replaced at this moment
                written += self._look(name)
        gone = tuple(name for name in self._sent if name not in names)
        for name in gone:
            del self._sent[name]
        return Changes(tuple(written), gone, began_anew)

    def _look(self, name: str) -> Iterator[Written]:
        path = self._directory / name
        status = path.stat()
        seen = status.st_ino, status.st_size, status.st_mtime_ns
        if self._seen.get(name) == seen:
            return
        data = path.read_bytes()
        known, new = self._sent.get(name), (len(data), blake2b(data).digest())
        self._seen[name], self._sent[name] = seen, new
        if known != new:
            size, digest = known or (0, b"")
            has_grown = blake2b(data[:size]).digest() == digest
            offset = size if has_grown else 0
            yield Written(name, offset, data[offset:])


class TrialCopy:
    """The run directory here of a trial that another machine works on; locked until `release`.

    Raises:
        UserError: if another process is working in it.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._lock = claim_run(directory)

    def apply(self, changes: Changes) -> None:
        """Repeat what has changed on the other machine.

        Raises:
            LostLeaseError: if another machine took over the directory here.
            OSError: if it cannot be written.
        """
        self._lock.refuse_if_lost()
        if changes.began_anew:
            self._lock.release()
            set_aside(self.directory)
            self.directory.mkdir()
            self._lock = claim_run(self.directory)
        for written in reversed(changes.written):
            self._write(written)
        for name in changes.gone:
            (self.directory / name).unlink(missing_ok=True)

    def release(self) -> None:
        """Leave the directory to others."""
        self._lock.release()

    def _write(self, written: Written) -> None:
        path = self.directory / written.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not written.offset:
            write_atomically(path, lambda file: file.write(written.content))
            return
        with path.open("r+b") as file:
            file.truncate(written.offset)
            file.seek(written.offset)
            file.write(written.content)
            file.flush()
            os.fsync(file.fileno())


def _names(directory: Path) -> Iterator[str]:
    """Yield the files of a run directory; not its lock, nor files that are being written."""
    for path in directory.rglob("*"):
        of_this_machine = path.name == LOCK_FILE or path.name.startswith((LEASE_FILE, "."))
        if path.is_file() and not of_this_machine:
            yield path.relative_to(directory).as_posix()


def _rank(name: str) -> int:
    """Say how early a file is read: before all that was written before it.

    A block of a log is written before its checksum, a checkpoint after the logs that it names, and
    `run.json` last.
    """
    if name == RUN_FILE:
        return 0
    if name.startswith(f"{CHECKPOINTS}/"):
        return 1
    return 2 if name == CHECKSUMS_FILE else 3
