"""The screen of a search, drawn from numbers: what it says is true of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from gradcli.comparison.best_rate import FoundRate, ProposedRate, RateLosses, RateSearch
from gradcli.views.console import console_on
from gradcli.views.find_lr.rate_screen import LONGEST_BAR, picture, rate_screen, sentences

SEARCH = RateSearch(centre=0.1, seeds=(0, 1, 2), steps=20, total_steps=200)
SCOUTED = (
    RateLosses(0.01, (2.0,), 10),
    RateLosses(0.1, (1.0,), 10),
    RateLosses(1.0, (math.inf,), 10),
)
REHEARSED = (
    RateLosses(0.046, (0.9, 1.0, 1.1), 20),
    RateLosses(0.1, (0.5, 0.6, 0.7), 20),
    RateLosses(0.22, (0.9, 0.8, 0.7), 20),
)
PROPOSED = ProposedRate(0.06, (0.05, 0.12), "", SCOUTED, REHEARSED, (0.1, 0.12, 0.11), 2.0)


@pytest.fixture
def found(make_summary):
    """A search that found something."""
    info = make_summary().info
    commands = ("gradcli train optimizer.lr=0.06",)
    return FoundRate(info, SEARCH, PROPOSED, ("optimizer.lr=0.06",), commands, 3.2, 12, "the loss")


@pytest.fixture
def drawn(capsys):
    """Draw a screen at a width, and return its lines."""

    def draw(found, width=80):
        import sys

        console = console_on(sys.stdout)
        console.width = width
        console.print(rate_screen(found), crop=False)
        return capsys.readouterr().out.splitlines()

    return draw


def test_the_proposal_comes_first_and_the_command_last(found, drawn):
    lines = drawn(found)
    assert lines[0] == "lr 0.06  0.05 to 0.12 (95%, 3 seeds)"
    assert lines[-1] == "next        gradcli train optimizer.lr=0.06"
    assert "lowered by a factor of 2.0" in " ".join(" ".join(lines).split())


@pytest.mark.parametrize(
    ("longer", "said"),
    [
        (5.0, "are longer than its later ones: raised by a factor of 5.0."),
        (0.5, "are shorter than its later ones: lowered by a factor of 2.0."),
        (1.01, None),
    ],
)
def test_first_updates_that_differ_are_named(found, longer, said):
    text = " ".join(sentences(replace(found, search=replace(SEARCH, longer_at_first=longer))))
    assert (said is None) == ("first updates" not in text)
    assert said is None or said in text


@pytest.mark.parametrize("width", [20, 40, 200])
def test_commands_stay_whole_at_any_width(found, drawn, width):
    assert "gradcli train optimizer.lr=0.06" in drawn(found, width)[-1]


def text(line):
    return "".join(segment.text for segment in line)


def test_a_longer_bar_is_a_larger_loss():
    lines = [text(line) for line in picture(REHEARSED, (0.05, 0.12))]
    lengths = [line.count("█") for line in lines]
    assert lengths[0] == LONGEST_BAR
    assert lengths[0] > lengths[2] > lengths[1] >= 1
    assert [("in the interval" in line) for line in lines] == [False, True, False]
    assert "0.6000 (0.5000 to 0.7000)" in lines[1]


def test_what_diverged_has_no_bar():
    lines = [text(line) for line in picture(SCOUTED, (math.nan, math.nan))]
    assert "diverged" in lines[2]
    assert "█" not in lines[2]
    assert not any("in the interval" in line for line in lines)


def test_equal_losses_are_drawn():
    assert len(picture((SCOUTED[0], SCOUTED[0]), (1.0, 2.0))) == 2
    assert len(picture((SCOUTED[2],), (1.0, 2.0))) == 1


@pytest.mark.parametrize(
    ("centre", "says"),
    [(0.06, "is in the interval"), (0.01, "below the interval"), (1.0, "above the interval")],
)
def test_the_rate_of_the_config_is_placed(found, centre, says):
    moved = replace(found, search=replace(SEARCH, centre=centre))
    assert says in list(sentences(moved))[-1]


def test_a_network_that_hardly_trains_is_told_of(found):
    assert "hardly trains" not in " ".join(sentences(found))
    stuck = tuple(replace(one, losses=(2.303, 2.304, 2.305)) for one in REHEARSED)
    scouted = tuple(replace(one, losses=(2.31,)) for one in SCOUTED)
    proposed = replace(PROPOSED, rehearsed=stuck, scouted=scouted)
    said = " ".join(sentences(replace(found, proposed=proposed)))
    assert "hardly trains at any rate: the losses are 2.3040 to 2.3100" in said


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("diverged", "diverges with some seed"),
        ("flat", "no rate can be told from another"),
        ("seeds-disagree", "3 seeds disagree"),
        ("at-the-end", "an end of what was tried"),
    ],
)
def test_why_there_is_no_proposal(found, drawn, reason, says):
    silent = replace(PROPOSED, rate=math.nan, reason=reason, of_seeds=())
    lines = drawn(replace(found, proposed=silent))
    assert lines[0] == "cannot say"
    assert says in " ".join(" ".join(lines).split())


def test_the_picture_shows_every_rehearsal(found):
    from gradcli.views.draw.found_rate_figure import found_rate_figure

    (axes,) = found_rate_figure(found).axes
    assert axes.get_xscale() == "log"
    curves = [list(line.get_ydata()) for line in axes.lines]
    for number in range(3):
        assert [one.losses[number] for one in REHEARSED] in curves
    assert [2.0, 1.0] in curves
    assert any(list(line.get_xdata()) == [1.0] for line in axes.lines)  # what diverged
