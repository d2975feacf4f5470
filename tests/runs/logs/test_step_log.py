"""The log of steps: rows of fixed width, read whole or in part."""

import json

import numpy as np
import pytest

from gradcli.errors import DamagedFileError, UserError
from gradcli.runs.logs.step_log import StepRows, read_last_steps, read_steps, row_type

PARAMETERS = 3
ROW = row_type(PARAMETERS).itemsize


@pytest.fixture
def log(tmp_path, run_info, make_steps):
    """A log of ten steps."""
    rows = StepRows(tmp_path, run_info.layers)
    (tmp_path / "steps.bin").write_bytes(rows.rows(make_steps(1, 10)))
    return tmp_path


def steps_of(*args, **more):
    return read_steps(*args, **more).step.tolist()


def test_a_row_has_the_bytes_of_its_numbers():
    assert ROW == 8 + 4 + 4 + 8 + 4 + 4 + 2 * PARAMETERS * 4


def test_all_columns_come_back(log, make_steps):
    found, written = read_steps(log, PARAMETERS), make_steps(1, 10)
    for name in row_type(PARAMETERS).names:
        np.testing.assert_allclose(getattr(found, name), getattr(written, name), rtol=1e-6)


def test_the_log_is_described_by_its_parameters(log):
    described = json.loads((log / "steps.json").read_text())
    assert described["parameters"] == ["hidden.weight", "hidden.bias", "output.weight"]
    assert (described["row_bytes"], described["schema"]) == (ROW, 1)


def test_what_float32_cannot_hold_is_infinite_without_a_warning(tmp_path, run_info, make_steps):
    records = make_steps(1, 1)
    records.loss[:] = 1e300
    rows = np.frombuffer(StepRows(tmp_path, run_info.layers).rows(records), row_type(PARAMETERS))
    assert rows["loss"].tolist() == [np.inf]


@pytest.mark.parametrize(
    ("without", "left"),
    [
        ([], range(1, 11)),
        ([range(0, ROW)], range(2, 11)),
        ([range(2 * ROW, 3 * ROW)], [1, 2, 4, 5, 6, 7, 8, 9, 10]),
        ([range(2 * ROW + 1, 3 * ROW + 1)], [1, 2, 5, 6, 7, 8, 9, 10]),  # touches two rows
        ([range(2 * ROW, 4 * ROW - 1)], [1, 2, 5, 6, 7, 8, 9, 10]),
        ([range(0, ROW), range(8 * ROW, 10 * ROW)], range(2, 9)),
        ([range(7 * ROW + 1, 10 * ROW)], range(1, 8)),
        ([range(7 * ROW, 99 * ROW)], range(1, 8)),
        ([range(7 * ROW, 10 * ROW - 1)], range(1, 8)),
        ([range(0, 10 * ROW)], []),
        ([range(12 * ROW, 13 * ROW)], range(1, 11)),
    ],
)
def test_rows_that_a_part_left_out_touches_are_left_out(log, without, left):
    assert steps_of(log, PARAMETERS, without=without) == list(left)


def test_an_incomplete_last_row_is_left_out(log):
    data = (log / "steps.bin").read_bytes()
    (log / "steps.bin").write_bytes(data[:-1])
    assert steps_of(log, PARAMETERS) == list(range(1, 10))
    (log / "steps.bin").write_bytes(data[: ROW - 1])
    assert steps_of(log, PARAMETERS) == []
    (log / "steps.bin").unlink()
    assert steps_of(log, PARAMETERS) == []


@pytest.mark.parametrize(
    ("count", "steps"), [(1, [10]), (3, [8, 9, 10]), (10, range(1, 11)), (99, range(1, 11))]
)
def test_the_last_steps_are_read(log, count, steps):
    found = read_last_steps(log, PARAMETERS, count)
    assert found.step.tolist() == list(steps)
    assert found.loss.tolist() == list(steps)
    found.loss[0] = 5.0  # a copy


def test_a_log_that_has_not_begun_has_no_steps(tmp_path):
    for found in (read_steps(tmp_path, PARAMETERS), read_last_steps(tmp_path, PARAMETERS, 5)):
        assert len(found) == 0
        assert found.parameter_grad_norm_before_clip.shape == (0, PARAMETERS)


def test_a_log_without_its_description_has_no_steps(log):
    (log / "steps.json").unlink()
    assert steps_of(log, PARAMETERS) == []


def test_a_log_of_another_model_is_refused(log):
    with pytest.raises(DamagedFileError, match="does not describe 2 parameters"):
        read_steps(log, 2)
    (log / "steps.bin").unlink()
    assert steps_of(log, 2) == []


@pytest.mark.parametrize("change", [{"row_bytes": ROW + 1}, {"columns": []}])
def test_other_columns_than_those_of_the_schema_are_refused(log, change):
    path = log / "steps.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DamagedFileError, match="describes other columns than schema 1 has"):
        read_steps(log, PARAMETERS)


def test_a_newer_layout_is_refused(log):
    (log / "steps.json").write_text('{"schema": 2}')
    with pytest.raises(UserError, match=r"has schema 2; .* reads schema 1\."):
        read_steps(log, PARAMETERS)
