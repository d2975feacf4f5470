import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from gradcli.records import RunRow
from gradcli.views.runs.runs_table import runs_table

ROWS = [
    RunRow(
        run=f"20260105T10150{i}Z-mlp-3f2a",
        name="mlp",
        status=status,
        when="2026-01-05 10:15",
        data="mnist",
        model="mlp",
        optimizer="adam",
        epochs=3,
        test_score=accuracy,
        findings=("vanishing", "always-clipped"),
    )
    for i, (status, accuracy) in enumerate([("finished", 0.9791), ("lost", math.nan)])
]


def drawn(rows: list[RunRow], width: int, *, terminal: bool) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    console.print(runs_table(rows), crop=False)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [30, 60, 80, 120, 200])
def test_ids_stay_whole_and_lines_fit(width):
    lines = drawn(ROWS, width, terminal=True)
    assert max(map(len, lines)) <= width
    assert all(row.run in line for row, line in zip(ROWS, lines[1:], strict=True))


def test_width_brings_columns_back():
    assert "lost" in drawn(ROWS, 80, terminal=True)[2]
    assert "0.9791" in drawn(ROWS, 120, terminal=True)[1]
    assert "always-clipped" in drawn(ROWS, 200, terminal=True)[1]


COMPARISON = replace(
    ROWS[0],
    run="20260105T101500Z-compare-3f2a",
    name="comparison",
    optimizer="adam, adamw, nadam, radam, rmsprop, sgd, momentum, nesterov",
    findings=(),
)


def test_at_80_columns_model_optimizer_and_time_stay():
    rows = [*ROWS, replace(ROWS[0], status="interrupted", model="deep_mlp", optimizer="rmsprop")]
    title, *lines = drawn(rows, 80, terminal=True)
    assert title.split() == ["run", "status", "when", "model", "optimizer"]
    for row, line in zip(rows, lines, strict=True):
        assert all(text in line for text in (row.run, row.when, row.model, row.optimizer))


def test_a_long_list_of_optimizers_is_cut_and_nothing_else():
    with_list, without = (drawn(rows, 80, terminal=True) for rows in ([COMPARISON], ROWS[:1]))
    assert with_list[0].split() == without[0].split()
    assert max(map(len, with_list)) <= 80
    assert "adam +7" in with_list[1] or "adam, adamw +6" in with_list[1]
    wide = drawn([COMPARISON], 300, terminal=True)[1]
    assert COMPARISON.optimizer in wide
    assert COMPARISON.optimizer in drawn([COMPARISON], 80, terminal=False)[1]


def test_a_pipe_gets_every_column():
    assert drawn(ROWS, 40, terminal=False) == drawn(ROWS, 400, terminal=True)


def test_no_runs_is_reported():
    assert drawn([], 80, terminal=True) == ["no runs yet"]
