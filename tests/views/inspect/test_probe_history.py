"""A run's own probes on the screen, in JSON and as a picture."""

import json
import math
import re
from dataclasses import replace

import pytest

from gradcli.probes.registry import selectable_probes
from gradcli.records import ProbeRecord
from gradcli.views.draw.inspection_figures import plot_inspection
from gradcli.views.inspect.probe_history import (
    MOST_MOMENTS,
    describe_probes,
    history_lines,
)
from gradcli.views.json_output import dumps, inspection_json

NOISE = ProbeRecord(0, "noise", 106.4, 84.0, math.inf, seconds=1.4, passes=194.0, result={"a": 1})
SHARPNESS = ProbeRecord(0, "sharpness", 12.0, limit=10.0, seconds=0.6, passes=106.0)
ALPHA = ProbeRecord(0, "alpha", -0.25, -0.5, 0.125, seconds=0.2, passes=20.0)
REFUSED = ProbeRecord(0, "hidden-states", refused="the model has none")


@pytest.fixture
def laid_out(make_run_inspection):
    """Lay out records as text, one string a line."""

    def lay(*records, width=None):
        inspection = make_run_inspection(probe_history=records)
        lines = history_lines(inspection, width)
        return ["".join(part.text for part in line).rstrip() for line in lines]

    return lay


def cells(line):
    return re.split(r" {2,}", line.strip())


def test_a_probe_is_a_block_over_its_steps(laid_out):
    later = replace(NOISE, step=1200, value=222.0, high=640.0)
    _, titles, *rows = laid_out(NOISE, ALPHA, later)
    assert titles.split() == ["probe", "step", "found", "range", "against", "cost"]
    assert cells(rows[0]) == ["noise scale", "0", "106", "84 to inf", "batch 128",
                              "1.4 s, 194 passes"]  # fmt: skip
    # What is as in the line above is not said again.
    assert cells(rows[1]) == ["1,200", "222", "84 to 640", "1.4 s, 194 passes"]
    assert cells(rows[2]) == ["alpha", "0", "-0.25", "-0.50 to +0.12", "0 is the minimum",
                              "200 ms, 20 passes"]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "unstable: above 10.0"),
        ({"value": 9.0}, "stable: below 10.0"),
        ({"limit": math.nan}, "no threshold known: the plain Hessian"),
        ({"value": math.nan}, "not found"),
    ],
)
def test_sharpness_is_held_against_its_threshold(laid_out, changes, words):
    row = laid_out(replace(SHARPNESS, **changes))[2]
    assert words in cells(row)
    assert ("stable" in row) == ("stable" in words)


def test_a_refusal_is_reported_once_with_its_reason(laid_out):
    lines = laid_out(NOISE, REFUSED, replace(REFUSED, step=32))
    assert [line for line in lines if "not applicable" in line] == [
        "hidden-states not applicable: the model has none"
    ]
    assert laid_out(REFUSED)[1:] == ["hidden-states not applicable: the model has none"]


@pytest.mark.parametrize("count", [1, MOST_MOMENTS, MOST_MOMENTS + 1, 500])
def test_of_many_moments_the_ends_and_some_between_are_shown(laid_out, count):
    rows = laid_out(*(replace(ALPHA, step=step) for step in range(count)))[2:]
    steps = [int(re.search(r"\d+", row)[0]) for row in rows]
    assert len(steps) == min(count, MOST_MOMENTS)
    assert (steps[0], steps[-1]) == (0, count - 1)
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("width", [20, 40, 60, 80, 140])
def test_it_fits_the_terminal_and_keeps_what_was_found(laid_out, width):
    lines = laid_out(NOISE, SHARPNESS, width=width)
    assert all(len(line) <= max(width, len(lines[0])) for line in lines)
    if width >= 40:
        assert "106" in lines[2]


def test_a_run_that_probed_shows_it_and_others_do_not(make_run_inspection):
    from rich.console import Console

    from gradcli.views.inspect.inspection_screen import inspection_screen

    def screen(*records):
        console = Console(width=120)
        with console.capture() as capture:
            console.print(inspection_screen(make_run_inspection(probe_history=records)))
        return capture.get()

    assert "probes during the run" in screen(NOISE)
    assert "probes during" not in screen()


def test_a_line_says_what_was_found_and_what_it_cost():
    assert describe_probes([NOISE, SHARPNESS, REFUSED]) == (
        "probes at step 0: noise scale 106, sharpness 12.0; "
        "cost: 2.0 s, 300 forward-backward passes; not applicable: hidden-states"
    )
    assert describe_probes([REFUSED]) == "probes at step 0: not applicable: hidden-states"


def test_json_has_every_record_whole(make_run_inspection):
    inspection = make_run_inspection(probe_history=(NOISE, REFUSED))
    noise, refused = json.loads(dumps(inspection_json(inspection)))["probe_history"]
    assert (noise["step"], noise["probe"], noise["value"]) == (0, "noise", 106.4)
    assert (noise["low"], noise["high"], noise["refused"]) == (84.0, "inf", None)
    assert noise["cost"] == {"seconds": 1.4, "passes": 194.0}
    assert noise["result"] == {"a": 1}
    assert refused["refused"] == "the model has none"


@pytest.mark.parametrize("value", [1.0, 0.0, -1.0, math.inf, math.nan])
def test_every_history_can_be_drawn(tmp_path, make_run_inspection, value):
    records = [
        replace(one, step=step, probe=probe, value=value)
        for probe in selectable_probes()
        for step, one in ((0, NOISE), (5, SHARPNESS), (9, ALPHA))
    ]
    inspection = make_run_inspection(probe_history=(*records, REFUSED))
    drawn = {path.name for path in plot_inspection(tmp_path, inspection)}
    assert ("probe_history.png" in drawn) == math.isfinite(value)
