"""Rules are applied in turn; their findings are put in order, and under what caused them."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis import Probed, examine
from gradcli.diagnosis.rules import RULES
from gradcli.records import FaultRecord, TensorRange

LN_10 = math.log(10)
FLAT = np.full(100, LN_10)
EVERY_CODE = {code for rule in RULES for code in rule.codes}
FAULT = FaultRecord(101, 1, "forward", "first", math.nan, ())
#: Weights and a first loss that are far too large, but the model learns all the same.
LARGE = {"weights": np.full((5, 3), 40.0), "losses": np.geomspace(30, 0.02, 100)}


def told(evidence) -> list[tuple[str, str, str | None]]:
    return [(one.code, one.severity, one.follows_from) for one in examine(evidence).findings]


@pytest.mark.parametrize("with_setup", [True, False])
def test_each_code_is_tested_or_it_is_said_what_that_takes(run_evidence, setup_record, with_setup):
    found = examine(run_evidence(setup=setup_record() if with_setup else None))
    assert set(found.tested) | set(found.not_tested) == EVERY_CODE
    assert not set(found.tested) & set(found.not_tested)
    assert ("unscaled-inputs" in found.tested) == with_setup
    assert all(found.not_tested.values())
    assert found.findings[0].threshold == f"none of: {', '.join(dict.fromkeys(found.tested))}"


def test_a_remark_keeps_no_rule_from_being_applied(run_evidence, setup_record):
    """A large noise scale is not looked for after a wrong scale of the weights."""
    probed = Probed(np.zeros(3), np.zeros(3), (False,) * 3, noise_scale=(math.inf, 1e5, math.inf))
    well = replace(run_evidence(setup=setup_record(), **LARGE), probed=probed)
    assert told(well) == [
        ("initial-scale", "info", None),
        ("noise-dominated", "info", None),
        ("healthy", "info", None),
        ("exploding", "info", "initial-scale"),
    ]
    ill = replace(run_evidence(setup=setup_record(), weights=LARGE["weights"], losses=FLAT * 4),
                  probed=probed)  # fmt: skip
    codes = [code for code, _, _ in told(ill)]
    assert "initial-scale" in codes and "noise-dominated" not in codes


def test_healthy_is_said_beside_remarks_only(run_evidence, setup_record):
    sound, broken = run_evidence(setup=setup_record()), setup_record(not_cleared=4)
    frozen = setup_record(requires_grad=(False, False, True, True, True, True))
    remark = run_evidence(setup=frozen, norms=(0, 1, 1), ratios=(math.nan, 0.01, 0.01))
    assert told(sound) == [("healthy", "info", None)]
    assert told(remark) == [("frozen", "info", None), ("healthy", "info", None)]
    assert [code for code, _, _ in told(replace(sound, setup=broken))] == ["not-cleared"]


def test_a_remark_follows_from_a_remark_but_nothing_serious_does(run_evidence, setup_record):
    evidence = run_evidence(setup=setup_record(), norms=(1, 0, 1), **LARGE)
    assert told(evidence) == [
        ("dead-units", "error", None),
        ("initial-scale", "info", None),
        ("exploding", "info", "initial-scale"),
    ]


def test_a_cause_comes_before_a_graver_finding_that_follows_from_it(run_evidence, setup_record):
    pixels = TensorRange((64, 784), 33.3, 78.6, 0.0, 255.0)
    evidence = run_evidence(setup=setup_record(inputs=pixels), fault=FAULT, losses=FLAT)
    found = examine(evidence).findings
    assert [(one.code, one.severity, one.follows_from) for one in found] == [
        ("unscaled-inputs", "warning", None),
        ("non-finite", "error", "unscaled-inputs"),
    ]
    cause, effect = found
    assert cause.override and cause.mend
    assert (effect.override, effect.mend) == (None, "")


def test_by_itself_the_gravest_comes_first(run_evidence, setup_record):
    pixels = TensorRange((64, 784), 33.3, 78.6, 0.0, 255.0)
    setup = setup_record(inputs=pixels, groups=(), requires_grad=(True,) * 6)
    still = run_evidence(setup=setup, ratios=(0, 0, 0), losses=FLAT, weights=np.full((5, 3), 9.5))
    severities = [severity for _, severity, cause in told(still) if cause is None]
    assert severities == sorted(severities, key=("error", "warning", "info").index)
    assert len(set(severities)) > 1


def test_the_likeliest_of_several_causes_is_named(run_evidence, setup_record):
    pixels = TensorRange((64, 784), 33.3, 78.6, 0.0, 255.0)
    setup = setup_record(inputs=pixels, not_cleared=4)
    causes = {
        code: cause for code, _, cause in told(run_evidence(setup=setup, fault=FAULT, losses=FLAT))
    }
    assert causes == {"not-cleared": None, "unscaled-inputs": None, "non-finite": "not-cleared"}


def test_a_loop_of_ones_own_gets_advice_in_words_only(run_evidence, setup_record):
    pixels = TensorRange((64, 784), 33.3, 78.6, 0.0, 255.0)
    for own_loop in (False, True):
        setup = setup_record(inputs=pixels)
        (found,) = examine(run_evidence(own_loop=own_loop, setup=setup, losses=FLAT)).findings
        assert (found.override is None) == own_loop
        assert found.mend
