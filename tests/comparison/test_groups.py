"""Groups of arms that cannot be told apart: honest about ties that are not transitive."""

import itertools
import math

import numpy as np
import pytest

from gradcli.comparison.groups import answering_first, arms_without_scores, tied_groups
from gradcli.comparison.results import ArmInfo
from gradcli.comparison.statistics import compare_arms
from gradcli.comparison.verdicts import PairResult


def pair(a, b, verdict, seeds=3, evidence="scores"):
    everything = (-math.inf, math.inf)
    return PairResult(a, b, seeds, 0.0, 0.0, everything, everything, 1.0, verdict, evidence, None)


def pairs_of(names, ties):
    return [
        pair(a, b, "tie" if {a, b} in ties else "a") for a, b in itertools.combinations(names, 2)
    ]


def test_a_chain_of_ties_is_many_groups():
    pairs = pairs_of("abcd", [{"a", "b"}, {"b", "c"}, {"c", "d"}])
    assert tied_groups(pairs) == (("a", "b"), ("b", "c"), ("c", "d"))


def test_arms_that_all_tie_are_one_group_and_clear_ones_are_none():
    assert tied_groups(pairs_of("abc", [{"a", "b"}, {"b", "c"}, {"a", "c"}])) == (("a", "b", "c"),)
    assert tied_groups(pairs_of("abc", [])) == ()
    assert tied_groups([]) == ()


@pytest.mark.parametrize("seed", range(20))
def test_the_groups_say_what_the_verdicts_say(seed):
    """Two arms share a group exactly if they tie, and no group is part of another."""
    generator = np.random.default_rng(seed)
    means = generator.uniform(0.9, 0.93, 9)
    scores = {f"arm{i}": mean + generator.normal(0, 0.004, 6) for i, mean in enumerate(means)}
    pairs = compare_arms(scores).pairs
    groups = tied_groups(pairs)
    assert {one.verdict for one in pairs} == {"a", "tie"}
    for one in pairs:
        together = any({one.a, one.b} <= set(group) for group in groups)
        assert together is (one.verdict == "tie")
    for one, other in itertools.permutations(groups, 2):
        assert not set(one) <= set(other)
    order = [arm.name for arm in compare_arms(scores).arms]
    assert all(list(group) == sorted(group, key=order.index) for group in groups)


def test_an_arm_without_a_score_ties_with_no_other():
    pairs = [
        pair("a", "b", "tie"),
        pair("a", "c", "tie", seeds=0, evidence="none"),
        pair("b", "c", "tie", seeds=0, evidence="none"),
    ]
    assert tied_groups(pairs) == (("a", "b"),)
    assert arms_without_scores(pairs) == ("c",)


def test_divergence_is_something_known():
    pairs = [pair("a", "b", "tie", seeds=0, evidence="divergence")]
    assert arms_without_scores(pairs) == ()
    assert tied_groups(pairs) == (("a", "b"),)


def test_pairs_that_differ_in_one_varied_key_answer_the_question():
    arms = [
        ArmInfo("a", "sgd", ("clip=none", "batch_size=1"), ()),
        ArmInfo("b", "sgd", ("clip=norm", "batch_size=1"), ()),
        ArmInfo("c", "sgd", ("clip=norm", "batch_size=2"), ()),
        ArmInfo("d", "adam", ("clip=none", "batch_size=1"), ()),
        ArmInfo("e", "adam", ("clip=none", "batch_size=2"), ()),
    ]
    answering, others = answering_first(pairs_of("abcde", []), arms)
    assert [one.a + one.b for one in answering] == ["ab", "bc", "de"]
    assert [one.a + one.b for one in others] == ["ac", "ad", "ae", "bd", "be", "cd", "ce"]
