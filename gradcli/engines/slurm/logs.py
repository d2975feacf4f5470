"""What pilots wrote: submitit keeps the stderr of each in a file."""

from __future__ import annotations

from pathlib import Path

_TAIL_BYTES = 4000


def last_line(folder: Path) -> str:
    """Return the last line of the file of stderr that was written last; "" if all are empty."""
    files = sorted(folder.glob("*.err"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - _TAIL_BYTES))
            lines = stream.read().decode(errors="replace").strip().splitlines()
        if lines:
            return lines[-1]
    return ""
