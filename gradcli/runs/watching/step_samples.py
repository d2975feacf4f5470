"""Steps of a run at equal distances: the course of a run of any length, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcli.records import StepRecords
from gradcli.runs.logs.log_blocks import STEPS_FILE
from gradcli.runs.logs.step_log import columns_of_rows, described_rows
from gradcli.runs.stored import reading

if TYPE_CHECKING:
    import numpy as np

#: More than a wide terminal has dots in a row.
MOST_STEPS = 512


class StepSamples:
    """Follows the step log of a run that may be written, cut or removed at any time.

    It keeps the rows 0, s, 2s, ... and the last one. As the log grows, the distance s doubles, so
    that no more than `most` are kept, and a look reads only the rows that are kept and new.

    Args:
        directory: the run directory.
        parameters: how many the run's model has.
        most: how many rows to keep, beside the last one; even.
    """

    def __init__(self, directory: Path, parameters: int, most: int = MOST_STEPS) -> None:
        self._directory = directory
        self._parameters = parameters
        self._most = most
        self._left_out: Sequence[range] = ()
        self.forget()

    def forget(self) -> None:
        """Begin anew, as after a resume, which may have written other rows."""
        self.distance = 1
        """How many steps lie between two that are kept."""
        self.rows = 0
        """The rows of the log when it was last looked at."""
        self._places: list[int] = []
        self._kept: np.ndarray[Any, Any] | None = None
        self._last: np.ndarray[Any, Any] | None = None

    def leave_out(self, damaged: Sequence[range]) -> None:
        """Leave out what is in these parts of the log, in bytes."""
        self._left_out = damaged
        self.forget()

    def look(self) -> bool:
        """Read what is new; return whether anything is.

        Raises:
            UserError: if the log cannot be read, or a newer gradcli wrote it.
        """
        dtype, rows = described_rows(self._directory, self._parameters)
        if rows < self.rows:
            self.leave_out(())  # what was damaged of the other rows says nothing of these
        if rows == self.rows:
            return False
        while -(-rows // self.distance) > self._most:
            self.distance *= 2
        self._thin()
        begin = self._places[-1] + self.distance if self._places else 0
        wanted = list(self._undamaged(range(begin, rows, self.distance), dtype.itemsize))
        read = self._read(wanted, dtype)
        self._places += wanted[: len(read)]
        self._kept = read if self._kept is None else _joined(self._kept, read)
        last = self._read(list(self._undamaged(range(rows - 1, rows), dtype.itemsize)), dtype)
        self._last = last if len(last) else None
        self.rows = rows
        return True

    def steps(self) -> StepRecords:
        """Return the steps that are kept, in their order."""
        dtype, _ = described_rows(self._directory, self._parameters)
        import numpy as np

        kept = np.empty(0, dtype) if self._kept is None else self._kept
        if self._last is not None and (not self._places or self._places[-1] != self.rows - 1):
            kept = _joined(kept, self._last)
        return columns_of_rows(kept)

    def _thin(self) -> None:
        """Drop the rows that are not at the distance of now."""
        if self._kept is None:
            return
        chosen = [at for at, place in enumerate(self._places) if place % self.distance == 0]
        if len(chosen) < len(self._places):
            self._kept = self._kept[chosen]
            self._places = [self._places[at] for at in chosen]

    def _undamaged(self, places: Sequence[int], row_bytes: int) -> Iterator[int]:
        for place in places:
            begin, end = place * row_bytes, (place + 1) * row_bytes
            if not any(part.start < end and begin < part.stop for part in self._left_out):
                yield place

    def _read(self, places: Sequence[int], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """Read rows, rising; fewer if the log has just been cut."""
        import numpy as np

        if not places:
            return np.empty(0, dtype)
        path, size = self._directory / STEPS_FILE, dtype.itemsize
        with reading(path), path.open("rb", buffering=0) as file:
            if len(places) == places[-1] - places[0] + 1:
                file.seek(places[0] * size)
                data = file.read(len(places) * size)
                return np.frombuffer(data[: len(data) // size * size], dtype)
            rows = []
            for place in places:
                file.seek(place * size)
                if len(row := file.read(size)) < size:
                    break
                rows.append(row)
        return np.frombuffer(b"".join(rows), dtype)


def _joined(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.concatenate([one, two])
