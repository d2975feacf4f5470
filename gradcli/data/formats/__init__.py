"""Readers of files that hold examples: archives of arrays, images, tables, text, IDX.

A reader is a function of a path: it caches nothing, downloads nothing, and returns the same for the
same file. Memory is bounded by what a file can hold, and what is wrong with a file is a `UserError`
that names it, the place in it, and what was expected.
"""

from gradcli.data.formats.example_parts import Channels, ExampleParts, Examples
from gradcli.data.formats.idx_arrays import read_idx, read_idx_folder
from gradcli.data.formats.image_folder import read_image_folder
from gradcli.data.formats.npz import read_npz
from gradcli.data.formats.table_encoding import (
    TableChoice,
    TableEncoding,
    encode,
    learn_encoding,
    targets_of,
)
from gradcli.data.formats.tables import read_table, read_tables
from gradcli.data.formats.text_tokens import TextTokens, read_text

__all__ = [
    "Channels",
    "ExampleParts",
    "Examples",
    "TableChoice",
    "TableEncoding",
    "TextTokens",
    "encode",
    "learn_encoding",
    "read_idx",
    "read_idx_folder",
    "read_image_folder",
    "read_npz",
    "read_table",
    "read_tables",
    "read_text",
    "targets_of",
]
