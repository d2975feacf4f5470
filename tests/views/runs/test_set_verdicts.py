"""What is said of two sets: the verdict, or that there is none, and on what grounds."""

import pytest

from gradcli.comparison.statistics import DIVERGED
from gradcli.comparison.statistics.set_tests import Scored, compare_sets
from gradcli.views.runs.set_verdicts import pair_grounds, pair_verdict

SCORES = (0.91, 0.93, 0.92, 0.94, 0.9, 0.95)


def said(good, bad, pairing="auto"):
    sets = {
        name: Scored(scores, tuple(range(len(scores))))
        for name, scores in (("good", good), ("bad", bad))
    }
    _, (pair,) = compare_sets(sets, pairing=pairing)
    return f"{pair_verdict(pair)}: {pair_grounds(pair)}"


@pytest.mark.parametrize("pairing", ["auto", "none"])
def test_the_one_run_that_diverged_is_named_and_proves_nothing(pairing):
    assert said((0.9,), (DIVERGED,), pairing) == (
        "good and bad have no verdict: one run each; that of bad diverged, that of good did not. "
        "That may be chance (p=0.5)."
    )


@pytest.mark.parametrize(
    ("runs", "healthy", "words"),
    [
        (2, 2, "both runs of bad diverged, and none of the 2 of good. That may be chance (p=0.12)"),
        (1, 3, "the one run of bad diverged, and none of the 3 of good. That may be chance"),
        (6, 6, "good is better than bad: all 6 runs of bad diverged, and none of the 6 of good (p"),
    ],
)
def test_a_set_that_diverged_as_a_whole_is_named_with_its_runs(runs, healthy, words):
    sentence = said(SCORES[:healthy], (DIVERGED,) * runs)
    assert words in sentence
    assert "tie" not in sentence


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        ((DIVERGED,) * 2, (DIVERGED,) * 3, "all runs of both diverged"),
        ((0.9, DIVERGED), (DIVERGED,) * 3, "1 of 2 runs of good and 3 of 3 runs of bad diverged"),
        ((0.9,), (0.8,), "one run each, 0.1000 apart: too few"),
        ((0.9, DIVERGED), (0.8, 0.7), "1 and 2 scores, 0.1500 apart: too few"),
    ],
)
def test_without_a_test_there_is_no_verdict_and_no_tie(good, bad, words):
    sentence = said(good, bad, "none")
    assert words in sentence
    assert "have no verdict" in sentence


def test_scores_that_were_tested_can_tie():
    assert said(SCORES, SCORES[::-1]).startswith("good and bad tie: ")
