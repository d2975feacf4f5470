"""How sure a finding is: the measured table, the formula, and what carries it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from diagnosis_corpus.cases import VOCABULARY

from gradcli.diagnosis import diagnose
from gradcli.diagnosis.calibration import (
    Tally,
    certainty_of,
    measured_cases,
    measured_findings,
    probability,
    with_certainty,
)
from gradcli.diagnosis.rules import EXPLAINED_BY, RULES
from gradcli.records import FaultRecord, Finding

SAID_BY_RULES = {code for rule in RULES for code in rule.codes}


def test_nothing_is_right_more_often_than_it_is_said_nor_said_of_more_than_there_is():
    cases = measured_cases()
    counted = cases["fault"] + cases["healthy"] + cases["weak"]
    assert measured_findings()
    for code, tally in measured_findings().items():
        assert 0 <= tally.right <= tally.said <= counted, code
        assert tally.said > 0, code


def test_every_code_is_in_the_vocabulary():
    explaining = set(EXPLAINED_BY).union(*EXPLAINED_BY.values())
    assert SAID_BY_RULES | explaining <= VOCABULARY
    assert set(measured_findings()) <= SAID_BY_RULES | {"healthy"}


@pytest.mark.parametrize(("right", "said"), [(0, 1), (1, 1), (0, 9), (7, 9), (57, 58), (300, 300)])
def test_the_probability_is_the_mean_of_what_the_share_may_be(right, said):
    """Under a uniform prior, by integration on a grid of shares."""
    shares = (np.arange(1_000_000) + 0.5) / 1_000_000
    logarithm = right * np.log(shares) + (said - right) * np.log1p(-shares)
    weights = np.exp(logarithm - logarithm.max())
    mean = (shares * weights).sum() / weights.sum()
    assert probability(Tally(right, said)) == pytest.approx(mean, abs=1e-6)


def test_a_code_that_was_never_said_has_no_certainty():
    assert math.isnan(certainty_of("undetermined"))
    for code, tally in measured_findings().items():
        assert certainty_of(code) == probability(tally)


def test_what_follows_from_a_cause_is_as_sure_as_the_cause(monkeypatch):
    table = {"lr-too-high": Tally(8, 10), "dead-units": Tally(1, 10)}
    monkeypatch.setattr("gradcli.diagnosis.calibration.certainty.measured_findings", lambda: table)
    alone = Finding("dead-units", "error", "first", {}, "rule", "message", None)
    beneath = replace(alone, follows_from="lr-too-high")
    assert [one.certainty for one in with_certainty([alone, beneath])] == [2 / 12, 9 / 12]


def test_every_finding_of_a_run_carries_it(run_evidence, setup_record):
    (healthy,) = diagnose(run_evidence(setup=setup_record()))
    assert healthy.certainty == certainty_of("healthy")
    assert 0 < healthy.certainty < 1
    fault = FaultRecord(100, 1, "forward", "last", math.nan, ())
    losses = np.geomspace(2.3, 1e6, 100)
    found = diagnose(run_evidence(losses=losses, ratios=(1, 1, 1), fault=fault))
    beneath = [one for one in found if one.follows_from]
    assert beneath
    for one in found:
        assert one.certainty == certainty_of(one.follows_from or one.code)
