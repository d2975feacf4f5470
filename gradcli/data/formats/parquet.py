"""Reads tables from Parquet: the only module that imports pyarrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gradcli.data.formats.bounded import refuse_too_large
from gradcli.data.formats.raw_table import RawColumn, RawTable, table_of
from gradcli.errors import UserError
from gradcli.extras.missing import not_installed

#: How a Parquet file begins and ends (https://parquet.apache.org/docs/file-format/).
MAGIC = b"PAR1"


def read_parquet(path: Path) -> RawTable:
    """Read a table.

    Integers, floating point, decimals and booleans are numbers; strings and dictionaries of them
    are text; columns of other types are there, but cannot be used. Null is missing, as is NaN.

    Raises:
        UserError: if the file is damaged, a name occurs twice, or pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise not_installed("pyarrow", "tables", error, what="This format") from error
    try:
        with parquet.ParquetFile(path) as file:
            _refuse_too_many(file.metadata, path)
            table = file.read(use_threads=False)
        columns = [
            _column(pyarrow, name, column)
            for name, column in zip(table.column_names, table.columns, strict=True)
        ]
    except UserError:
        raise
    except OSError as error:
        raise UserError(
            f"The file cannot be read: {error.strerror or error}.", where=str(path)
        ) from error
    except Exception as error:
        # pyarrow's errors have several bases, and text that is not UTF-8 fails in Python.
        raise UserError(f"This is not a sound Parquet file: {error}.", where=str(path)) from error
    return table_of(path, columns, np.arange(1, table.num_rows + 1), "row")


def _refuse_too_many(metadata: Any, path: Path) -> None:
    """Refuse a table that is too large, by its header: a run of equal values takes no space."""
    unpacked = sum(
        metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups)
    )
    as_numbers = metadata.num_rows * metadata.num_columns * np.dtype(np.float64).itemsize
    what = f"{metadata.num_rows:,} rows of {metadata.num_columns:,} columns"
    refuse_too_large(max(unpacked, as_numbers), what, path)


def _column(pyarrow: Any, name: str, column: Any) -> RawColumn:
    types = pyarrow.types
    kind = column.type
    values = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_string(values) or types.is_large_string(values) or types.is_string_view(values):
        kept: dict[str, str] = {}
        texts = [
            None if one is None else kept.setdefault(one, one)
            for chunk in column.chunks
            for one in chunk.to_pylist()
        ]
        return RawColumn(name, "text", texts=texts)
    are_integers = types.is_integer(kind) or types.is_boolean(kind)
    if not (
        are_integers or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind)
    ):
        return RawColumn(name, str(kind))
    numbers = column.cast(pyarrow.float64(), safe=False).to_numpy()
    return RawColumn(
        name, "integers" if are_integers else "numbers", numbers=np.array(numbers, dtype=np.float64)
    )
