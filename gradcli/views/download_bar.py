"""The progress of a download: a bar for a live screen, a sentence for plain lines."""

from __future__ import annotations

from gradcli.notation import numbers
from gradcli.views.table import GAP, Line, crop, fit, piece
from gradcli.views.train.training_screen import bar

_LONGEST_BAR = 40


def download_bar(done_bytes: int, total_bytes: int, name: str, width: int) -> Line:
    """Draw the progress of a download as a line of at most `width` cells.

    If the total is not known (0), the bar stays empty.
    """
    size = numbers.file_size(done_bytes)
    if total_bytes:
        size += f" of {numbers.file_size(total_bytes)}"
    label = f" {fit(name, min(len(name), max(width // 2, 1)))}{GAP}"
    done = done_bytes / total_bytes if total_bytes else 0.0
    line = [
        piece(label),
        *bar(min(done, 1.0), min(width - len(label) - len(size) - len(GAP), _LONGEST_BAR)),
        piece(GAP + size),
    ]
    return crop(line, width)


def describe_download(total_bytes: int, name: str) -> str:
    """Say which file is downloaded, and its size if it is known."""
    size = f" ({numbers.file_size(total_bytes)})" if total_bytes else ""
    return f"downloading {name}{size}"
