"""The ranking by the time to the target, as the closing screen and the JSON have it."""

import io
import math
import re
from dataclasses import replace

import pytest
from rich.console import Console

from gradcli.comparison.results import TargetSummary
from gradcli.comparison.statistics import compare_times
from gradcli.views.compare.comparison_closing import comparison_closing_screen
from gradcli.views.compare.target_table import soonest, target_remarks
from gradcli.views.json_output import comparison_json

INF = math.inf
TIMES = {
    "adam": [30, 40, 50, 60, 70],
    "rmsprop": [45, 55, 35, 65, 75],
    "sgd": [200, 210, 220, INF, INF],
}


def drawn(summary, width=100):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(comparison_closing_screen(summary))
    return console.file.getvalue()


@pytest.fixture
def timed(make_comparison):
    """Return a function that makes a comparison with these times, and columns that fit them."""

    def make(times=TIMES, origin="tuning", examples=1000):
        compared = compare_times(times, dict.fromkeys(times, 390.0))
        median = {arm.name: arm.median for arm in compared.arms}
        summary = make_comparison(target=TargetSummary(origin, compared, examples))
        ranking = tuple(
            replace(arm, measured={**arm.measured, "steps_to_target": median[arm.name]})
            for arm in summary.ranking
            if arm.name in times
        )
        return replace(summary, ranking=ranking)

    return make


def test_the_table_lists_the_arms_by_their_steps(timed):
    lines = drawn(timed()).splitlines()
    above = next(row for row, line in enumerate(lines) if "reached" in line)
    titles = "optimizer 0.97 to 0.97 94% interval to 0.97"
    assert lines[above + 1].split() == titles.split()
    assert lines[above + 2].split()[:8] == ["1-2", "adam", "5", "of", "5", "50", "30", "to"]
    sgd = ["3", "sgd", "3", "of", "5", "220", "200", "to", "never"]
    assert lines[above + 4].split()[:9] == sgd
    # The ranking by scores no longer has these columns.
    assert not re.search(r"to 0\.97(?!\d)", "\n".join(lines[:above]))


def test_a_single_seed_has_no_interval(timed):
    assert "interval" in drawn(timed()).split("reached")[1].split("\n\n")[0]
    one = {name: times[:1] for name, times in TIMES.items()}
    assert "interval" not in drawn(timed(one)).split("reached")[1].split("\n\n")[0]


def test_the_sentence_says_sets_and_not_places(timed):
    said = soonest(timed().target.steps)
    assert said[0] == "{adam, rmsprop} cannot be told apart; sgd is behind both."
    assert "corrected for 3 pairs (Holm)" in said[1]
    assert "soonest     {adam, rmsprop} cannot be told apart; sgd is behind both." in drawn(timed())


def test_of_two_arms_it_gives_the_p_value(timed):
    two = {"adam": TIMES["adam"], "sgd": TIMES["sgd"]}
    assert soonest(timed(two).target.steps) == ["adam is sooner than sgd. p=0.0079."]
    alike = {"adam": TIMES["adam"], "sgd": TIMES["rmsprop"]}
    (said,) = soonest(timed(alike).target.steps)
    assert said.startswith("No difference in steps is more than luck. p=0.")


def test_groups_that_overlap_are_told_by_who_is_sooner(timed):
    times = {
        "adam": [10, 20, 30, 40, 50, 60],
        "rmsprop": [35, 45, 55, 65, 75, 85],
        "sgd": [62, 72, 82, 92, 102, 112],
    }
    said = soonest(timed(times).target.steps)
    assert said[0] == "adam is sooner than sgd."


def test_too_few_seeds_are_said(timed):
    few = {name: times[:3] for name, times in TIMES.items()}
    assert "So few seeds cannot give a verdict" in soonest(timed(few).target.steps)[-1]


@pytest.mark.parametrize(
    ("origin", "says"),
    [
        ("tuning", "half of the tuning trials"),
        ("protocol", "0.97 is protocol.target."),
        ("problem", "the target of the problem"),
        ("data", "the usual target for mnist"),
    ],
)
def test_where_the_target_comes_from_is_said(timed, origin, says):
    assert says in target_remarks(timed(origin=origin, examples=10_000))[0]
    assert not any("is" in one.split()[1:2] for one in target_remarks(timed(origin="")))


def test_a_sample_of_the_validation_split_is_named(timed):
    (said, *_) = target_remarks(timed())
    assert said.endswith("It was timed on 1,000 of the 10,000 validation examples.")
    (said, *_) = target_remarks(timed(examples=10_000))
    assert "timed on" not in said


def test_a_target_that_nobody_reaches_names_the_way_out(timed):
    never = {name: [INF] * 5 for name in TIMES}
    assert "protocol.target=SCORE" in target_remarks(timed(never))[-1]


def test_the_json_has_all_of_it(timed):
    summary = timed()
    told = comparison_json(summary)["target_ranking"]
    assert (told["origin"], told["examples"], told["seeds_needed"]) == ("tuning", 1000, None)
    assert [arm["arm"] for arm in told["arms"]] == ["adam", "rmsprop", "sgd"]
    assert told["arms"][2] == {
        "arm": "sgd",
        "places": [3, 3],
        "seeds": 5,
        "reached": 3,
        "median": 220,
        "interval": [200, "inf"],
        "coverage": 0.9375,
    }
    assert [pair["verdict"] for pair in told["pairs"]] == ["tie", "a", "a"]
    assert comparison_json(replace(summary, target=None))["target_ranking"] is None
