"""The logs of a run, which are only appended to, with a checksum for each block written.

`checksums.bin` has a row per block: which log, where in it, and the CRC-32 of its bytes. A block is
written before its checksum. A process that is killed in between leaves a block without one at the
end of a log, which does not count. Logs from before there were checksums count as they are.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gradcli.notation import numbers
from gradcli.runs.files import sync_names, write_atomically
from gradcli.runs.stored import damaged, file_size
from gradcli.system.naming import naming

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS_FILE = "steps.bin"
EVALS_FILE = "evals.jsonl"
PROBES_FILE = "probes.jsonl"
CHECKSUMS_FILE = "checksums.bin"
#: In the order of their numbers in `checksums.bin`.
LOGS = (STEPS_FILE, EVALS_FILE, PROBES_FILE)

_ENTRY = [("log", "<u4"), ("crc32", "<u4"), ("start", "<i8"), ("size", "<i8")]
_PACKED = struct.Struct("<IIqq")  # the same, which packs a single row faster
_READ_AT_ONCE = 1 << 16


class Logs:
    """Appends to the logs of a run directory.

    Args:
        directory: the run directory.
        sizes: the bytes of the existing logs that stay, by name; the rest is cut off.
    """

    def __init__(self, directory: Path, sizes: Mapping[str, int]) -> None:
        _cut_checksums(directory, sizes)
        self._checksums = (directory / CHECKSUMS_FILE).open("ab", buffering=0)
        self._files = {name: (directory / name).open("ab", buffering=0) for name in LOGS}
        for name, file in self._files.items():
            file.truncate(sizes.get(name, 0))
        sync_names(directory)
        self._sizes = {name: sizes.get(name, 0) for name in LOGS}
        self._checksums_size = os.fstat(self._checksums.fileno()).st_size

    def append(self, name: str, block: bytes) -> None:
        """Append a block to a log, and its checksum to the others.

        Raises:
            OSError: if it cannot be written whole; then nothing of it is in the log.
        """
        if not block:  # a flush at a moment without news
            return
        start = self._sizes[name]
        _write_whole(self._files[name], block, start)
        self._sizes[name] += len(block)
        entry = _PACKED.pack(LOGS.index(name), zlib.crc32(block), start, len(block))
        _write_whole(self._checksums, entry, self._checksums_size)
        self._checksums_size += len(entry)

    def sync(self) -> dict[str, int]:
        """Wait until everything is on the disk; return the sizes, `checksums.bin` included."""
        files = {**self._files, CHECKSUMS_FILE: self._checksums}
        for file in files.values():
            with naming(file.name):
                os.fsync(file.fileno())
        return {name: os.fstat(file.fileno()).st_size for name, file in files.items()}

    def close(self) -> None:
        """Close the files."""
        for file in (*self._files.values(), self._checksums):
            file.close()


def damaged_ranges(
    directory: Path, name: str, size: int | None = None, checksums: NDArray[Any] | None = None
) -> list[range]:
    """Return the parts of a log that are not as they were written, in bytes, rising.

    Args:
        directory: the run directory.
        name: of the log.
        size: look at this many bytes from its beginning; None looks at all.
        checksums: what `read_checksums` returned; None reads them.

    Raises:
        DamagedFileError: if the log or `checksums.bin` cannot be read.
    """
    # The checksums first: the process of the run may be appending to both.
    entries = _of(read_checksums(directory) if checksums is None else checksums, name, size)
    if not len(entries):
        return []
    with _opened(directory / name) as log:
        return [
            range(start, start + length)
            for start, length, crc32 in _plain(entries)
            if not _is_whole(log, start, length, crc32)
        ]


def unchecked_end(directory: Path, name: str, checksums: NDArray[Any] | None = None) -> range:
    """Return the end of a log that has no checksum; empty if no other part has one either.

    Args:
        directory: the run directory.
        name: of the log.
        checksums: what `read_checksums` returned; None reads them.

    Raises:
        DamagedFileError: if the log or `checksums.bin` cannot be read.
    """
    entries = _of(read_checksums(directory) if checksums is None else checksums, name, None)
    size = file_size(directory / name)
    if not len(entries):
        return range(size, size)
    return range(min(size, int((entries["start"] + entries["size"]).max())), size)


def undamaged(data: bytes, ranges: list[range]) -> bytes:
    """Return the bytes of a log without some ranges."""
    ends = [0, *(one.stop for one in ranges)]
    starts = [*(one.start for one in ranges), len(data)]
    return b"".join(data[end:start] for end, start in zip(ends, starts, strict=True))


def refuse_other_logs(directory: Path, sizes: Mapping[str, int]) -> None:
    """Refuse logs that do not begin with the bytes that they had when a checkpoint was saved.

    Args:
        directory: the run directory.
        sizes: the sizes that they had, by name.

    Raises:
        DamagedFileError: for the first log that is shorter, or whose checksums differ.
    """
    for name, size in sizes.items():
        path = directory / name
        found = file_size(path)
        if found < size:
            raise damaged(path, f"has {found:,} bytes, and the checkpoint needs {size:,}")
        if name in LOGS and (parts := damaged_ranges(directory, name, size)):
            raise damaged(path, described(parts))


def described(parts: list[range]) -> str:
    """Say where a log is damaged, as the rest of a sentence that begins with its path."""
    first = parts[0]
    others = numbers.count(len(parts) - 1, "more block")
    more = f" and of {others}" if len(parts) > 1 else ""
    return f"does not match the checksum of its bytes {first.start:,} to {first.stop:,}{more}"


def _cut_checksums(directory: Path, sizes: Mapping[str, int]) -> None:
    """Keep the checksums of these many bytes of each log."""
    if not any(sizes.values()):
        (directory / CHECKSUMS_FILE).unlink(missing_ok=True)
        return
    import numpy as np

    entries = read_checksums(directory)
    if len(entries):
        kept = np.concatenate([_of(entries, name, sizes.get(name, 0)) for name in LOGS]).tobytes()
        write_atomically(directory / CHECKSUMS_FILE, lambda file: file.write(kept))


def read_checksums(directory: Path) -> NDArray[Any]:
    """Return the rows of `checksums.bin`, without incomplete ones at its end.

    Raises:
        DamagedFileError: if it holds anything else.
    """
    import numpy as np

    path = directory / CHECKSUMS_FILE
    rows = file_size(path) // _PACKED.size
    entries = np.fromfile(path, _ENTRY, rows) if rows else np.empty(0, _ENTRY)
    # A crash may leave zeros at the end, of rows that were not on the disk yet.
    written = np.flatnonzero(entries["size"])
    entries = entries[: written[-1] + 1] if len(written) else entries
    if (entries["log"] >= len(LOGS)).any() or (entries["start"] < 0).any():
        raise damaged(path, "holds no checksums")
    if (entries["size"] <= 0).any() or (entries["size"] > 2**62 - entries["start"]).any():
        raise damaged(path, "holds no checksums")
    return entries


def _of(entries: NDArray[Any], name: str, size: int | None) -> NDArray[Any]:
    """Return the entries of one log; those of the blocks within its first `size` bytes."""
    chosen = entries["log"] == LOGS.index(name)
    if size is not None:
        chosen &= entries["start"] + entries["size"] <= size
    part: NDArray[Any] = entries[chosen]
    return part


def _plain(entries: NDArray[Any]) -> Iterator[tuple[int, int, int]]:
    columns = (entries[name].tolist() for name in ("start", "size", "crc32"))
    return zip(*columns, strict=True)


def _is_whole(log: IO[bytes], start: int, size: int, crc32: int) -> bool:
    if start + size > os.fstat(log.fileno()).st_size:
        return False
    log.seek(start)
    found = 0
    while size and (data := log.read(min(size, _READ_AT_ONCE))):
        found = zlib.crc32(data, found)
        size -= len(data)
    return found == crc32


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror}") from None


def _write_whole(file: Any, data: bytes, size: int) -> None:
    """Append to an unbuffered file, which may take less than it is given if the disk is full.

    Args:
        file: open for appending.
        data: what to append.
        size: of the file now.

    Raises:
        OSError: if not everything can be written; the file is then as before.
    """
    left = data
    try:
        with naming(file.name):
            while left:
                left = left[file.write(left) :]
    except OSError:
        file.truncate(size)
        raise
