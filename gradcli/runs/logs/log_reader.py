"""Reads the logs of a run, but for what is damaged or was not written to its end."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gradcli.errors import DamagedFileError, DamagedFileWarning
from gradcli.records import StepRecords
from gradcli.runs.logs.log_blocks import (
    LOGS,
    STEPS_FILE,
    damaged_ranges,
    described,
    read_checksums,
    unchecked_end,
    undamaged,
)
from gradcli.runs.logs.step_log import read_steps
from gradcli.runs.stored import damaged, file_size, reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Record = TypeVar("_Record")
#: A log of at most so many bytes is read once, whatever is asked of it.
_SHORT = 1 << 18


class LogReader:
    """Reads the logs in a run directory. What is damaged is left out, and said as a warning.

    Checksums are read once, and compared once for each log: what is written to it later does not
    count.

    Args:
        directory: the run directory.

    Attributes:
        found_damage: what was found to be wrong so far, in sentences.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._unsound: dict[str, list[range]] = {}
        self._kept: dict[str, list[bytes]] = {}
        self.found_damage: list[str] = []

    def steps(self, parameters: int) -> StepRecords:
        """Return the steps of a model of so many parameters, as columns."""
        return read_steps(self._directory, parameters, without=self.left_out(STEPS_FILE))

    def records(
        self, name: str, record: Callable[[Any], _Record], kind: str | None = None
    ) -> list[_Record]:
        """Return the records that the lines of a log hold, or only the lines of a `kind`.

        An incomplete last line is left out, as is what is damaged, which is said.

        Args:
            name: of the log.
            record: makes a record of a line, or raises `MalformedError`.
            kind: what the lines begin with.
        """
        path, records = self._directory / name, []
        for line in self._lines(name, b"" if kind is None else b'{"kind": "%b"' % kind.encode()):
            try:
                with reading(path):
                    records.append(record(line))
            except DamagedFileError as error:
                self.name_damage(error)
        return records

    def match_checksums(self) -> bool:
        """Whether all logs are as they were written, as far as their checksums tell.

        Also False if a log that is not empty has none: then only its lines tell.
        """
        if any(len(self.left_out(name)) > 1 for name in LOGS) or self.found_damage:
            return False
        with_checksums = set(self._checksums["log"].tolist())
        return all(
            number in with_checksums or not file_size(self._directory / name)
            for number, name in enumerate(LOGS)
        )

    def name_damage(self, error: DamagedFileError) -> None:
        """Say that a file is damaged, once; what can be read of it is used."""
        if error.problem not in self.found_damage:
            self.found_damage.append(error.problem)
            warnings.warn(error.problem, DamagedFileWarning, stacklevel=3)

    @cached_property
    def _checksums(self) -> NDArray[Any]:
        return read_checksums(self._directory)

    def left_out(self, name: str) -> list[range]:
        """Return the parts of a log that do not count; say so of those that are damaged."""
        if name not in self._unsound:
            self._unsound[name] = self._checked(name)
        return self._unsound[name]

    def _checked(self, name: str) -> list[range]:
        try:
            ranges = damaged_ranges(self._directory, name, checksums=self._checksums)
            end = unchecked_end(self._directory, name, self._checksums)
        except DamagedFileError as error:
            self.name_damage(error)
            return []
        if ranges:
            self.name_damage(damaged(self._directory / name, described(ranges)))
        return [*ranges, range(end.start, sys.maxsize)]

    def _lines(self, name: str, beginning: bytes) -> Iterable[Any]:
        """Return the JSON lines of a log that begin with these bytes."""
        path = self._directory / name
        whole = [line for line in self._whole_lines(name) if line.startswith(beginning)]
        try:
            lines: list[Any] = json.loads(b"[%b]" % b",".join(whole))  # one call, not thousands
        except (ValueError, RecursionError):
            return self._readable(path, whole)
        return lines

    def _whole_lines(self, name: str) -> list[bytes]:
        """Return the lines of a log that count. Those of a short one are kept: there are kinds."""
        if name in self._kept:
            return self._kept[name]
        path = self._directory / name
        if not os.path.lexists(path):
            self.left_out(name)  # which says so if there was one
            return []
        try:
            with reading(path):
                data = path.read_bytes()
        except DamagedFileError as error:
            self.name_damage(error)
            return []
        *whole, _ = undamaged(data, self.left_out(name)).split(b"\n")
        if len(data) <= _SHORT:
            self._kept[name] = whole
        return whole

    def _readable(self, path: Path, lines: list[bytes]) -> list[Any]:
        """Return those lines that are JSON, and say that there are others."""
        values = []
        for line in lines:
            try:
                with reading(path):
                    values.append(json.loads(line))
            except DamagedFileError as error:
                self.name_damage(error)
        return values
