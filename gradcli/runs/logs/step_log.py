"""`steps.bin`: one fixed-width little-endian row per logged step, described by `steps.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcli.records import LayerInfo, StepRecords
from gradcli.runs.files import refuse_unknown_schema, write_json
from gradcli.runs.logs.log_blocks import STEPS_FILE
from gradcli.runs.stored import MalformedError, damaged, decoded, file_size, reading

if TYPE_CHECKING:
    import numpy as np

DESCRIPTION_FILE = "steps.json"
#: The version of the log's layout. `docs/architecture.md` describes the next one.
_SCHEMA = 1
#: A log of at most so many bytes is read, not mapped: each map holds a file open, and the pictures
#: of a comparison need the logs of hundreds of trials at once.
_SHORT = 1 << 16


def row_type(parameters: int) -> np.dtype[Any]:
    """Return the type of a row for a model of `parameters` parameters."""
    import numpy as np

    return np.dtype(
        [
            ("step", "<i8"),
            ("epoch", "<i4"),
            ("loss", "<f4"),
            ("learning_rate", "<f8"),
            ("grad_norm_before_clip", "<f4"),
            ("clip_coefficient", "<f4"),
            ("parameter_grad_norm_before_clip", "<f4", (parameters,)),
            ("parameter_grad_norm_after_clip", "<f4", (parameters,)),
        ]
    )


@dataclass(frozen=True)
class _Column:
    name: str
    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Description:
    """The content of `steps.json`."""

    schema: int
    row_bytes: int
    columns: tuple[_Column, ...]
    parameters: tuple[str, ...]


class StepRows:
    """The rows of a step log for a model, described in `steps.json` of the run directory.

    Args:
        directory: the run directory.
        layers: the layers whose parameters are the columns.
    """

    def __init__(self, directory: Path, layers: tuple[LayerInfo, ...]) -> None:
        names = tuple(parameter.name for layer in layers for parameter in layer.parameters)
        self._type = row_type(len(names))
        columns = _columns_of(self._type)
        described = _Description(_SCHEMA, self._type.itemsize, columns, names)
        write_json(directory / DESCRIPTION_FILE, asdict(described))

    def rows(self, records: StepRecords) -> bytes:
        """Return a block of steps as rows; values outside the range of float32 become infinite."""
        return _rows(records, self._type).tobytes()


def steps_as_logged(records: StepRecords) -> StepRecords:
    """Return a block of steps as it is read back from a log, in the types that this has."""
    return _columns(_rows(records, row_type(records.parameter_grad_norm_before_clip.shape[1])))


def _rows(records: StepRecords, dtype: np.dtype[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    import numpy as np

    rows = np.empty(len(records), dtype=dtype)
    with np.errstate(over="ignore"):
        for name in dtype.names or ():
            rows[name] = getattr(records, name)
    return rows


def read_steps(directory: Path, parameters: int, without: Sequence[range] = ()) -> StepRecords:
    """Read the steps of a run as columns, without an incomplete last row.

    Those of a long log are mapped from the file.

    Args:
        directory: the run directory.
        parameters: how many the run's model has.
        without: parts of the log that are left out, in bytes, rising. The columns are then a copy,
            unless it is only the end.

    Raises:
        UserError: if a newer gradcli wrote the log.
        DamagedFileError: if the log or its description cannot be read, or is not one of gradcli's.
    """
    import numpy as np

    dtype, rows = _described(directory, parameters)
    if not rows:
        return _columns(np.empty(0, dtype=dtype))
    if dtype != row_type(parameters):
        raise damaged(directory / DESCRIPTION_FILE, f"does not describe {parameters} parameters")
    if without and without[-1].stop >= rows * dtype.itemsize:
        rows, without = min(rows, without[-1].start // dtype.itemsize), without[:-1]
    if not rows:
        return _columns(np.empty(0, dtype=dtype))
    path = directory / STEPS_FILE
    if rows * dtype.itemsize <= _SHORT:
        mapped = np.fromfile(path, dtype, count=rows)
    else:
        mapped = np.memmap(path, dtype, mode="r", shape=(rows,))
    if not without:
        return _columns(mapped)
    kept = np.ones(rows, dtype=bool)
    for part in without:
        kept[part.start // dtype.itemsize : -(-part.stop // dtype.itemsize)] = False
    return _columns(mapped[kept])


def read_last_steps(directory: Path, parameters: int, count: int) -> StepRecords:
    """Read the last steps of a run as a copy, and without looking at checksums.

    For a run at work: a resumed one cuts its log, and a process that reads a mapped part that was
    cut off is killed by a signal.

    Raises:
        UserError: as `read_steps` does.
    """
    import numpy as np

    dtype, rows = _described(directory, parameters)
    if not rows:
        return _columns(np.empty(0, dtype=dtype))
    skipped = max(0, rows - count) * dtype.itemsize
    return _columns(
        np.fromfile(directory / STEPS_FILE, dtype, count=min(rows, count), offset=skipped)
    )


def _described(directory: Path, parameters: int) -> tuple[np.dtype[Any], int]:
    """Return the type of a row, and the number of whole rows.

    A machine that crashed at the start may have lost the description: then there are no rows.

    No rows but gradcli's own are mapped: bytes read as NumPy's objects would be followed as
    addresses.
    """
    path = directory / DESCRIPTION_FILE
    if not os.path.lexists(path):
        return row_type(parameters), 0
    with reading(path):
        content = path.read_bytes()
        refuse_unknown_schema(decoded(dict[str, Any], json.loads(content)), path, newest=_SCHEMA)
        dtype = _described_type(content)
    return dtype, file_size(directory / STEPS_FILE) // dtype.itemsize


@lru_cache(maxsize=64)
def _described_type(content: bytes) -> np.dtype[Any]:
    """Decode a description; the trials of a comparison have few different ones.

    Raises:
        ValueError: if it describes other rows than gradcli's.
    """
    description: _Description = decoded(_Description, json.loads(content))
    dtype = row_type(len(description.parameters))
    if (description.columns, description.row_bytes) != (_columns_of(dtype), dtype.itemsize):
        raise MalformedError("describes other columns than schema 1 has")
    return dtype


def _columns_of(dtype: np.dtype[Any]) -> tuple[_Column, ...]:
    named = ((name, dtype[name]) for name in dtype.names or ())
    return tuple(_Column(name, type_.base.str, type_.shape) for name, type_ in named)


def _columns(rows: np.ndarray[Any, np.dtype[Any]]) -> StepRecords:
    columns: dict[str, Any] = {name: rows[name] for name in rows.dtype.names or ()}
    return StepRecords(**columns)
