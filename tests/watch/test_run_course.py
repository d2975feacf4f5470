"""A run as it goes on, against what its writer wrote."""

import shutil

import numpy as np
import pytest

from gradcli.inspection.history import norm_history
from gradcli.runs import load_run
from gradcli.runs.logs.step_log import row_type
from gradcli.watch.run_course import RunCourse, progress_fraction


@pytest.fixture
def course(open_run):
    path, writer = open_run()
    return RunCourse(path), writer, path


def test_it_shows_a_run_while_it_is_written(course, make_steps, make_eval):
    course, writer, path = course
    assert course.look()
    assert (course.status, course.step, course.rows) == ("running", 0, 0)
    assert course.norms() is None
    assert progress_fraction(course) == 0
    writer.write(make_steps(1, 25))
    writer.write(make_eval(25))
    assert course.look()
    assert course.step == 25
    assert progress_fraction(course) == 0.25
    assert course.steps.loss.tolist() == pytest.approx([1 / step for step in range(1, 26)])
    assert [one.score for one in course.evals("val")] == [0.9]
    assert not course.look()
    writer.set_status("finished")
    writer.close()
    assert course.look()
    assert course.status == "finished"
    assert np.array_equal(
        course.norms().log10_norm,
        norm_history(load_run(path).steps, course.info.layers)[0].log10_norm,
    )


def test_a_run_whose_process_is_gone_is_lost(course):
    course, writer, _ = course
    course.look()
    writer.close()
    assert course.look()
    assert course.status == "lost"


def test_a_resumed_run_is_read_anew_even_if_it_got_as_far_again(course, open_run, make_steps):
    course, writer, path = course
    writer.write(make_steps(1, 20))
    course.look()
    writer.set_status("interrupted")
    writer.close()
    kept = {"steps.bin": 10 * row_type(2).itemsize}
    _, writer = open_run(path.name, load_run(path).state, kept)
    changed = make_steps(11, 10)
    changed.loss[:] = 7
    writer.write(changed)
    assert course.look()
    assert (course.resumed, course.rows) == (1, 20)
    assert course.steps.loss[9:].tolist() == pytest.approx([0.1, *[7.0] * 10])


def test_a_run_that_cannot_be_read_says_so_and_comes_back(course):
    course, writer, path = course
    writer.set_status("finished")
    course.look()
    whole = (path / "run.json").read_bytes()
    (path / "run.json").write_bytes(b"{")
    assert course.look()
    assert "run.json" in course.problem.problem
    (path / "run.json").write_bytes(whole)
    assert course.look()
    assert course.problem is None


def test_a_run_that_is_removed_is_gone(course):
    course, writer, path = course
    course.look()
    writer.set_status("finished")
    writer.close()
    shutil.rmtree(path)
    assert course.look()
    assert course.is_gone
    assert not course.look()


def test_a_run_without_a_model_has_none(tmp_path):
    from gradcli.runs import RunWriter

    writer = RunWriter(tmp_path, "", {})
    course = RunCourse(tmp_path)
    assert course.look()
    assert course.info is None
    assert course.status == "running"
    assert np.isnan(progress_fraction(course))
    writer.close()


def test_after_a_resume_the_end_that_a_kill_left_is_not_left_out(course, open_run, make_steps):
    course, writer, path = course
    writer.write(make_steps(1, 10))
    writer.close()
    with (path / "steps.bin").open("ab") as log:  # killed between a block and its checksum
        log.write((path / "steps.bin").read_bytes())
    course.look()
    damaged = course.run.damaged_parts()
    course.leave_out(damaged)
    course.look()
    assert course.steps.step.tolist() == [*range(1, 11)]
    _, writer = open_run(path.name, load_run(path).state, {"steps.bin": 5 * row_type(2).itemsize})
    writer.write(make_steps(6, 30))
    course.look()
    course.leave_out(damaged)  # found by an examination that had begun before
    course.look()
    assert course.step == 35
