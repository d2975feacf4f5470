"""A trial of the advice: short trainings with and without it, and which of them was better.

Numbers only, and how they are judged. `workflows.try_advice` does the training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from gradcli.records import ACCURACY, ExampleScores, Metric

Outcome = Literal["helps", "no-difference", "worse", "not-sure", "refused", "nothing-to-try"]

#: Standard deviations by which two scores must differ. With equal trainings, other validation
#: examples make that difference in one of twenty trials.
_DEVIATIONS = 2.0

#: The share of the loss by which two losses must differ to count against what the scores say. They
#: are means, and the losses of single examples are not known.
_LOSSES_APART = 0.1

#: A trial has this share of the steps that the run has made,
_SHARE = 0.25
#: but at least this many: 50 judge 3 of 34 planted faults otherwise than the whole run does, and
#: 25 judge 6 so (`docs/decisions.md`),
_FEWEST_STEPS = 100
#: and it goes this much further than the step at which the finding saw something happen, since
#: before that step the two trainings may well be the same.
_BEYOND_EVENT = 2.0


@dataclass(frozen=True, slots=True)
class TrialScore:
    """What one of the two trainings has reached on the validation examples."""

    steps: int
    """The updates made."""
    total_steps: int
    """Those of the whole run with this config."""
    score: float
    """By the run's metric; NaN if the training diverged."""
    loss: float
    """The mean loss; NaN if the training diverged."""
    diverged_at: int | None = None
    """The step of the first non-finite value."""
    example_scores: ExampleScores | None = field(default=None, compare=False, repr=False)
    """What each validation example adds to the score, (n,); None if the training diverged, or if
    the metric has no score of a single example."""

    @property
    def has_diverged(self) -> bool:
        """Whether there is no score."""
        return math.isnan(self.score)


@dataclass(frozen=True, slots=True)
class AdviceTrial:
    """What came of trying the first finding's override."""

    outcome: Outcome
    code: str | None = None
    """The finding whose advice was tried; None if there is nothing to try."""
    override: str | None = None
    reason: str = ""
    """Why it was refused, or why there is nothing to try."""
    seed: int | None = None
    steps: int = 0
    """How many the training of the config as it was had, unless it diverged before."""
    examples: int = 0
    """The validation examples."""
    without: TrialScore | None = None
    """The config as it was. None if nothing was trained."""
    with_advice: TrialScore | None = None
    difference: float = math.nan
    """The score with the advice minus that without; NaN if one of them diverged."""
    margin: float = math.nan
    """What the difference must exceed to count; NaN if the metric has no score of an example."""
    metric: Metric = ACCURACY
    command: tuple[str, ...] = ()
    """The command that trains with the advice; empty if the run's overrides are not recorded."""


def steps_of_trial(made: int, total: int, event: int) -> int:
    """Return how many steps a trial has, unless the user says.

    Args:
        made: the steps that the run has made.
        total: the steps that it was to make; a trial has no more.
        event: the step at which the finding saw something happen; 0 if at none.
    """
    wanted = max(made * _SHARE, _FEWEST_STEPS, event * _BEYOND_EVENT)
    return max(1, min(math.ceil(wanted), total))


def judged(trial: AdviceTrial, without: TrialScore, with_advice: TrialScore) -> AdviceTrial:
    """Add the scores to a trial, and say which is better.

    Two scores differ if their difference exceeds two of its standard deviations, which are those of
    the examples: both models are asked the same ones, so each example is a pair, and of an accuracy
    only those count that one model gets right and the other wrong. The seed is the same, and there
    is one: how much another would change is not known. Nothing is concluded from a metric that has
    no score of a single example, nor if the loss says something else: an accuracy may go up by an
    example while the loss doubles.
    """
    trial = replace(trial, without=without, with_advice=with_advice)
    diverged = (without.has_diverged, with_advice.has_diverged)
    if any(diverged):
        outcomes: dict[tuple[bool, bool], Outcome] = {
            (True, False): "helps",
            (False, True): "worse",
            (True, True): "no-difference",
        }
        return replace(trial, outcome=outcomes[diverged])
    outcome: Outcome
    ours, theirs = with_advice.example_scores, without.example_scores
    if ours is None or theirs is None:
        difference = with_advice.score - without.score
        outcome = _with_the_loss("no-difference", without.loss, with_advice.loss)
        return replace(trial, outcome=outcome, difference=difference)
    pairs = ours.astype(float) - theirs.astype(float)
    difference = float(pairs.mean())
    margin = _DEVIATIONS * float(pairs.std(ddof=1)) / math.sqrt(len(pairs))
    outcome = "no-difference"
    if abs(difference) > margin:
        outcome = "helps" if trial.metric.merit(difference) > 0 else "worse"
    outcome = _with_the_loss(outcome, without.loss, with_advice.loss)
    return replace(trial, outcome=outcome, difference=difference, margin=margin)


def _with_the_loss(of_scores: Outcome, without: float, with_advice: float) -> Outcome:
    """Return what the scores say, unless the losses clearly say something else."""
    apart = abs(with_advice - without) > _LOSSES_APART * max(abs(without), abs(with_advice))
    of_losses: Outcome = "helps" if with_advice < without else "worse"
    return of_scores if not apart or of_losses == of_scores else "not-sure"
