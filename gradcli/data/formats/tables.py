"""Reads tables, of text or Parquet, as examples."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gradcli.data.formats.delimited import read_csv
from gradcli.data.formats.example_parts import ExampleParts
from gradcli.data.formats.parquet import MAGIC, read_parquet
from gradcli.data.formats.raw_table import RawTable
from gradcli.data.formats.table_encoding import TableChoice, encode, learn_encoding
from gradcli.errors import UserError

_SUFFIXES: Final = (".parquet", ".pq")


def read_tables(
    train: Path,
    choice: TableChoice,
    *,
    val: Path | None = None,
    test: Path | None = None,
    delimiter: str | None = None,
    header: bool = True,
) -> ExampleParts:
    """Read tables as examples, a file for each part.

    To split one file, call `read_table`, `learn_encoding` on the training rows (`RawTable.rows`),
    and `encode` on each part.

    Args:
        train: the training examples, which decide about categories, means and classes.
        choice: which columns are used.
        val: the validation examples.
        test: the test examples.
        delimiter: `delimited.read_csv`
        header: `delimited.read_csv`

    Raises:
        UserError: as for `read_table`, `learn_encoding` and `encode`.
    """

    def read(path: Path) -> RawTable:
        return read_table(path, delimiter=delimiter, header=header)

    training = read(train)
    encoding = learn_encoding(training, choice)
    return ExampleParts(
        encode(training, encoding),
        None if val is None else encode(read(val), encoding),
        None if test is None else encode(read(test), encoding),
    )


def read_table(path: Path, *, delimiter: str | None = None, header: bool = True) -> RawTable:
    """Read a table of text or a Parquet file, which its first bytes tell apart.

    Raises:
        UserError: as for `read_csv` and `read_parquet`.
    """
    try:
        with path.open("rb") as file:
            is_parquet = file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise UserError(f"The file cannot be read: {error.strerror}.", where=str(path)) from error
    if path.suffix.lower() in _SUFFIXES and not is_parquet:
        raise UserError(
            "This is not a Parquet file, which its name says it is: it does not begin with "
            f"{MAGIC.decode()}.",
            where=str(path),
            hint="save it again; or name it .csv if it is text",
        )
    return read_parquet(path) if is_parquet else read_csv(path, delimiter=delimiter, header=header)
