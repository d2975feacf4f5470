"""Remembers failed downloads for an hour, so that not every start waits for the same mirrors.

One small JSON file in the cache folder. It is a convenience: if it cannot be read or written,
nothing is remembered.
"""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any, Final

#: How long a failure counts.
REMEMBERED_SECONDS: Final = 3600.0

_FILE: Final = "failed-downloads.json"


def recent(name: str, cache_folder: Path) -> str | None:
    """Return why the last download of a data set failed, if that was less than an hour ago."""
    try:
        entry = _read(cache_folder)[name]
        # A time in the future means that the clock was set back.
        is_recent = 0 <= time.time() - entry["time"] < REMEMBERED_SECONDS
        return str(entry["reason"]) if is_recent else None
    except (KeyError, TypeError):
        return None


def remember(name: str, reason: str, cache_folder: Path) -> None:
    """Note that a download failed just now."""
    _write({**_read(cache_folder), name: {"time": time.time(), "reason": reason}}, cache_folder)


def forget(name: str, cache_folder: Path) -> None:
    """Forget the failure of a data set that has now been downloaded."""
    entries = _read(cache_folder)
    if entries.pop(name, None) is not None:
        _write(entries, cache_folder)


def _read(cache_folder: Path) -> dict[str, Any]:
    try:
        entries = json.loads((cache_folder / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _write(entries: dict[str, Any], cache_folder: Path) -> None:
    with contextlib.suppress(OSError):
        cache_folder.mkdir(parents=True, exist_ok=True)
        (cache_folder / _FILE).write_text(json.dumps(entries), encoding="utf-8")
