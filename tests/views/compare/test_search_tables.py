"""The tables of a search on the closing screen, in the live table, in plain lines and as JSON."""

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from gradcli.comparison.live import GridCell
from gradcli.comparison.results import GridResult, SearchInfo
from gradcli.comparison.search import Range
from gradcli.comparison.verdicts import BudgetResult, KeySensitivity, SearchSensitivity
from gradcli.records import ACCURACY, Metric
from gradcli.views.compare.arm_phrases import describe_trial
from gradcli.views.compare.comparison_closing import comparison_closing_screen
from gradcli.views.compare.comparison_screen import comparison_screen
from gradcli.views.compare.rate_strip import best_so_far
from gradcli.views.compare.trial_lines import ComparePlainView

RANGES = (
    Range("lr", 0.0002, 0.02),
    Range("momentum", 0.5, 0.99, "log_from_one"),
)
SETTINGS = tuple(
    (("lr", rate), ("momentum", momentum))
    for rate, momentum in ((0.001, 0.9), (0.01, 0.6), (0.002, 0.95), (0.02, 0.7))
)
SCORES = (0.91, 0.96, math.nan, 0.93)


@pytest.fixture
def searched(make_comparison):
    """A comparison whose arms tried four settings; the second is best, the third diverged."""
    summary = make_comparison()
    info = replace(
        summary.info,
        arms=tuple(replace(arm, ranges=RANGES) for arm in summary.info.arms),
        search=SearchInfo("sobol", ("lr", "momentum"), 4, (1, 2, 4)),
    )
    keys = (
        KeySensitivity("lr", 0.81, 0.002, (0.002, 0.01), 0.01, 0.85),
        KeySensitivity("momentum", -0.02, 0.4, (0.6, 0.95), 0.6, 0.06),
    )
    ranking = tuple(
        replace(
            arm,
            setting=SETTINGS[1],
            search_sensitivity=SearchSensitivity(4, keys, ""),
            by_budget=tuple(
                BudgetResult(count, SETTINGS[at], arm.test_score, arm.val_score, arm.places)
                for count, at in ((1, 0), (2, 1), (4, 1))
            ),
        )
        for arm in summary.ranking
    )
    tuning = tuple(
        GridResult(
            arm=arm.name,
            optimizer=arm.name,
            learning_rate=setting[0][1],
            val_score=score,
            status="diverged" if math.isnan(score) else "finished",
            diverged=int(math.isnan(score)),
            chosen=setting == SETTINGS[1],
            setting=setting,
        )
        for arm in ranking
        for setting, score in zip(SETTINGS, SCORES, strict=True)
    )
    return replace(summary, info=info, ranking=ranking, tuning=tuning)


def drawn(summary, width=140, *, terminal=True):
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    console.print(comparison_closing_screen(summary), crop=False)
    return file.getvalue()


def row(text, *beginning):
    """The cells of the first line that begins so."""
    lines = [line.split() for line in text.splitlines()]
    return next(line for line in lines if tuple(line[: len(beginning)]) == beginning)


def test_each_key_has_its_range_its_choice_and_what_it_decides(searched):
    text = drawn(searched)
    assert row(text, "adam", "lr") == [
        *("adam", "lr", "0.0002", "to", "0.02", "(log)", "0.01", "0.002", "to", "0.01", "81%")
    ]
    momentum = [
        "momentum",
        "0.5",
        "to",
        "0.99",
        "(log",
        "of",
        "1",
        "-",
        "value)",
        "0.6",
        "0.6",
        "to",
        "0.95",
        "0%",
    ]
    assert row(text, "momentum") == momentum
    assert "lr decides 81% of how settings rank (p<0.01), momentum nothing" in text


def test_the_best_so_far_never_falls_and_shows_what_diverged(searched):
    cells = [
        GridCell(one.learning_rate, one.status, one.val_score, one.setting)
        for one in searched.tuning[:4]
    ]
    scores = [cell.val_score for cell in best_so_far(cells, ACCURACY)]
    assert (scores[0], scores[1], scores[3]) == (0.91, 0.96, 0.96)
    assert math.isnan(scores[2])
    errors = [replace(cell, val_score=1 - cell.val_score) for cell in cells]
    least = [cell.val_score for cell in best_so_far(errors, Metric("mse", "minimize"))]
    assert least[3] == least[1] == pytest.approx(0.04)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_each_budget_has_a_row_for_each_arm_with_its_interval(searched, width):
    lines = drawn(searched, width).splitlines()
    assert all(len(line) <= width for line in lines if "gradcli" not in line)
    headings = (at for at, line in enumerate(lines) if line.split()[:2] == ["settings", "test"])
    start = next(headings)
    rows = [line.split() for line in lines[start + 2 : start + 11]]
    names = [arm.name for arm in searched.ranking]
    assert [row[0] for row in rows[::3]] == ["1", "2", "4"]
    for at, cells in enumerate(rows):
        arm = searched.ranking[at % 3]
        low, high = arm.test_score.ci95
        assert names[at % 3] in cells
        assert f"{arm.test_score.mean:.4f} {low:.4f} to {high:.4f}" in " ".join(cells)
    assert ("lr 0.001, momentum 0.9" in "\n".join(lines)) == (width >= 100)


def test_a_key_at_the_end_of_its_range_is_marked_and_said(searched):
    best = replace(searched.ranking[0], setting_at_edge=("lr",))
    summary = replace(
        searched, ranking=(best, *searched.ranking[1:]), extend_command="gradcli compare-optimizers"
    )
    text = drawn(summary)
    assert "0.01 (end)" in text
    assert "The best lr of adam, 0.01, is near the upper end of its range" in text
    assert "so far      near an end of the range of lr: not yet the answer" in text
    assert "extend      gradcli compare-optimizers" in text
    assert summary.winner_at_edge


def test_a_trial_says_its_setting(make_trial):
    trial = make_trial(learning_rate=0.01, setting=SETTINGS[1])
    assert describe_trial(trial)[1] == "lr 0.01 momentum 0.6"
    assert describe_trial(make_trial(learning_rate=0.01))[1] == "lr 0.01"


def test_the_heading_says_what_is_searched_and_how(searched):
    assert "4 settings of lr, momentum by sobol, then 3 fresh seeds" in drawn(searched)


def test_plain_lines_give_the_ranges_and_the_choice(searched, fresh_arm, make_progress):
    stream = io.StringIO()
    view = ComparePlainView(stream)
    view.start(searched.info)
    name = searched.info.arms[0].name
    arm = replace(fresh_arm(name), learning_rate=0.01, setting=SETTINGS[1])
    view.progress(replace(make_progress(), arms=(arm,)))
    lines = stream.getvalue().splitlines()
    assert f"{name}: lr 0.0002 to 0.02, momentum 0.5 to 0.99" in lines
    assert f"{name}: lr 0.01, momentum 0.6 chosen" in lines


def test_the_live_table_shows_the_best_so_far(searched, make_progress):
    lines = comparison_screen(searched.info, make_progress(), "", 140, 30)
    text = "\n".join("".join(segment.text for segment in line) for line in lines)
    assert "best so far" in text
    assert "by lr" not in text
