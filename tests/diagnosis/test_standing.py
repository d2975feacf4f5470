"""Whether a training is better than guessing, on losses and evaluations made by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis.standing import standing
from gradcli.diagnosis.which_loss import has_known_zero, is_measured_by_guessing, judges_loss
from gradcli.records import UNKNOWN_LEVELS, DataInfo, EvalRecord, LossLevels

#: Of targets with a variance of 2.
SQUARES = LossLevels(2.0, 2.0, 0.0, 2.0)
NUMBERS = DataInfo("mine", 1000, 100, 100, "", (8,), 0)
#: 9 times the variance over 100 examples: three standard errors of a parameter fitted to noise.
CHANCE = 0.18


def evaluated(*losses):
    return tuple(EvalRecord(10, 1, "val", loss, loss, loss, 1.0, 1.0) for loss in losses)


def around(level, spread=0.1, count=100):
    """Losses from 3 on that end about a level, in the last quarter by a known standard error."""
    losses = np.linspace(3, level, count)
    end = count * 3 // 4
    losses[end:] = level + spread * np.resize([1, -1], count - end)
    return losses


@pytest.fixture
def numbers(run_evidence):
    """Evidence of a training on numbers, under `mse`."""

    def collect(losses, *, levels=SQUARES, data=NUMBERS, model_size=816, **more):
        return run_evidence(
            losses=losses, loss="mse", levels=levels, data=data, model_size=model_size, **more
        )

    return collect


@pytest.mark.parametrize(
    ("level", "evals", "expected"),
    [
        (1.0, (1.9, 1.0), "better"),
        (1.0, (2.0 - CHANCE - 0.01, 2.5), "better"),  # overfitting is no finding
        (1.0, (2.0 - CHANCE + 0.01,), "unsure"),
        (1.0, (2.1, 2.0), "memorised"),
        (2.0, (1.0,), "better"),  # dropout, say: in training nothing shows
        (2.0, (1.0, 2.0), "as good"),  # it was better once
        (2.0, (2.0,), "as good"),
        (2.0, (), "as good"),
        (2.2, (2.2,), "as good"),  # within a ninth
        (2.5, (2.5,), "worse"),
        (2.5, (), "worse"),
        (1.0, (math.nan,), "better"),  # no more than what 816 parameters gain by heart
    ],
)
def test_how_a_training_stands(numbers, level, evals, expected):
    data = replace(NUMBERS, train=100_000) if not evals or math.isnan(evals[0]) else NUMBERS
    assert standing(numbers(around(level), evals=evaluated(*evals), data=data)) == expected


def test_the_noise_of_the_batches_counts(numbers):
    """Of 25 losses that are 1 above and below: a standard error of 0.2, and three are chance."""
    error = np.resize([1, -1], 25).std(ddof=1) / 5
    for gain, expected in ((3.1 * error, "better"), (2.9 * error, "unsure"), (0.9, "better")):
        losses = around(0.0, 1.0)
        losses[75:] += 2.0 - gain - losses[75:].mean()
        assert standing(numbers(losses, evals=evaluated(1.0 if expected == "better" else 1.9))) == (
            expected
        ), gain


def test_what_is_learnt_by_heart_is_not_learnt(numbers):
    """With no other examples: a parameter gains the variance over the examples, by chance."""
    data = replace(NUMBERS, val=0)
    few, many = (numbers(around(1.0), data=data, model_size=size) for size in (10, 900))
    assert (standing(few), standing(many)) == ("better", "unsure")
    as_many = numbers(around(0.0, 0.0), data=data, model_size=1000)
    assert standing(as_many) == "unsure"
    first_epoch = replace(data, train=128 * 100)
    assert standing(numbers(around(1.0), data=first_epoch, model_size=10**6)) == "better"


def test_nothing_is_known_of_short_trainings_and_of_other_losses(numbers):
    assert standing(numbers(around(1.0, count=19))) == "unknown"
    assert standing(numbers(around(1.0, count=20), evals=evaluated(1.0))) == "better"
    assert standing(numbers(around(1.0), levels=UNKNOWN_LEVELS)) == "unknown"


@pytest.mark.parametrize(
    ("guessing", "classes", "measured"),
    [
        (math.log(10), 10, False),  # as it was before levels were recorded
        (0.91 * math.log(10), 10, False),
        (0.89 * math.log(10), 10, True),  # some classes are rare
        (2.0, 0, True),
        (math.nan, 0, False),
        (math.nan, 10, False),
    ],
)
def test_classes_about_equally_common_are_judged_as_ever(run_evidence, guessing, classes, measured):
    data = replace(NUMBERS, classes=classes)
    found = run_evidence(levels=LossLevels(guessing, guessing, 0.0, 0.5), data=data)
    assert is_measured_by_guessing(found) == measured
    assert has_known_zero(found) == (measured or classes > 0)


def test_the_losses_of_functions_of_the_users_own_are_not_compared_as_ratios(
    run_evidence, setup_record
):
    path = ("Add", "MseLoss", "Addmm")
    data = replace(NUMBERS, classes=0)
    setup = setup_record(loss_path=path)
    own = run_evidence(loss="with_offset", data=data, setup=setup, losses=around(101))
    assert not judges_loss(own)
    assert judges_loss(run_evidence(own_loop=True, setup=setup, losses=around(101)))
    plain = setup_record(loss_path=("NllLoss", "LogSoftmax", "Addmm"))
    assert judges_loss(run_evidence(loss="mine", data=data, setup=plain))
