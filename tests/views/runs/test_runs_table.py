import io
import math

import pytest
from rich.console import Console

from gradcli.records import RunRow
from gradcli.views.runs.runs_table import runs_table

ROWS = [
    RunRow(
        run=f"20260105-10150{i}-mlp-3f2a",
        name="mlp",
        status=status,
        when="2026-01-05 10:15",
        data="mnist",
        model="mlp",
        optimizer="adam",
        epochs=3,
        test_accuracy=accuracy,
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
    assert "0.9791" in drawn(ROWS, 80, terminal=True)[1]
    assert "always-clipped" in drawn(ROWS, 200, terminal=True)[1]


def test_a_pipe_gets_every_column():
    assert drawn(ROWS, 40, terminal=False) == drawn(ROWS, 400, terminal=True)


def test_no_runs_is_said():
    assert drawn([], 80, terminal=True) == ["no runs yet"]
