"""What came of trying the advice, in sentences that say no more than their numbers."""

from __future__ import annotations

import math

from gradcli.inspection.advice_trial import AdviceTrial, TrialScore
from gradcli.notation import numbers
from gradcli.records import Metric

VERDICTS = {
    "helps": "The advice helps.",
    "no-difference": "It makes no difference that can be told.",
    "worse": "The advice is worse; do not take it.",
    "not-sure": "Not sure: the score and the loss do not say the same.",
}


def trial_sentences(trial: AdviceTrial) -> list[str]:
    """Return the result, and then what it rests on."""
    if trial.outcome == "nothing-to-try":
        return [f"Nothing to try: {trial.reason.rstrip('.')}."]
    if trial.without is None or trial.with_advice is None:
        return [f"`{trial.override}` cannot be run: {trial.reason}"]
    scores = (
        f"with `{trial.override}` {_score_phrase(trial.with_advice, trial.metric)}, "
        f"without {_score_phrase(trial.without, trial.metric)}"
    )
    result = f"Tried for {_length(trial)}: {scores}. {VERDICTS[trial.outcome]}"
    return [result, _what_it_rests_on(trial)]


def _length(trial: AdviceTrial) -> str:
    without, with_advice = trial.without, trial.with_advice
    assert without is not None
    assert with_advice is not None
    if without.total_steps != with_advice.total_steps:
        share = numbers.share(trial.steps / without.total_steps)
        return f"the first {share} of the training, same seed"
    return f"{numbers.count(trial.steps, 'step')}, same seed and batches"


def _score_phrase(score: TrialScore, metric: Metric) -> str:
    if score.diverged_at is not None:
        return f"the training diverges at step {numbers.count(score.diverged_at)}"
    return (
        f"validation {metric.name} {numbers.score(score.score)} (loss {numbers.score(score.loss)})"
    )


def _what_it_rests_on(trial: AdviceTrial) -> str:
    """Say what the verdict rests on, and what it does not tell."""
    seed = f"One seed ({trial.seed}): another one may say otherwise."
    if math.isnan(trial.difference):
        return seed
    apart = f"The scores differ by {numbers.score(abs(trial.difference))}"
    if math.isnan(trial.margin):
        return f"{apart}; the metric does not tell how much of it is luck. {seed}"
    relation = "more" if abs(trial.difference) > trial.margin else "not more"
    return (
        f"{apart}, {relation} than two "
        f"standard deviations ({numbers.score(trial.margin)}) on the same "
        f"{numbers.count(trial.examples, 'validation example')}. {seed}"
    )
