"""What the user calls a run or a comparison: tags to find it by, and a note.

They are in a file of their own, so that they can be changed at any time, also while a process works
in the directory. Neither the config nor the training depends on them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gradcli.errors import UserError
from gradcli.runs.files import write_json
from gradcli.runs.stored import decoded, read_json, reading

LABELS_FILE = "labels.json"
_TAG = re.compile(r"[\w./+-]+")


@dataclass(frozen=True, slots=True)
class Labels:
    """Tags, in the order in which they were given, and a note."""

    tags: tuple[str, ...] = ()
    note: str = ""

    def __bool__(self) -> bool:
        return bool(self.tags or self.note)

    def changed(
        self, *, add: Iterable[str] = (), remove: Iterable[str] = (), note: str | None = None
    ) -> Labels:
        """Return the labels with other tags, and with another note unless it is None."""
        left = set(remove)
        tags = tuple(tag for tag in dict.fromkeys([*self.tags, *add]) if tag not in left)
        return Labels(tags, self.note if note is None else note)


NO_LABELS = Labels()


def given_labels(tags: Sequence[str], note: str | None, *, where: str = "--tag") -> Labels:
    """Return the labels that the user gave.

    Raises:
        UserError: if a tag could not be typed in a condition.
    """
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise UserError(
                f"'{tag}' cannot be a tag.",
                where=where,
                hint="letters, digits, and . _ - + / without spaces; several tags: --tag A --tag B",
            )
    return NO_LABELS.changed(add=tags, note=note)


def read_labels(directory: Path) -> Labels:
    """Return the labels of a run or a comparison.

    Raises:
        DamagedFileError: if the file holds something else.
    """
    path = directory / LABELS_FILE
    if not os.path.lexists(path):
        return NO_LABELS
    stored = read_json(path)
    with reading(path):
        labels: Labels = decoded(Labels, stored)
    return labels


def add_labels(directory: Path, labels: Labels) -> None:
    """Add tags to those of a run or a comparison; a note replaces the one that it has."""
    if labels:
        earlier = read_labels(directory)
        write_labels(directory, earlier.changed(add=labels.tags, note=labels.note or None))


def write_labels(directory: Path, labels: Labels) -> None:
    """Replace the labels of a run or a comparison; without any, there is no file."""
    if labels or (directory / LABELS_FILE).exists():
        write_json(directory / LABELS_FILE, asdict(labels))
