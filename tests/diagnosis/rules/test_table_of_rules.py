"""The table of rules: causes come before what follows from them."""

import inspect

import pytest

from gradcli.diagnosis.rules import (
    EXPLAINED_BY,
    RULES,
    batch_noise,
    broken,
    data,
    flow,
    no_progress,
    optimizer,
    starting_point,
    step_size,
    time_steps,
    updates,
    wiring,
)

MODULES = (
    batch_noise,
    broken,
    data,
    flow,
    no_progress,
    optimizer,
    starting_point,
    step_size,
    time_steps,
    updates,
    wiring,
)
CODES = {code for rule in RULES for code in rule.codes}


def test_each_code_is_tested_by_one_rule():
    assert len(CODES) == sum(len(rule.codes) for rule in RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.find.__name__)
def test_a_rule_comes_after_those_that_may_explain_it(rule):
    """Or beside its own code, of which several rules test a part."""
    earlier = {code for one in RULES[: RULES.index(rule)] for code in one.codes}
    # Rules without codes of their own find a part of a later rule's.
    parts = {"dead-units", "no-gradient"}
    assert set(rule.unless) <= earlier | parts
    assert rule.find.__doc__


def test_what_explains_a_finding_is_another_one_that_there_is():
    for code, causes in EXPLAINED_BY.items():
        assert {code, *causes} <= CODES
        assert code not in causes
        assert len(set(causes)) == len(causes)


def test_every_rule_of_the_modules_is_applied_once():
    applied = [rule.find for rule in RULES]
    assert len(set(applied)) == len(applied)
    parts = {flow.wild_guesses, flow.vanishing_through_time}  # of `vanishing_or_exploding`
    written = {
        function
        for module in MODULES
        for name, function in inspect.getmembers(module, inspect.isgeneratorfunction)
        if not name.startswith("_") and function.__module__.startswith("gradcli.diagnosis.rules")
    }
    assert written - parts == set(applied)
