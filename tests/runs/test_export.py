"""Tables of steps, and the formats in which they are written."""

import io
import json
import math
import os
import stat

import numpy as np
import pytest

from gradcli.runs import RunWriter, export, load_run
from gradcli.runs.export import (
    Table,
    step_table,
    step_table_of_trials,
    write_csv,
    write_jsonl,
    write_parquet,
)


@pytest.fixture
def run(tmp_path, run_info, make_steps):
    """A run of seven steps."""
    writer = RunWriter(tmp_path, "", {})
    writer.begin(run_info, {})
    writer.write(make_steps(1, 7))
    writer.close()
    return load_run(tmp_path)


def written(write, *rows, columns=("a", "b")):
    file = io.StringIO()
    write(Table(columns, iter(rows)), file)
    return file.getvalue()


def test_csv_has_full_names_and_leaves_empty_what_is_missing():
    assert written(write_csv, {"a": 1, "b": "x"}, {"b": math.nan}, {"a": -math.inf}) == (
        "a,b\n1,x\n,nan\n-inf,\n"
    )


def test_csv_escapes_control_characters_of_names_and_texts():
    found = written(write_csv, {"a\x1b": "\x1b[31m"}, columns=("a\x1b",))
    assert "\x1b" not in found
    assert len(found.splitlines()) == 2


def test_jsonl_leaves_out_what_is_missing_and_writes_words_for_what_is_not_finite():
    lines = written(write_jsonl, {"a": 1, "b": math.nan}, {"b": -math.inf}).splitlines()
    assert [json.loads(line) for line in lines] == [{"a": 1, "b": "nan"}, {"b": "-inf"}]


def test_parquet_keeps_each_number_in_its_type_and_what_is_missing_as_null():
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"n": 1, "x": 0.1, "y": math.nan, "b": (1, 2)}, {"n": 2, "x": math.inf, "b": "é"}]
    numbers = {"n": "int64", "x": "float32", "y": "float64"}
    file = io.BytesIO()
    write_parquet(Table(("n", "x", "y", "b"), iter(rows), numbers), file)
    table = parquet.read_table(file)
    assert [str(one) for one in table.schema.types] == ["int64", "float", "double", "string"]
    assert table["n"].to_pylist() == [1, 2]
    assert table["x"].to_pylist() == [float(np.float32(0.1)), math.inf]
    first, second = table["y"].to_pylist()
    assert math.isnan(first) and second is None
    assert table["b"].to_pylist() == ["(1, 2)", "é"]


@pytest.mark.parametrize("block", [1, 3, 7, 8])
def test_parquet_has_all_steps_in_the_types_of_the_run(run, monkeypatch, tmp_path, block):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(export, "_ROWS_AT_ONCE", block)
    file = tmp_path / "steps.parquet"
    export.write_table(file, step_table(run), write_parquet, is_binary=True)
    table = parquet.read_table(file)
    assert table.column_names == list(run.columns())
    for name, column in run.columns().items():
        found = table[name].to_numpy()
        assert np.array_equal(found, column)
        assert found.dtype == ("int64" if column.dtype.kind == "i" else column.dtype)


@pytest.mark.parametrize("block", [1, 3, 7, 8])
def test_all_steps_are_in_the_table_however_many_are_read_at_once(run, monkeypatch, block):
    monkeypatch.setattr(export, "_ROWS_AT_ONCE", block)
    table = step_table(run)
    rows = list(table.rows)
    assert [row["step"] for row in rows] == list(range(1, 8))
    assert all(tuple(row) == table.columns for row in rows)
    assert [type(rows[0][name]) for name in ("step", "loss")] == [int, float]


def test_a_float32_has_the_digits_that_it_has_and_a_double_all_of_its_own(run):
    row = next(iter(step_table(run).rows))
    assert row["learning_rate"] == 0.1
    assert row["grad_norm_before_clip/hidden"] == 5.0  # of parameters with the norms 3 and 4
    assert row["grad_norm_before_clip"] == 5.3851647  # the root of 29, to eight digits
    assert row["grad_norm_after_clip"] == pytest.approx(5.3851647 / 2, abs=1e-7)


def test_tables_of_several_runs_have_the_columns_of_all(run, tmp_path, make_run):
    other = load_run(make_run("no-steps"))
    table = step_table_of_trials([({"arm": "a"}, run), ({"seed": 1}, other), ({"arm": "b"}, run)])
    assert table.columns[:3] == ("arm", "seed", "step")
    assert "grad_norm_before_clip/hidden.bias" in table.columns
    assert [row["arm"] for row in table.rows] == ["a"] * 7 + ["b"] * 7


def test_a_file_is_replaced_only_by_a_whole_table(tmp_path):
    path = tmp_path / "table.csv"
    export.write_table(path, Table(("a",), iter([{"a": "é"}])), write_csv)
    assert path.read_text(encoding="utf-8") == "a\né\n"

    def broken():
        yield {"a": 1}
        raise ValueError("torn")

    with pytest.raises(ValueError, match="torn"):
        export.write_table(path, Table(("a",), broken()), write_csv)
    assert path.read_text(encoding="utf-8") == "a\né\n"
    assert list(tmp_path.iterdir()) == [path]


def test_of_a_link_the_file_that_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "link.csv").symlink_to(tmp_path / "table.csv")
    export.write_table(tmp_path / "link.csv", Table(("a",), iter([{"a": 1}])), write_csv)
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "table.csv").read_text() == "a\n1\n"


def test_a_device_is_written_and_stays_a_device(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    export.write_table(pipe, Table(("a",), iter([{"a": 1}])), write_csv)
    assert os.read(reader, 100) == b"a\n1\n"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
