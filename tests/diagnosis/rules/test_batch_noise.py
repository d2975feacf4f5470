"""The rule on noise, just within and just beyond its limits."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis import Probed
from gradcli.diagnosis.limits import (
    HALF_LEFT,
    NOISE_SCALE,
    SCATTER,
    STILL_TO_LEARN,
    TINY_BATCH,
)
from gradcli.diagnosis.rules import batch_noise

LN_10 = math.log(10)
FLAT = np.full(100, LN_10)
TINY = int(TINY_BATCH.value)


def then(share, first=1.0):
    """Losses that begin at a multiple of that of guessing, and are at another from then on."""
    return LN_10 * np.r_[first, np.full(99, share)]


def noisy(run_evidence, losses=FLAT, scatter=0.0, scale=None, batch_size=8, **more):
    evidence = run_evidence(losses=losses, batch_size=batch_size, **more)
    probed = Probed(np.zeros(3), np.zeros(3), (False,) * 3, noise_scale=scale)
    convergence = replace(evidence.convergence, scatter=scatter)
    return list(
        batch_noise.noise_dominated(
            replace(evidence, convergence=convergence, probed=probed if scale else None)
        )
    )


@pytest.mark.parametrize(
    ("size", "left", "found"),
    [
        (1, 1.0, 1),
        (TINY, STILL_TO_LEARN.value + 0.01, 1),
        (TINY, STILL_TO_LEARN.value - 0.01, 0),
        (TINY + 1, 1.0, 0),
        (0, 1.0, 0),
    ],
)
def test_tiny_batches_are_mostly_noise(run_evidence, size, left, found):
    told = noisy(run_evidence, then(left), batch_size=size, scatter=0.5)
    assert len(told) == found
    for one in told:
        assert (one.code, one.severity, one.layer) == ("noise-dominated", "warning", None)
        assert one.evidence == {
            "batch_size": size,
            "loss_scatter": 0.5,
            "loss_left": pytest.approx(left),
        }
        assert f"a batch has {size} example{'s' * (size > 1)}, so" in one.message
        assert one.override == "batch_size=64"
        assert one.mend.startswith(f"Raise the batch size from {size} to 32 or more")


@pytest.mark.parametrize(
    ("scatter", "left", "found"),
    [
        (1.01 * SCATTER.value, 1.0, 1),
        (SCATTER.value, 1.0, 0),
        (0.9, STILL_TO_LEARN.value + 0.01, 1),
        (0.9, STILL_TO_LEARN.value - 0.01, 0),
    ],
)
def test_losses_of_batches_that_scatter(run_evidence, scatter, left, found):
    assert len(noisy(run_evidence, then(left), scatter)) == found


def test_the_advice_on_scatter_is_a_batch_large_enough(run_evidence):
    """The scatter falls with the root of the size, and is to come down to 0.3."""
    (found,) = noisy(run_evidence, scatter=0.9)
    assert found.evidence == {"loss_scatter": 0.9, "batch_size": 8}
    assert "changes by 90% from one batch to the next" in found.message
    assert found.override == "batch_size=128"  # 9 times 8, as a power of two
    assert found.mend.startswith("Use batches 9 times as large")
    assert (found.code, found.severity) == ("noise-dominated", "warning")


@pytest.mark.parametrize(
    ("low", "size", "found"),
    [(8 * NOISE_SCALE.value, 8, 0), (8 * NOISE_SCALE.value + 1, 8, 1), (1e9, 0, 0)],
)
def test_a_noise_scale_of_many_batches(run_evidence, low, size, found):
    told = noisy(run_evidence, scale=(100.0, low, 900.0), batch_size=size)
    assert len(told) == found
    for one in told:
        assert one.evidence == {
            "noise_scale": 100.0,
            "noise_scale_low": low,
            "noise_scale_high": 900.0,
            "batch_size": 8,
        }
        assert one.message.endswith("it takes about 100 examples for as much signal as noise in "
                                    "the gradient, and a batch has 8.")  # fmt: skip
        assert one.override == "batch_size=128"


@pytest.mark.parametrize(
    ("left", "severity"), [(HALF_LEFT.value + 0.01, "warning"), (HALF_LEFT.value - 0.01, "info")]
)
def test_a_noise_scale_late_in_training_is_normal(run_evidence, left, severity):
    (found,) = noisy(run_evidence, then(left), scale=(math.inf, 100.0, math.inf))
    assert found.severity == severity
    assert ("That is normal late in training" in found.message) == (severity == "info")
    assert found.override == "batch_size=256"  # twice the lower end


def test_scatter_is_told_before_a_noise_scale(run_evidence):
    (found,) = noisy(run_evidence, scatter=0.9, scale=(1e3, 1e3, 1e3))
    assert "loss_scatter" in found.evidence
    assert not noisy(run_evidence)
