"""What a rule takes: what is missing is told in words, and nothing if all is there."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis import Probed
from gradcli.diagnosis.rules import needs
from gradcli.records import FaultRecord

FAULT = FaultRecord(2, 1, "forward", "middle", math.nan, ())
STEPS = "a run of 20 steps or more"
UNSEEN = np.full((5, 3), math.nan)
NO_MODEL = "the model, which is not stored with a run of your own loop"


def probed(**more):
    return Probed(np.zeros(3), np.zeros(3), (False,) * 3, **more)


@pytest.fixture
def after(run_evidence, setup_record):
    """Return a function that makes evidence after a count of steps."""

    def make(count, *, own_loop=False, setup=True, **changes):
        losses = np.linspace(2.3, 2.0, count)
        total = 0 if own_loop else 100
        record = setup_record() if setup else None
        return replace(run_evidence(losses=losses, total_steps=total, setup=record), **changes)

    return make


def test_gradients(after):
    assert needs.gradients(after(1)) == ""
    assert needs.gradients(after(0)) == "a step, or a model to probe"
    assert needs.gradients(after(0, fault=FAULT)) == ""


def test_steps(after):
    assert needs.steps(after(20)) == ""
    assert needs.steps(after(19)) == STEPS


@pytest.mark.parametrize("own_loop", [True, False])
def test_updates(after, own_loop):
    setting = "GradientMonitor(every=...)" if own_loop else "monitor.every"
    one_known = UNSEEN.copy()
    one_known[0, 0] = 0.1
    assert needs.updates(after(20, own_loop=own_loop, update_ratios=one_known)) == ""
    assert needs.updates(after(19, own_loop=own_loop)) == STEPS
    unseen = {"own_loop": own_loop, "update_ratios": UNSEEN}
    assert needs.updates(after(20, **unseen)) == f"a run with {setting} above 0"
    assert needs.updates(after(19, **unseen)) == STEPS


def test_updates_or_a_fault(after):
    assert needs.updates_or_fault(after(20)) == ""
    assert needs.updates_or_fault(after(3)) == STEPS
    assert needs.updates_or_fault(after(3, fault=FAULT)) == ""
    assert needs.updates_or_fault(after(3, fault=FAULT, update_ratios=UNSEEN)) == STEPS


def test_activations(after):
    assert needs.activations(after(20, probed=probed())) == ""
    assert needs.activations(after(20)) == "a probe of the activations: --probe signals"
    assert needs.activations(after(20, own_loop=True)) == NO_MODEL


def test_noise(after):
    known = probed(noise_scale=(1.0, 1.0, 1.0))
    assert needs.noise(after(1, probed=known)) == ""
    assert needs.noise(after(20, probed=probed())) == ""
    assert needs.noise(after(19, probed=probed())) == f"{STEPS}, or --probe noise"
    assert needs.noise(after(19)) == f"{STEPS}, or --probe noise"
    assert needs.noise(after(19, own_loop=True)) == STEPS
    assert needs.noise(after(20, own_loop=True)) == ""


def test_a_check(after):
    assert needs.check(after(1, probed=probed(wrong_gradients=()))) == ""
    assert needs.check(after(20, probed=probed())) == "--check"
    assert needs.check(after(20)) == "--check"
    assert needs.check(after(20, own_loop=True)) == NO_MODEL


def test_a_record_of_the_setup(after):
    assert needs.setup(after(0)) == ""
    assert needs.setup(after(20, setup=False)) == "a run that a newer gradcli recorded"


def test_steps_that_show_the_setup(after):
    assert needs.observed(after(2)) == ""
    assert needs.observed(after(1)) == "a run: only its steps show how it is set up"
    assert needs.observed(after(1, fault=FAULT)) == ""
    assert needs.observed(after(2, setup=False)) == "a run that a newer gradcli recorded"


def test_a_setup_and_steps(after):
    assert needs.setup_and_steps(after(20)) == ""
    assert needs.setup_and_steps(after(19)) == STEPS
    assert needs.setup_and_steps(after(20, setup=False)) == "a run that a newer gradcli recorded"
    assert needs.setup_and_steps(after(1)) == "a run: only its steps show how it is set up"


def test_the_first_weights(after):
    some = np.array([math.nan, 1.0, math.nan])
    assert needs.start(after(20, weights=some)) == ""
    assert needs.start(after(20, weights=np.full(3, math.nan))) == "the weights of the first step"
