"""The sentences on a trial of an advice are true of its numbers, whatever these are."""

import math
import random

import numpy as np
import pytest

from gradcli.inspection.advice_trial import AdviceTrial, TrialScore, judged
from gradcli.views.inspect.inspection_screen import commands_after_inspection
from gradcli.views.inspect.trial_sentences import VERDICTS, trial_sentences

COMMAND = ("gradcli", "train", "optimizer.lr=0.01")


def draw(drawn):
    """Two random scores: often close, sometimes diverged."""
    size = drawn.randrange(2, 600)
    hard = np.array([drawn.random() for _ in range(size)])

    def score():
        if drawn.random() < 0.15:
            step = drawn.randrange(1, 100)
            return TrialScore(step - 1, total, math.nan, math.nan, diverged_at=step)
        level = drawn.random()
        noise = np.array([drawn.gauss(0, 0.1) for _ in range(size)])
        correct = hard + noise < level
        return TrialScore(
            100, total, float(correct.mean()), drawn.expovariate(1), example_scores=correct
        )

    total = drawn.choice((100, 400))
    trial = AdviceTrial(
        "refused",
        "lr-too-high",
        "optimizer.lr=0.01",
        seed=7,
        steps=100,
        examples=size,
        command=COMMAND,
    )
    return judged(trial, score(), score())


@pytest.mark.parametrize("seed", range(200))
def test_verbs_agree_with_the_numbers(seed, make_run_inspection):
    trial = draw(random.Random(seed))
    result, evidence = trial_sentences(trial)
    said = [verdict for verdict in VERDICTS.values() if result.endswith(verdict)]
    with_advice, without = trial.with_advice, trial.without
    if math.isnan(trial.difference):
        expected = {
            (False, True): "helps",
            (True, False): "worse",
            (True, True): "no-difference",
        }[with_advice.diverged_at is not None, without.diverged_at is not None]
        assert "diverges at step" in result
        assert "differ" not in evidence
    else:
        clear = abs(trial.difference) > trial.margin
        better = with_advice.score > without.score
        expected = "no-difference" if not clear else "helps" if better else "worse"
        losses = sorted((with_advice.loss, without.loss))
        if losses[1] - losses[0] > 0.1 * losses[1]:
            of_losses = "helps" if with_advice.loss < without.loss else "worse"
            expected = expected if expected == of_losses else "not-sure"
        assert f"validation accuracy {with_advice.score:.4f}" in result
        assert f"validation accuracy {without.score:.4f}" in result.partition("without")[2]
        assert ("not more than" in evidence) == (not clear)
    assert said == [VERDICTS[expected]]
    assert "One seed (7)" in evidence
    commands = " ".join(commands_after_inspection(make_run_inspection(trial=trial)))
    assert ("gradcli train optimizer.lr=0.01" in commands) == (expected == "helps")
    assert ("--try-steps" in commands) == (
        expected in ("no-difference", "not-sure") and without.total_steps > 100
    )


@pytest.mark.parametrize("reason", ["no override mends labels", "What to change: call zero_grad."])
def test_a_reason_ends_with_one_full_stop(reason):
    (said,) = trial_sentences(AdviceTrial("nothing-to-try", reason=reason))
    assert said == f"Nothing to try: {reason.rstrip('.')}."
