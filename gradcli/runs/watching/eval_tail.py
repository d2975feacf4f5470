"""The evaluations of a run, read as they are written."""

from __future__ import annotations

import json
from pathlib import Path

from gradcli.errors import DamagedFileError
from gradcli.records import EvalRecord
from gradcli.runs.logs.log_blocks import EVALS_FILE
from gradcli.runs.logs.log_lines import eval_record
from gradcli.runs.stored import reading

#: Of each split; more than a wide terminal has columns.
MOST_EVALS = 512


class EvalTail:
    """Follows the log of evaluations of a run that may be written, cut or removed at any time.

    A look reads only what was added. Of very many evaluations every second one is dropped, time
    and again, but never the last one. Damaged lines are left out.

    Args:
        directory: the run directory.
        most: how many evaluations of a split to keep; even.
    """

    def __init__(self, directory: Path, most: int = MOST_EVALS) -> None:
        self._path = directory / EVALS_FILE
        self._most = most
        self.forget()

    def forget(self) -> None:
        """Begin anew, as after a resume."""
        self._size = 0
        self._kept: dict[str, list[EvalRecord]] = {}

    def look(self) -> bool:
        """Read what is new; return whether anything is."""
        try:
            size = self._path.stat().st_size
            if size < self._size:
                self.forget()
            if size == self._size:
                return False
            with self._path.open("rb") as file:
                file.seek(self._size)
                *lines, unfinished = file.read().split(b"\n")
        except OSError:  # not yet there, or removed
            return False
        self._size = size - len(unfinished)
        for line in lines:
            try:
                with reading(self._path):
                    self._add(eval_record(json.loads(line)))
            except DamagedFileError:
                continue
        return bool(lines)

    def of(self, split: str) -> list[EvalRecord]:
        """Return the evaluations of a split, in their order."""
        return list(self._kept.get(split, ()))

    def _add(self, record: EvalRecord) -> None:
        kept = self._kept.setdefault(record.split, [])
        kept.append(record)
        if len(kept) > self._most:
            kept[:-1] = kept[:-1:2]
