"""What is said of the keys of a search."""

import math
from dataclasses import replace

import pytest

from gradcli.comparison.verdicts import BudgetResult, KeySensitivity, SearchSensitivity
from gradcli.views.compare.search_sentences import (
    ends_to_widen,
    what_budgets_say,
    what_keys_decide,
)


def sensitivity(*keys, settings=16, unknown=""):
    """Keys as (name, share, p), with their best value in the middle of the range."""
    return SearchSensitivity(
        settings,
        tuple(KeySensitivity(*one, good=(0.01, 0.1), best=0.03, best_position=0.5) for one in keys),
        unknown,
    )


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            [("weight_decay", -0.02, 0.62), ("lr", 0.812, 0.002)],
            "lr decides 81% of how settings rank (p<0.01), "
            "weight_decay nothing that 16 settings can show (p=0.62).",
        ),
        (
            [("lr", 0.3, 0.012), ("clip.max_norm", 0.52, 0.003), ("a", 0.1, 0.5), ("b", 0.0, 1.0)],
            "clip.max_norm decides 52% of how settings rank (p<0.01), lr decides 30% (p=0.012), "
            "a nothing that 16 settings can show (p=0.5), b nothing (p=1).",
        ),
        (
            [("lr", 0.1, 0.2), ("weight_decay", -0.1, 0.9)],
            "lr decides nothing that 16 settings can show (p=0.2), weight_decay nothing (p=0.9).",
        ),
        ([("lr", 0.9, 0.049)], "lr decides 90% of how settings rank (p=0.049)."),
    ],
)
def test_what_decides_comes_first_and_what_does_not_is_not_denied(keys, said):
    assert what_keys_decide(sensitivity(*keys)) == said


@pytest.mark.parametrize(
    ("settings", "keys", "unknown", "said"),
    [
        (8, ["lr", "decay"], "few-settings", "8 settings are too few to say what each of 2 keys"),
        (1, ["lr"], "few-settings", "1 setting is too few to say what lr decides."),
        (16, ["a"], "all-failed", "None of the 16 settings has a score."),
        (16, ["a", "b", "c"], "all-alike", "there is nothing for a, b and c to decide."),
    ],
)
def test_what_cannot_be_said_is_not_said(settings, keys, unknown, said):
    nothing = [(key, math.nan, math.nan) for key in keys]
    found = sensitivity(*nothing, settings=settings, unknown=unknown)
    assert said in what_keys_decide(found)


@pytest.mark.parametrize(("position", "end"), [(0.04, "lower"), (0.97, "upper")])
def test_a_range_may_end_too_early_for_a_key_that_did_best_there(make_comparison, position, end):
    key = KeySensitivity("lr", 0.8, 0.002, (0.01, 0.02), 0.018, position)
    arm = replace(
        make_comparison().ranking[0],
        name="adam",
        search_sensitivity=SearchSensitivity(16, (key, replace(key, key="weight_decay")), ""),
        setting_at_edge=("lr",),
    )
    (said,) = ends_to_widen(arm)
    assert said.startswith(f"The best lr of adam, 0.018, is near the {end} end of its range")
    assert ends_to_widen(replace(arm, setting_at_edge=())) == []
    assert ends_to_widen(replace(arm, search_sensitivity=None)) == []


def at_budgets(make_comparison, *leading):
    """A ranking whose arms a, b, c may be first as `leading` says for 4, 8, ... settings."""
    some = make_comparison().ranking[0]
    return [
        replace(
            some,
            name=name,
            by_budget=tuple(
                BudgetResult(
                    settings=4 * 2**place,
                    setting=(),
                    test_score=some.test_score,
                    val_score=some.val_score,
                    places=(1, 3) if name in first else (2, 3),
                )
                for place, first in enumerate(leading)
            ),
        )
        for name in "abc"
    ]


@pytest.mark.parametrize(
    ("leading", "said"),
    [
        (("a", "a", "a"), "The same with 4, 8 and 16 settings: a leads."),
        (("ab", "ab"), "The same with 4 and 8 settings: a and b lead and tie."),
        (("abc", "abc"), "The same with 4 and 8 settings: no arm can be told from all others."),
        (
            ("a", "ab", "ab"),
            "The number of settings decides: with 4, a leads; with 8 or 16, a and b lead and tie.",
        ),
        (
            ("a", "ab", "b"),
            "The number of settings decides: with 4, a leads; with 8, a and b lead and tie; "
            "with 16, b leads.",
        ),
    ],
)
def test_it_says_whether_the_budget_decides_who_leads(make_comparison, leading, said):
    assert what_budgets_say(at_budgets(make_comparison, *leading)) == [said]


def test_one_budget_or_one_arm_says_nothing_of_budgets(make_comparison):
    assert what_budgets_say(at_budgets(make_comparison, "a")) == []
    assert what_budgets_say(at_budgets(make_comparison, "a", "a")[:1]) == []
    assert what_budgets_say(make_comparison().ranking) == []
