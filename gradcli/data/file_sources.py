"""The data sets that are files of the user's own, apart from MNIST's four: one class a format.

`gradcli.data.formats` reads the files, and `file_examples` makes a `Dataset` of their examples.
Here stand the keys of a config, and which files they name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from gradcli.data.data_source import DataRequest, DataSource
from gradcli.data.dataset import Dataset, ExampleNames, Split
from gradcli.data.examples import dataset_of, hold_out
from gradcli.data.file_examples import (
    LOSSES_OF_CLASSES,
    Loss,
    SourceWords,
    dataset_of_parts,
    on_whole_floats,
    refuse_too_few,
)
from gradcli.data.formats.bounded import refuse_too_large
from gradcli.data.formats.example_parts import Channels, ExampleParts, Examples, refuse_unlike
from gradcli.data.formats.idx_arrays import read_idx_folder
from gradcli.data.formats.image_file import Mode
from gradcli.data.formats.image_folder import read_image_folder
from gradcli.data.formats.npz import read_npz
from gradcli.data.formats.raw_table import RawTable
from gradcli.data.formats.scaling import Scaling
from gradcli.data.formats.table_encoding import (
    Missing,
    TableChoice,
    TargetKind,
    encode,
    learn_encoding,
    targets_of,
)
from gradcli.data.formats.tables import read_table
from gradcli.data.formats.text_tokens import Level, read_text
from gradcli.data.sources import refuse_folder
from gradcli.errors import UserError, nearest
from gradcli.objectives import objective_named

_TARGET_KINDS: Final[dict[str, TargetKind]] = {
    **dict.fromkeys(LOSSES_OF_CLASSES, "classes"),
    **dict.fromkeys(("mse", "l1"), "numbers"),
}
_OWN_ROWS: Final = "files of your own: data.val_path=FILE and data.test_path=FILE"
_BYTES: Final = 256
_INT64_BYTES: Final = 8


class _Arrays(DataSource):
    """Arrays of inputs and targets.

    Args:
        channels: where the channels of images are (`formats.Channels`).
        loss: what is minimised.
        standardize: give inputs that are no images mean 0 and deviation 1.
        standardize_targets: give numbers to predict mean 0 and deviation 1.
    """

    words = SourceWords(
        "All targets are {label}.", "parts of your own: x_val, y_val, x_test and y_test"
    )

    def __init__(
        self,
        channels: Channels = "auto",
        loss: Loss = "auto",
        standardize: bool = False,
        standardize_targets: bool = False,
    ) -> None:
        self._channels, self._loss = channels, loss
        self._scaling = Scaling(standardize, standardize_targets)

    def _dataset(self, parts: ExampleParts, request: DataRequest, where: Path) -> Dataset:
        _refuse_second_val(request, parts.val is not None, where)
        dataset = dataset_of_parts(
            parts, request, self._loss, self.target_score, where, self._scaling, self.words
        )
        remarks = on_whole_floats(parts.train.targets) if self._loss == "auto" else ()
        return replace(dataset, remarks=(*remarks, *dataset.remarks))


class NpzFile(_Arrays):
    """An archive of NumPy's arrays.

    Args:
        path: the file.
        channels: where the channels of images are (`formats.Channels`).
        loss: what is minimised.
        standardize: give inputs that are no images mean 0 and deviation 1.
        standardize_targets: give numbers to predict mean 0 and deviation 1.
    """

    def __init__(
        self,
        path: str | None = None,
        channels: Channels = "auto",
        loss: Loss = "auto",
        standardize: bool = False,
        standardize_targets: bool = False,
    ) -> None:
        super().__init__(channels, loss, standardize, standardize_targets)
        self._path = path

    def load(self, request: DataRequest) -> Dataset:
        """Read `data.path`."""
        refuse_folder(request)
        path = _given(self._path, "data.path", "FILE.npz")
        return self._dataset(read_npz(path, channels=self._channels), request, path)


class IdxArrays(_Arrays):
    """A folder of IDX files of any type and any number of axes."""

    words = SourceWords("All targets are {label}.", "parts of your own: files val-... and test-...")

    def load(self, request: DataRequest) -> Dataset:
        """Read `data.folder`."""
        folder = _given(request.folder, "data.folder", "FOLDER")
        return self._dataset(read_idx_folder(folder, channels=self._channels), request, folder)


class ImageFolder(DataSource):
    """A folder of images, one sub-folder per class.

    Args:
        mode: `L` for grey, `RGB` for colour.
        size: height and width to resize to; None if all images have one size.
    """

    def __init__(self, mode: Mode = "RGB", size: Sequence[int] | None = None) -> None:
        self._mode, self._size = mode, size

    def load(self, request: DataRequest) -> Dataset:
        """Read `data.folder`."""
        folder = _given(request.folder, "data.folder", "FOLDER")
        parts = read_image_folder(folder, mode=self._mode, size=self._size)
        _refuse_second_val(request, parts.val is not None, folder)
        return dataset_of_parts(
            parts,
            request,
            "auto",
            self.target_score,
            folder,
            Scaling(),
            words=SourceWords(
                "All images are in the folder {label}.",
                "folders of your own: train, val and test, each with a folder for each class",
            ),
        )


class TableFile(DataSource):
    """A table, of text (CSV, TSV) or Parquet, whose rows are examples.

    Args:
        path: the file with the training rows.
        val_path: the file with the validation rows; None holds out rows of `path`.
        test_path: the file with the test rows; None holds out rows of `path`.
        target: the column to predict, by name or counted from 0; -1 is the last.
        features: the columns that are inputs; None is all but the target.
        leave_out: columns that are not.
        categorical: inputs that become a 0 or 1 for each of their values.
        missing: what happens to a missing number in the inputs.
        target_kind: `classes` or `numbers`; None decides by the values (`TableChoice`).
        standardize: subtract from each input its mean in the training rows, and divide by its
            deviation there.
        standardize_targets: do the same with numbers to predict.
        loss: what is minimised.
        header: whether the first line of a text has the names of the columns; they are `0`, `1`,
            ... if not.
        delimiter: what separates the cells of a text; None finds it out.
    """

    def __init__(
        self,
        path: str | None = None,
        val_path: str | None = None,
        test_path: str | None = None,
        target: str | int | None = None,
        features: Sequence[str | int] | None = None,
        leave_out: Sequence[str | int] = (),
        categorical: Sequence[str | int] = (),
        missing: Missing = "error",
        target_kind: TargetKind | None = None,
        standardize: bool = True,
        standardize_targets: bool = False,
        loss: Loss = "auto",
        header: bool = True,
        delimiter: str | None = None,
    ) -> None:
        self._read = partial(read_table, header=header, delimiter=delimiter)
        self._path, self._val_path, self._test_path = path, val_path, test_path
        self._target, self._features, self._leave_out = target, features, leave_out
        self._categorical, self._missing, self._target_kind = categorical, missing, target_kind
        self._scaling, self._loss = Scaling(standardize, standardize_targets), loss

    def load(self, request: DataRequest) -> Dataset:
        """Read `data.path`, and the other files if there are some."""
        refuse_folder(request)
        path = _given(self._path, "data.path", "FILE.csv")
        _refuse_second_val(request, self._val_path is not None, self._val_path)
        table = self._read(path)
        choice = self._choice(table)
        parts, remarks = self._parts(table, choice, request)
        target = table.column(choice.target, "data.target").name
        dataset = dataset_of_parts(
            parts,
            request,
            self._loss,
            self.target_score,
            path,
            self._scaling,
            words=SourceWords(f"The target '{target}' is {{label}} in all rows.", _OWN_ROWS),
        )
        return replace(dataset, remarks=(*remarks, *dataset.remarks))

    def _choice(self, table: RawTable) -> TableChoice:
        if self._target is None:
            names = [column.name for column in table.columns]
            raise UserError(
                f"{table.path} needs the column that is to be predicted.",
                where="data.target",
                choices=names[-3:],
                hint="data.target=COLUMN; data.target=-1 for the last",
            )
        return TableChoice(
            self._target,
            self._features,
            self._leave_out,
            self._categorical,
            self._missing,
            self._target_kind or _TARGET_KINDS.get(self._loss),
        )

    def _parts(
        self, table: RawTable, choice: TableChoice, request: DataRequest
    ) -> tuple[ExampleParts, tuple[str, ...]]:
        """Return the examples of the three parts, and how the table was read.

        The parts that are in one file are divided by row.
        """
        # The division depends on the classes alone, and what is learned depends on the division.
        targets = targets_of(table, learn_encoding(table, choice))
        if self._test_path is None or (self._val_path is None and request.val is None):
            refuse_too_few(len(table), _OWN_ROWS, table.path)
        rows = {"train": Split(torch.arange(len(table)), targets)}
        if self._test_path is None:
            rows["train"], rows["test"] = hold_out(rows["train"], None, request.name)
        if self._val_path is None and request.val != 0:
            rows["train"], rows["val"] = hold_out(rows["train"], request.val, request.name)
        encoding = learn_encoding(table, choice, training=rows["train"].inputs.numpy())
        whole = encode(table, encoding)
        parts = {part: _rows(whole, split.inputs) for part, split in rows.items()}
        for part, other in (("val", self._val_path), ("test", self._test_path)):
            if other is not None:
                parts[part] = encode(self._read(Path(other)), encoding)
        remarks = (*table.remarks, *encoding.remarks)
        return refuse_unlike(ExampleParts(**parts), table.path), remarks


class TextFile(DataSource):
    """A text, of which a model is to predict the next byte or character.

    Args:
        path: the file.
        level: `byte` takes any file, `character` one in UTF-8.
        length: the tokens of an example.
        stride: how many tokens lie between the beginnings of two examples; None is `length`.
        val_fraction: the part of the text that is for validation: what follows the training text.
        test_fraction: the part of the text that is for the test: its end.
    """

    def __init__(
        self,
        path: str | None = None,
        level: Level = "byte",
        length: int = 64,
        stride: int | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
    ) -> None:
        self._path, self._level = path, level
        self._length, self._stride = length, length if stride is None else stride
        self._val_fraction, self._test_fraction = val_fraction, test_fraction

    def load(self, request: DataRequest) -> Dataset:
        """Read `data.path`."""
        refuse_folder(request)
        self._refuse_choices(request)
        path = _given(self._path, "data.path", "FILE.txt")
        tokens = read_text(
            path, level=self._level, val=self._val_fraction, test=self._test_fraction
        )
        dataset = dataset_of(
            self._windows(tokens.train, "training", path),
            self._windows(tokens.val, "validation", path) if len(tokens.val) else None,
            self._windows(tokens.test, "test", path),
            name=request.name,
            objective=objective_named("next_token"),
            held_out=0,
            vocabulary=_BYTES if tokens.vocabulary is None else len(tokens.vocabulary),
        )
        # A byte of a longer character is shown as that of Latin-1.
        characters = tokens.vocabulary or tuple(map(chr, range(_BYTES)))
        return replace(dataset, names=ExampleNames(tokens=characters))

    def _refuse_choices(self, request: DataRequest) -> None:
        if request.val is not None:
            raise UserError(
                "data.val counts examples; a text is divided by data.val_fraction.",
                where="data.val",
                hint="data.val_fraction=0.1",
            )
        for key, size in (("length", self._length), ("stride", self._stride)):
            if size < 1:
                raise UserError(
                    f"data.{key} is {size}; it must be 1 or more.",
                    where=f"data.{key}",
                    hint=f"data.{key}=64",
                )
        if not self._test_fraction > 0:
            raise UserError(
                f"data.test_fraction is {self._test_fraction}; a part of the text must be left for "
                "the test.",
                where="data.test_fraction",
                hint="data.test_fraction=0.1",
            )

    def _windows(self, tokens: Tensor, part: str, path: Path) -> Split:
        """Return the windows of a part, whose targets are the tokens that follow.

        Raises:
            UserError: if it is shorter than one.
        """
        if len(tokens) <= self._length:
            raise UserError(
                f"The {part} text has {len(tokens):,} tokens; an example takes {self._length + 1}, "
                "the last as a target.",
                where=str(path),
                hint="a smaller data.length, or a longer text",
            )
        count = (len(tokens) - 1 - self._length) // self._stride + 1
        values = 2 * count * self._length * _INT64_BYTES
        refuse_too_large(values, f"{count:,} examples of {self._length} tokens", path)
        tokens = tokens.long()
        inputs = tokens[:-1].unfold(0, self._length, self._stride)
        targets = tokens[1:].unfold(0, self._length, self._stride)
        return Split(inputs.contiguous(), targets.contiguous())


def _given(path: str | Path | None, key: str, example: str) -> Path:
    """Return the path that a key must give, of something that is there."""
    if not path:
        raise UserError(f"This data set needs {key}.", where=key, hint=f"{key}={example}")
    found = Path(path)
    if not found.exists():
        folder = found.parent
        beside = [str(one) for one in folder.iterdir()] if folder.is_dir() else []
        likely = nearest(str(found), sorted(beside))
        raise UserError(
            f"There is no {found}.",
            where=key,
            choices=likely,
            hint=f"{key}={likely[0] if likely else example}",
        )
    return found


def _refuse_second_val(request: DataRequest, has_val: bool, where: str | Path | None) -> None:
    """Refuse to hold out validation examples if the user has some of their own."""
    if has_val and request.val is not None:
        raise UserError(
            "data.val holds out training examples, but the data has validation examples of its "
            f"own: {where}.",
            where="data.val",
            hint="leave out data.val",
        )


def _rows(examples: Examples, rows: Tensor) -> Examples:
    return Examples(
        examples.inputs[rows], examples.targets[rows], examples.classes, examples.columns, rows
    )
