"""`steps.bin`: one fixed-width little-endian row per logged step, described by `steps.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from gradcli.errors import UserError
from gradcli.records import LayerInfo, StepRecords
from gradcli.runs.files import refuse_unknown_schema, write_json
from gradcli.system.naming import naming

STEPS_FILE = "steps.bin"
_DESCRIPTION = "steps.json"
#: The version of the log's layout. `docs/architecture.md` describes the next one.
_SCHEMA = 1


def row_type(parameters: int) -> np.dtype[Any]:
    """Return the type of a row for a model of `parameters` parameters."""
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


class StepLog:
    """Appends to the step log of a run directory.

    Args:
        directory: the run directory.
        layers: the layers whose parameters are the columns.
        size: the bytes of the existing log that stay; the rest is cut off.
    """

    def __init__(self, directory: Path, layers: tuple[LayerInfo, ...], size: int) -> None:
        names = [parameter.name for layer in layers for parameter in layer.parameters]
        self._type = row_type(len(names))
        write_json(
            directory / _DESCRIPTION,
            {
                "schema": _SCHEMA,
                "row_bytes": self._type.itemsize,
                "columns": _described(self._type),
                "parameters": names,
            },
        )
        self._file = (directory / STEPS_FILE).open("ab", buffering=0)
        self._file.truncate(size)

    def append(self, records: StepRecords) -> None:
        """Append a block of steps; values outside the range of float32 become infinite."""
        rows = np.empty(len(records), dtype=self._type)
        with np.errstate(over="ignore"):
            for name in self._type.names or ():
                rows[name] = getattr(records, name)
        unwritten = memoryview(rows.tobytes())
        with naming(self._file.name):
            while unwritten:  # a disk that fills up takes only a part
                unwritten = unwritten[self._file.write(unwritten) :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_steps(directory: Path, last: int | None = None) -> StepRecords:
    """Read the steps of a run as columns mapped from the file, without an incomplete last row.

    Args:
        directory: the run directory.
        last: read only this many of the last steps, as a copy. A resumed run cuts its log, and a
            process that reads a mapped part that was cut off is killed by a signal.

    Raises:
        UserError: if a newer gradcli wrote the log, or its description is not one of gradcli's.
    """
    try:
        description = json.loads((directory / _DESCRIPTION).read_text())
    except FileNotFoundError:
        return _columns(np.empty(0, dtype=row_type(0)))
    refuse_unknown_schema(description, directory / _DESCRIPTION, newest=_SCHEMA)
    dtype = _known_type(description, directory / _DESCRIPTION)
    path = directory / STEPS_FILE
    rows = path.stat().st_size // dtype.itemsize if path.exists() else 0
    if not rows:
        return _columns(np.empty(0, dtype=dtype))
    if last is not None:
        skipped = max(0, rows - last) * dtype.itemsize
        return _columns(np.fromfile(path, dtype, count=min(rows, last), offset=skipped))
    return _columns(np.memmap(path, dtype, mode="r", shape=(rows,)))


def _described(rows: np.dtype[Any]) -> list[dict[str, Any]]:
    """Return the columns of a type of rows, as `steps.json` has them."""
    return [
        {"name": name, "type": rows[name].base.str, "shape": list(rows[name].shape)}
        for name in rows.names or ()
    ]


def _known_type(description: dict[str, Any], path: Path) -> np.dtype[Any]:
    """Return the type of the rows that `steps.json` describes.

    No other one is mapped: bytes read as NumPy's objects would be followed as addresses.

    Raises:
        UserError: if gradcli does not write such rows.
    """
    known = row_type(len(description["parameters"]))
    if description["columns"] != _described(known):
        raise UserError(
            f"{path} describes rows that gradcli does not write.",
            where=str(path),
            hint=f"restore the file, or move {path.parent} elsewhere",
        )
    return known


def _columns(rows: np.ndarray[Any, np.dtype[Any]]) -> StepRecords:
    columns: dict[str, Any] = {name: rows[name] for name in rows.dtype.names or ()}
    return StepRecords(**columns)
