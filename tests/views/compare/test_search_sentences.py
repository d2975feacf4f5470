"""What is said of the keys of a search."""

import math

import pytest

from gradcli.comparison.verdicts import KeySensitivity, SearchSensitivity
from gradcli.views.compare.search_sentences import ends_to_widen, what_keys_decide


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
        (16, ["a", "b", "c"], "all-alike", "there is nothing for a, b and c to decide."),
    ],
)
def test_what_cannot_be_said_is_not_said(settings, keys, unknown, said):
    nothing = [(key, math.nan, math.nan) for key in keys]
    found = sensitivity(*nothing, settings=settings, unknown=unknown)
    assert said in what_keys_decide(found)
    assert ends_to_widen(found) == []


@pytest.mark.parametrize(
    ("position", "p", "end"),
    [(0.04, 0.002, "lower"), (0.97, 0.002, "upper"), (0.5, 0.002, None), (0.97, 0.3, None)],
)
def test_a_range_may_end_too_early_if_its_key_decides(position, p, end):
    key = KeySensitivity("lr", 0.8, p, (0.01, 0.02), 0.018, position)
    said = ends_to_widen(SearchSensitivity(16, (key,), ""))
    assert len(said) == (end is not None)
    if end:
        assert said[0].startswith(f"The best lr, 0.018, is near the {end} end of its range")
