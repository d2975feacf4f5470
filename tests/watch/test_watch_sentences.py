"""What the screens say of runs and comparisons."""

import pytest

from gradcli.records import Finding
from gradcli.runs import load_run
from gradcli.runs.logs.log_blocks import STEPS_FILE
from gradcli.watch.run_course import RunCourse
from gradcli.watch.watch_sentences import (
    differing_settings,
    finding_line,
    heading_lines,
    news_of,
    numbers_beside,
    status_phrase,
    try_command,
    without_findings,
)

FINDING = Finding(
    "vanishing", "warning", "hidden1", {"factor": 1e-4}, "below 0.001", "Gradients vanish.",
    "activation=relu init=kaiming",
)  # fmt: skip


def whole(course):
    """Return how much of the log of steps a resumed run keeps: all of it."""
    return {STEPS_FILE: (course.path / STEPS_FILE).stat().st_size}


@pytest.fixture
def course(open_run, make_steps, make_eval):
    path, writer = open_run(seed=0, lr=0.1)
    writer.write(make_steps(1, 25))
    writer.write(make_eval(25))
    course = RunCourse(path)
    course.look()
    return course, writer


def test_it_says_how_a_run_stands(course, open_run):
    course, writer = course
    assert status_phrase(course) == "▶ running, step 25 of 100 (25%)"
    writer.set_status("interrupted")
    writer.close()
    course.look()
    assert status_phrase(course) == "‖ interrupted, step 25 of 100 (25%)"
    _, writer = open_run(
        course.name,
        load_run(course.path).state,
        whole(course),
    )
    course.look()
    assert status_phrase(course).endswith("resumed once")


def test_it_says_that_not_every_step_is_drawn(open_run, make_steps):
    path, writer = open_run()
    writer.write(make_steps(1, 2000))
    course = RunCourse(path)
    course.look()
    assert status_phrase(course).endswith("every 4th step is drawn")


@pytest.mark.parametrize("width", [78, 138])
def test_the_heading_fits(course, width):
    lines = heading_lines(course[0], width)
    assert lines[0].startswith("mine-1111  ▶ running")
    assert lines[1].startswith("mnist5k 4,000 images · mlp 24 parameters")
    assert all(len(line) <= width for line in lines)


def test_news_are_what_became_of_it(course, open_run):
    course, writer = course
    assert news_of(course, "running", 0) == ""
    writer.close()
    course.look()
    assert news_of(course, "running", 0).startswith("mine-1111 is lost")
    _, writer = open_run(
        course.name,
        load_run(course.path).state,
        whole(course),
    )
    course.look()
    assert news_of(course, "lost", 0) == "mine-1111 was resumed"
    for status, said in (
        ("finished", "has finished"),
        ("diverged", "has diverged"),
        ("interrupted", "was interrupted"),
        ("failed", "has failed"),
    ):
        writer.set_status(status)
        course.look()
        assert news_of(course, "running", 1) == f"mine-1111 {said}"


def test_a_finding_is_a_line_with_its_severity_as_a_word():
    assert finding_line(FINDING) == "warning: vanishing in hidden1. Gradients vanish."
    healthy = Finding("healthy", "info", None, {}, "", "All is well.", None)
    assert finding_line(healthy) == "healthy. All is well."


def test_without_findings_it_says_why(course, open_run):
    assert without_findings(course[0], True) == "nothing to report"
    assert without_findings(course[0], False).startswith("looking")
    path, _ = open_run("20260102T000000Z-new-2222")
    new = RunCourse(path)
    new.look()
    assert without_findings(new, False) == "no step is on record yet"


def test_the_command_is_the_runs_own_with_the_advice(course, tmp_path):
    course, writer = course
    assert try_command(course, FINDING) == ""  # its overrides are not recorded
    writer.set_status("finished", overrides=["data=mnist5k", "activation=sigmoid"])
    course.look()
    command = try_command(course, FINDING)
    assert command.startswith(f"gradcli train --runs-dir {tmp_path}/runs")
    assert command.endswith("data=mnist5k activation=relu init=kaiming")
    nothing = Finding("spike", "warning", None, {}, "", "", None)
    assert try_command(course, nothing) == ""


def test_side_by_side_are_the_numbers_and_what_differs(course, open_run, make_steps):
    path, writer = open_run("20260102T000000Z-other-2222", seed=1, lr=0.1)
    writer.write(make_steps(1, 50))
    other = RunCourse(path)
    other.look()
    rows = dict(numbers_beside([course[0], other]))
    assert rows["run"] == ["mine-1111", "other-2222"]
    assert rows["step"] == ["25", "50"]
    assert rows["loss"] == ["0.0400", "0.0200"]
    assert rows["val score"] == ["0.9000", "-"]
    assert rows["grad norm"] == ["0.200", "0.100"]
    assert differing_settings([course[0], other]) == [("seed", ["0", "1"])]
