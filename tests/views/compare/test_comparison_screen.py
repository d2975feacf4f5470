# ruff: noqa: RUF001 (the cross of a diverged trial is not a letter)
import itertools
import math
from dataclasses import replace

import pytest
from rich.cells import cell_len

from gradcli.comparison.live import GridCell
from gradcli.notation import numbers
from gradcli.records import ACCURACY, Metric
from gradcli.views.compare.column_cells import written
from gradcli.views.compare.comparison_screen import comparison_screen, visible_arms
from gradcli.views.compare.rate_strip import heat_strips
from gradcli.views.sparkline import LEVELS

SIZES = list(itertools.product((20, 40, 60, 80, 140, 220), (3, 8, 14, 24, 40)))


def text_lines(info, progress, width: int, height: int, ended: str = "") -> list[str]:
    lines = comparison_screen(info, progress, ended, width, height)
    return ["".join(segment.text for segment in line) for line in lines]


@pytest.fixture
def many(make_comparison_info, make_arm_progress, make_progress):
    """A comparison of many arms, half of them with long names."""

    def make(count: int):
        names = [f"adam clip=per_layer#{i}" if i % 2 else f"sgd#{i}" for i in range(count)]
        arms = [make_arm_progress(name) for name in names]
        return make_comparison_info(names), make_progress(arms)

    return make


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("count", [1, 3, 30])
def test_the_screen_fits_every_terminal(many, fresh_arm, make_progress, count, width, height):
    info, progress = many(count)
    fresh = make_progress([fresh_arm(arm.name) for arm in info.arms], running=())
    for state, ended in ((None, ""), (fresh, ""), (progress, ""), (progress, "finished in 52 s")):
        lines = text_lines(info, state, width, height, ended)
        assert len(lines) <= height
        assert max(cell_len(line) for line in lines) <= width


@pytest.mark.parametrize("width", [79, 139])
def test_what_matters_is_on_the_screen(make_comparison_info, make_progress, width):
    text = "\n".join(text_lines(make_comparison_info(), make_progress(), width, 23))
    for word in ("mnist", "235,146", "quick", "20260105-101500-compare-77aa", "target 0.97"):
        assert word in text
    for word in ("adam", "rmsprop", "sgd", "measuring", "6/8", "0.002", "▁▄█▆×", "0.9785 ±0.0005"):
        assert word in text
    for word in ("lr 0.2", "seed 102", "50%", "1.3 s left", "trials 18 of 24", "10 s left"):
        assert word in text
    for word in ("× diverged", "▁ 0.9100", "█ 0.9750"):
        assert word in text


def test_a_wide_terminal_shows_more(make_comparison_info, make_progress):
    narrow, wide = (
        "\n".join(text_lines(make_comparison_info(), make_progress(), width, 23))
        for width in (79, 139)
    )
    for word in ("0.512", "34%", "780", "812", "9.0 s"):
        assert word not in narrow
        assert word in wide


def test_a_screen_at_80_columns(make_comparison_info, make_progress):
    lines = [line.rstrip() for line in text_lines(make_comparison_info(), make_progress(), 79, 23)]
    assert lines == [
        " gradcli  20260105-101500-compare-77aa                              target 0.97",
        " mnist 50,000 images · mlp 235,146 parameters · protocol quick · 1 epoch",
        "",
        "                                          val acc  test accuracy   training",
        "    optimizer  stage      trials  lr      by lr    ± std           loss",
        "    adam       measuring     6/8  0.002   ▁▄█▆×    0.9785 ±0.0005  ██▇▆▆▅▄▃▃▂▁▁",
        "    rmsprop    measuring     6/8  0.001   ▁▄█▆×    0.9778 ±0.0008  ██▇▆▆▅▄▃▃▂▁▁",
        "    sgd        measuring     6/8  0.2     ▁▄█▆×    0.9656 ±0.0006  ██▇▆▆▅▄▃▃▂▁▁",
        " ▁ 0.9100  █ 0.9750  × diverged",
        "",
        " sgd      lr 0.2    seed 102  measuring  ━━━━━━━───────   50%        1.3 s left",
        " rmsprop  lr 0.001  seed 103  measuring  ━─────────────   10%",
        "",
        " trials 18 of 24  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━─────────   77%         10 s left",
    ]


def test_only_an_arm_that_leads_is_marked(make_comparison_info, make_arm_progress, make_progress):
    arms = [make_arm_progress("adam", leads=True), make_arm_progress("sgd")]
    info = make_comparison_info(("adam", "sgd"))
    lines = text_lines(info, make_progress(arms), 79, 23)
    assert [line for line in lines if "★" in line and "adam" in line]
    assert [line for line in lines if "★ ahead by more than luck" in line]
    assert not [line for line in lines if "★" in line and "sgd" in line]
    nobody = make_progress([replace(arm, leads=False) for arm in arms])
    assert "★" not in "\n".join(text_lines(info, nobody, 79, 23))


def test_nothing_moves_when_numbers_arrive(
    make_comparison_info, fresh_arm, make_arm_progress, make_progress
):
    info = make_comparison_info(("adam",))
    before, after = (
        text_lines(info, make_progress([arm]), 139, 23)
        for arm in (fresh_arm("adam"), make_arm_progress("adam"))
    )
    assert before[3:5] == after[3:5]
    assert len(before) == len(after)


def test_lines_of_idle_jobs_stay_until_the_end(make_comparison_info, make_progress):
    info = make_comparison_info()
    busy = text_lines(info, make_progress(), 79, 23)
    idle = text_lines(info, make_progress(running=()), 79, 23)
    ended = text_lines(info, make_progress(), 79, 23, "interrupted in 30 s")
    assert len(busy) == len(idle)
    assert len(ended) == len(busy) - 3
    assert ended[-1].endswith("75%  interrupted in 30 s")  # trials that were stopped do not count


def test_more_jobs_than_lines_are_counted(make_comparison_info, make_progress):
    running = make_progress().running * 20
    lines = text_lines(make_comparison_info(jobs=40), make_progress(running=running), 79, 23)
    shown = sum("seed" in line and "measuring" in line for line in lines)
    assert f"… {40 - shown} more running" in "\n".join(lines)
    assert shown >= 3


def test_without_tuning_there_is_no_grid(make_comparison_info, make_progress):
    info = make_comparison_info()
    info = replace(info, protocol=replace(info.protocol, tune=False))
    text = "\n".join(text_lines(info, make_progress(), 139, 23))
    assert "by lr" not in text
    assert "no tuning, 3 seeds" in text


def test_arms_that_run_or_are_best_come_before_others(many):
    info, progress = many(10)
    arms = list(progress.arms)
    best = replace(arms[7].test_score, mean=0.99)
    arms[7] = replace(arms[7], test_score=best)
    running = (replace(progress.running[0], arm=arms[4].name),)
    progress = replace(progress, arms=tuple(arms), running=running)
    assert visible_arms(progress, 2, ACCURACY) == [4, 7]
    assert visible_arms(progress, 10, ACCURACY) == list(range(10))
    lines = text_lines(info, progress, 79, 17)
    hidden = 10 - sum("6/8" in line for line in lines)
    assert f"… {hidden} more optimizers" in "\n".join(lines)


def test_a_comparison_before_any_news(make_comparison_info):
    text = "\n".join(text_lines(make_comparison_info(), None, 79, 23))
    assert "starting 2 workers" in text


@pytest.mark.parametrize(
    ("steps", "text"), [(390.0, "390"), (1170.5, "1,171"), (math.inf, "never"), (math.nan, "-")]
)
def test_steps_to_the_target(steps, text):
    assert written("count", steps) == text


# The strip -----------------------------------------------------------------------------------


def strips_of(grids):
    return heat_strips(grids, ACCURACY)


def cells(*values: object) -> list[GridCell]:
    """Cells with an accuracy, or with a status."""
    return [
        GridCell(rate, value, math.nan)
        if isinstance(value, str)
        else GridCell(rate, "finished", value)
        for rate, value in enumerate(values, 1)
    ]


def test_a_strip_rises_with_the_accuracy_and_all_share_one_scale():
    strips = strips_of([cells(0.90, 0.92, 0.94, 0.96), cells(0.96, 0.92, 0.97), []])
    rising, other, empty = strips.texts
    assert list(rising) == sorted(rising)
    assert len(set(rising)) == 4
    assert other[:2] == rising[3] + rising[1]
    assert (rising[0], other[2]) == ("▁", "█")
    assert strips.legend() == [("▁", "0.9000"), ("█", "0.9700")]
    assert empty == ""


@pytest.mark.parametrize("metric", [Metric("mse", "minimize"), Metric("of my own", "maximize")])
def test_the_ends_of_a_legend_differ_where_scores_do(metric):
    scores = [metric.merit(-one) for one in (4.33e10, 3.31e10, 5.72e6)]
    strips = heat_strips([cells(*scores)], metric)
    (low, worst), (high, best) = strips.legend()
    assert (low, high, best) == ("▁", "█", numbers.score(scores[-1]))
    assert strips.texts == (f"{low}{low}{high}" if strips.cut else "▁▂█",)
    bound = float(worst.removesuffix(" or worse"))
    assert metric.merit(bound) < metric.merit(scores[-1])
    if strips.cut:  # the others, and no score that has a block of its own, are beyond it
        assert metric.merit(scores[1]) < metric.merit(bound)


def test_a_legend_names_the_blocks_that_are_drawn_of_scores_that_are_close():
    strips = heat_strips([cells(4.33e10, 4.25e10, 4.33e10)], Metric("mse", "minimize"))
    low, high = strips.legend()
    assert (low[0], high[0]) == (strips.texts[0][0], strips.texts[0][1])
    assert (low[1], high[1]) == ("4.33e+10", "4.25e+10")
    alike = heat_strips([cells(4.33e10, 4.33e10)], Metric("mse", "minimize"))
    assert alike.legend() == [(alike.texts[0][0], "4.33e+10")]


def test_equal_error_ratios_are_equal_heights():
    (strip,) = strips_of([cells(*(1 - 0.1 / 4 ** (power / 7) for power in range(8)))]).texts
    assert strip == "▁▂▃▄▅▆▇█"


def test_one_collapse_does_not_flatten_the_others():
    for others in ((0.93, 0.95, 0.97, 0.96), (0.920, 0.930, 0.925, 0.910), (0.5, 0.7, 0.9, 0.6)):
        (alone,) = strips_of([cells(*others)]).texts
        strips = strips_of([cells(*others, 0.11)])
        (strip,) = strips.texts
        assert strip[-1] == "▁"
        assert sorted(range(4), key=alone.__getitem__) == sorted(range(4), key=strip.__getitem__)
        assert max(strip) == "█"
        if others[0] > 0.9:
            assert len(set(strip[:4])) == 4
            assert "▁" not in strip[:4]
    strips = strips_of([cells(0.93, 0.95, 0.97, 0.96, 0.11)])
    assert strips.texts == ("▂▄█▆▁",)
    assert strips.legend() == [("▁", "0.9209 or worse"), ("█", "0.9700")]


def test_noise_is_not_a_valley():
    (strip,) = strips_of([cells(0.9760, 0.9762, 0.9759)]).texts
    levels = [LEVELS.index(block) for block in strip]
    assert max(levels) - min(levels) <= 1


def test_every_state_has_its_own_symbol_which_the_legend_explains():
    states = ("diverged", "failed", "stopped", "running", "waiting")
    strips = strips_of([cells(*states)])
    assert len(set(strips.texts[0])) == len(states)
    assert not set(strips.texts[0]) & set("▁▂▃▄▅▆▇█")
    assert dict(strips.legend()) == dict(zip(strips.texts[0], states, strict=True))


def test_perfect_accuracy_can_be_drawn():
    assert strips_of([cells(0.9, 1.0)]).texts == ("▁█",)
