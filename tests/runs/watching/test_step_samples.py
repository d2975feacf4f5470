"""The samples of a step log, against the rows that were written."""

import numpy as np
import pytest

from gradcli.errors import DamagedFileWarning
from gradcli.runs import RunWriter, load_run
from gradcli.runs.logs import step_log
from gradcli.runs.logs.log_blocks import STEPS_FILE
from gradcli.runs.logs.step_log import row_type
from gradcli.runs.watching.looking import WatchedRun
from gradcli.runs.watching.step_samples import StepSamples


@pytest.fixture
def writer(tmp_path, run_info):
    writer = RunWriter(tmp_path, "", {})
    writer.begin(run_info, {})
    yield writer
    writer.close()


@pytest.mark.parametrize("parts", [[1], [8], [9], [5, 3, 1, 40, 1], [1000], [1] * 40])
def test_they_are_rows_at_equal_distances_and_the_last(tmp_path, writer, make_steps, parts):
    samples, written = StepSamples(tmp_path, 3, most=8), 0
    for count in parts:
        writer.write(make_steps(written + 1, count))
        written += count
        assert samples.look()
        kept = [*range(1, written + 1, samples.distance)]
        assert len(kept) <= 8
        assert written <= 8 or 2 * len(kept) > 8  # as many as there may be
        last = [] if kept[-1] == written else [written]
        assert samples.steps().step.tolist() == kept + last
        assert samples.steps().loss.tolist() == kept + last
        norms = samples.steps().parameter_grad_norm_before_clip
        assert norms[:, 1].tolist() == [4 * step for step in kept + last]
        assert not samples.look()


def test_a_log_without_rows_has_none(tmp_path, writer):
    samples = StepSamples(tmp_path, 3)
    assert not samples.look()
    assert len(samples.steps()) == 0


def test_a_long_log_is_not_read_whole(tmp_path, writer, make_steps, monkeypatch):
    writer.write(make_steps(1, 20_000))
    read = []
    usual = StepSamples._read
    monkeypatch.setattr(
        StepSamples, "_read", lambda self, at, dtype: read.append(len(at)) or usual(self, at, dtype)
    )
    samples = StepSamples(tmp_path, 3, most=64)
    samples.look()
    assert sum(read) <= 64 + 1
    writer.write(make_steps(20_001, 1000))
    samples.look()
    assert sum(read[2:]) <= 1000 // samples.distance + 2
    assert len(samples._kept) <= 64


def test_a_log_that_was_cut_is_read_anew(tmp_path, writer, make_steps):
    samples = StepSamples(tmp_path, 3, most=8)
    writer.write(make_steps(1, 100))
    samples.look()
    size = row_type(3).itemsize
    with (tmp_path / STEPS_FILE).open("r+b") as log:
        log.truncate(10 * size + size // 2)  # and its last row is torn
    assert samples.look()
    assert samples.steps().step.tolist() == [1, 3, 5, 7, 9, 10]


def test_a_log_that_is_cut_at_this_moment_gives_what_is_left(
    tmp_path, writer, make_steps, monkeypatch
):
    writer.write(make_steps(1, 100))
    size = row_type(3).itemsize
    samples = StepSamples(tmp_path, 3, most=8)

    def described(directory, parameters):
        answer = step_log.described_rows(directory, parameters)
        with (tmp_path / STEPS_FILE).open("r+b") as log:
            log.truncate(40 * size)
        return answer

    monkeypatch.setattr("gradcli.runs.watching.step_samples.described_rows", described)
    assert samples.look()
    assert samples.steps().step.tolist() == [1, 17, 33]


def test_damaged_rows_are_left_out(tmp_path, writer, make_steps):
    for first in range(1, 33, 8):
        writer.write(make_steps(first, 8))
    writer.set_status("finished")
    size = row_type(3).itemsize
    with (tmp_path / STEPS_FILE).open("r+b") as log:
        log.seek(10 * size)  # in the second block
        log.write(b"\xff" * size)
    with pytest.warns(DamagedFileWarning, match="checksum"):
        damaged = WatchedRun(tmp_path).damaged_parts()
    samples = StepSamples(tmp_path, 3, most=32)
    samples.leave_out(damaged)
    samples.look()
    assert samples.steps().step.tolist() == [*range(1, 9), *range(17, 33)]


def test_the_copied_steps_are_those_that_the_run_has(tmp_path, writer, make_steps):
    writer.write(make_steps(1, 30))
    writer.set_status("finished")
    size = row_type(3).itemsize
    whole = WatchedRun(tmp_path).with_copied_steps(10**9).steps
    assert np.array_equal(whole.loss, load_run(tmp_path).steps.loss)
    last = WatchedRun(tmp_path).with_copied_steps(7 * size).steps
    assert last.step.tolist() == [*range(24, 31)]
    assert not isinstance(last.loss.base, np.memmap)


def test_the_copied_steps_are_without_those_that_are_damaged(tmp_path, writer, make_steps):
    for first in range(1, 33, 8):
        writer.write(make_steps(first, 8))
    writer.set_status("finished")
    writer.close()
    size = row_type(3).itemsize
    with (tmp_path / STEPS_FILE).open("r+b") as log:
        log.seek(10 * size)
        log.write(b"\xff" * size)
    with pytest.warns(DamagedFileWarning, match="checksum"):
        run = WatchedRun(tmp_path).with_copied_steps(20 * size)
    assert run.steps.step.tolist() == [*range(17, 33)]  # of 13 to 32
