"""Errors of the system that name what they concern."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def naming(file: Path | str) -> Iterator[None]:
    """Let an `OSError` in the block name the file that it concerns.

    The system names it if a file cannot be opened, but not if it cannot be written.
    """
    try:
        yield
    except OSError as error:
        error.filename = str(file)
        raise
