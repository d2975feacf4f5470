"""Why the verdicts on sets are to be read with caution."""

import json

import pytest

from gradcli.comparison.run_sets.set_cautions import cautions
from gradcli.comparison.run_sets.set_results import Member, RunSet
from gradcli.comparison.statistics import DIVERGED
from gradcli.comparison.statistics.set_tests import Scored, compare_sets
from gradcli.errors import UserError

DIVERGES = ("optimizer=sgd", "optimizer.lr=1e30")


def said(sets, pairing, direction="maximize"):
    """The cautions on sets that map seeds to scores."""
    ranked, pairs = compare_sets(
        {name: Scored(tuple(runs.values()), tuple(runs)) for name, runs in sets.items()},
        pairing=pairing,
        direction=direction,
    )
    results = [
        RunSet(
            name=arm.name,
            rank=arm.rank,
            members=tuple(Member("", "", seed, one) for seed, one in sets[arm.name].items()),
            left_out={},
            score=arm.score,
            diverged=arm.diverged,
            settings={},
            mixed=(),
        )
        for arm in ranked
    ]
    return [*cautions(results, pairs, (), ("lr",), direction)]


@pytest.mark.parametrize(("pairing", "contradicts"), [("seed", True), ("none", False)])
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_shared_seeds_that_contradict_the_ranking_are_named(pairing, contradicts, direction):
    sign = 1 if direction == "maximize" else -1
    ahead = {1: 0.5 * sign, 2: 0.6 * sign, 3: 0.99 * sign}  # by the seed that only it has
    sets = {"ahead": ahead, "behind": {1: 0.61 * sign, 2: 0.7 * sign}}
    sentences = [one for one in said(sets, pairing, direction) if "ranks" in one]
    assert len(sentences) == contradicts
    if contradicts:
        assert sentences[0].startswith(
            "Over all its runs ahead has a better mean than behind, but a worse one at the 2 seeds"
        )


def test_shared_seeds_that_agree_with_the_ranking_are_no_reason_for_caution():
    sets = {"ahead": {1: 0.7, 2: 0.8, 3: 0.9}, "behind": {1: 0.5, 2: 0.6}}
    assert not any("ranks" in one for one in said(sets, "seed"))


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ({1: DIVERGED}, ["The run of hot diverged: it has no score."]),
        ({1: DIVERGED, 2: DIVERGED}, ["Both runs of hot diverged: it has no score."]),
        (
            {1: DIVERGED, 2: 0.5},
            ["1 of 2 runs of hot diverged. Its mean is that of the others.",
             "hot has a single run with a score: there is no interval and no test."],
        ),
    ],
)  # fmt: skip
def test_runs_that_diverged_are_counted(runs, words):
    sentences = said({"cold": {1: 0.5, 2: 0.6}, "hot": runs}, "none")
    assert [one for one in sentences if "hot" in one] == words
    assert not any(one.startswith("With ") for one in sentences)  # nothing was tested


@pytest.mark.parametrize(
    ("seeds", "left"),
    [
        ((1, 1), "The sets have the same seeds and differ in no recorded setting"),
        ((1, 2), "The sets differ in no recorded setting but the seed"),
    ],
)
def test_what_is_left_to_differ_depends_on_the_seeds(train, compare, seeds, left):
    for name, seed in zip("ab", seeds, strict=True):
        train(name, f"seed={seed}")
    assert any(one.startswith(left) for one in compare("a", "b").cautions)


def test_of_two_equal_trainings_the_newer_counts_and_the_older_was_repeated(train, compare):
    older, newer = train("a"), train("a")
    train("b")
    (one,) = [one for one in compare("a", "b").sets if one.name == "a"]
    assert [member.run for member in one.members] == [newer.path.name]
    assert one.left_out == {older.path.name: f"repeated by {newer.path.name}, which counts instead"}


def test_healthy_runs_keep_their_test_score_beside_runs_that_diverged(train, compare):
    train("mine")
    train("hot", *DIVERGES)
    compared = compare("mine", "hot")
    assert compared.by == "test"
    assert not any("are compared" in one for one in compared.cautions)


def test_a_score_that_stands_in_for_the_test_score_is_explained(train, compare):
    train("mine")
    untested = train("untested")
    path = untested.path / "run.json"
    state = json.loads(path.read_text())
    del state["result"]["test"]
    path.write_text(json.dumps(state))
    compared = compare("mine", "untested")
    assert compared.by == "val"
    assert compared.cautions[0] == (
        "Validation scores are compared, because no run of untested has a test score."
    )
    del state["result"]["val"]
    path.write_text(json.dumps(state))
    compared = compare("mine", "untested")
    assert compared.by == "train_loss"
    assert compared.cautions[0] == (
        "Train losses are compared, because no run of untested has a test or a validation score."
    )
    asked = compare("mine", "untested", by="train_loss")
    assert not any("are compared" in one for one in asked.cautions)


def test_a_run_that_has_not_ended_is_named_with_its_status(train, compare):
    train("mine")
    lost = train("lost")
    path = lost.path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "running"}))
    with pytest.raises(UserError, match="No run of 'lost' has ended") as refused:
        compare("mine", "lost")
    assert f"{lost.path.name}: lost" in str(refused.value)
    assert "train_loss" not in str(refused.value)
    assert refused.value.hint == f"gradcli train --resume {lost.path}"
