"""What the operating system refused, in words: the only place that turns an `OSError` into them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from gradcli.errors import OperatingSystemError, exception_in_words

_PROBLEMS = {
    errno.ENOSPC: "The disk is full.",
    errno.EDQUOT: "The quota of disk space is used up.",
    errno.EFBIG: "The file would become larger than the system allows.",
    errno.EROFS: "The disk is read-only.",
    errno.ENOENT: "The file does not exist.",
    errno.EBADF: "It is closed.",
}


def failure_in_words(error: OSError) -> OperatingSystemError:
    """Return what the system refused, which file that concerns, and what to type then.

    A workflow says what to type in a note of the exception (`add_note`).
    """
    hint = next(iter(getattr(error, "__notes__", ())), None)
    if error.filename is not None:
        path = Path(os.fsdecode(error.filename))
        return OperatingSystemError(_problem_with(path, error), where=str(path), hint=hint)
    if _working_directory_is_gone():
        return OperatingSystemError(
            "The working directory does not exist any more.", hint="cd, to a folder that exists"
        )
    return OperatingSystemError(_in_words(error), hint=hint)


def _problem_with(path: Path, error: OSError) -> str:
    missing = [folder for folder in path.parents if not folder.exists()]
    if error.errno == errno.ENOENT and missing:
        return f"The folder {missing[-1]} does not exist any more."
    return _in_words(error)


def _in_words(error: OSError) -> str:
    if error.errno in _PROBLEMS:
        return _PROBLEMS[error.errno]
    return f"{error.strerror}." if error.strerror else f"{exception_in_words(error)}."


def _working_directory_is_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False
