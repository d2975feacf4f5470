"""Tables in Parquet: which types are numbers, text or neither."""

import datetime
import decimal
import sys

import numpy as np
import pytest

from gradcli.data.formats import bounded
from gradcli.data.formats.table_encoding import TableChoice
from gradcli.data.formats.tables import read_table, read_tables
from gradcli.errors import UserError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

TYPES = {
    "int8": pyarrow.int8(),
    "uint64": pyarrow.uint64(),
    "half": pyarrow.float16(),
    "single": pyarrow.float32(),
    "double": pyarrow.float64(),
    "decimal": pyarrow.decimal128(9, 2),
    "bool": pyarrow.bool_(),
}


@pytest.fixture
def saved(tmp_path):
    """Write a table; return its path."""

    def save(columns, name="table.parquet", **options):
        parquet.write_table(pyarrow.table(columns), tmp_path / name, **options)
        return tmp_path / name

    return save


@pytest.mark.parametrize("name", TYPES)
def test_numbers_of_every_type(saved, name):
    values = [1, 0, None, 1]
    if name == "decimal":
        values = [decimal.Decimal("1.25"), decimal.Decimal(0), None, decimal.Decimal(-3)]
    elif name == "half":
        values = [np.float16(1.5), np.float16(0), None, np.float16(2)]
    elif name == "bool":
        values = [True, False, None, True]
    path = saved({"a": pyarrow.array(values, TYPES[name])}, row_group_size=2)
    column = read_table(path).columns[0]
    assert column.numbers.dtype == np.float64
    expected = [np.nan if one is None else float(one) for one in values]
    assert np.array_equal(column.numbers, expected, equal_nan=True)
    assert column.kind == ("integers" if name in ("int8", "uint64", "bool") else "numbers")


@pytest.mark.parametrize("dictionary", [False, True])
def test_text(saved, dictionary):
    values = pyarrow.array(["ü", None, "b", "ü"])
    path = saved({"a": values.dictionary_encode() if dictionary else values}, row_group_size=3)
    column = read_table(path).columns[0]
    assert list(column.texts) == ["ü", None, "b", "ü"]
    assert column.kind == "text"


def test_the_same_examples_as_from_text(saved, tmp_path):
    columns = {"a": [1.5, 2.5, None], "b": ["u", "v", "u"], "y": [3, 1, 3]}
    (tmp_path / "table.csv").write_text("a,b,y\n1.5,u,3\n2.5,v,1\n,u,3\n")
    choice = TableChoice("y", categorical=["b"], missing="mean", target_kind="classes")
    parts = read_tables(saved(columns), choice, test=tmp_path / "table.csv")
    assert parts.train.inputs.tolist() == parts.test.inputs.tolist()
    assert parts.train.targets.tolist() == parts.test.targets.tolist() == [1, 0, 1]
    assert parts.train.classes == ("1", "3")


def test_missing_values_are_told_with_their_row(saved):
    path = saved({"a": [1.0, 2.0, None], "y": [0, 1, 0]}, row_group_size=2)
    with pytest.raises(UserError, match="'a' has no value in row 3") as caught:
        read_tables(path, TableChoice("y"))
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("values", "kind"),
    [([datetime.date(2020, 1, 1)], "date32"), ([[1, 2]], "list"), ([b"x"], "binary")],
)
def test_other_types_cannot_be_used_but_left_out(saved, values, kind):
    path = saved({"a": values, "b": [1], "y": [0]})
    with pytest.raises(UserError, match=f"'a' is of the type {kind}") as caught:
        read_tables(path, TableChoice("y"))
    assert caught.value.hint == "data.leave_out=[a]"
    with pytest.raises(UserError, match=f"'a' is of the type {kind}"):
        read_tables(path, TableChoice("a"))
    assert read_tables(path, TableChoice("y", leave_out=["a"])).train.columns == ("b",)


def test_text_of_numbers_is_text(saved):
    path = saved({"a": ["1", "2"], "y": [0, 1]})
    with pytest.raises(UserError, match="'a' holds '1' in row 1, where a number"):
        read_tables(path, TableChoice("y"))


def test_a_column_of_nulls(saved):
    path = saved({"a": pyarrow.nulls(2), "y": [0, 1]})
    with pytest.raises(UserError, match="'a' has no value in row 1 and in 1 more"):
        read_tables(path, TableChoice("y"))


def test_names_that_occur_twice(tmp_path):
    table = pyarrow.Table.from_arrays([pyarrow.array([1]), pyarrow.array([2])], names=["a", "a"])
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(UserError, match="one name: 'a'"):
        read_table(tmp_path / "t.parquet")


def test_no_rows(saved):
    with pytest.raises(UserError, match="table has no rows"):
        read_table(saved({"a": pyarrow.array([], pyarrow.int8())}))


def test_a_run_of_equal_values_that_would_not_fit_is_refused_by_its_header(saved, monkeypatch):
    path = saved({"a": np.zeros(100_000), "y": np.zeros(100_000, int)})
    assert path.stat().st_size < 5000
    monkeypatch.setattr(bounded, "MOST_BYTES", 2**20)
    with pytest.raises(UserError, match="100,000 rows of 2 columns would take"):
        read_table(path)


def test_without_pyarrow_the_line_to_install_it_is_given(saved, monkeypatch):
    path = saved({"a": [1], "y": [0]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match="needs pyarrow") as caught:
        read_table(path)
    assert caught.value.hint == "pip install 'gradcli[tables]'"


def test_a_truncated_file(saved):
    path = saved({"a": [1], "y": [0]})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="not a sound Parquet file") as caught:
        read_table(path)
    assert caught.value.where == str(path)


def test_text_with_the_name_of_a_parquet_file_is_not_read_as_text(tmp_path):
    (tmp_path / "bad.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="not a Parquet file, which its name says"):
        read_table(tmp_path / "bad.parquet")
