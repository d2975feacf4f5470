"""What the reader of a comparison must be warned of, in sentences.

Numbers come from `statistics`. This module knows what makes some of them less reliable than they
look: small samples, and optimizers that contain one another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gradcli.comparison.results import TrialStatus
from gradcli.comparison.statistics import (
    LEVEL,
    POWER,
    ScoreComparison,
    seeds_to_separate,
    separable_effect,
)
from gradcli.comparison.verdicts import ArmResult, ComparisonWarning, PairResult, Summary
from gradcli.notation import numbers
from gradcli.records import Metric

# With a difference of three deviations the same arm is ahead at 999 of 1000 seeds. Too few seeds
# to detect this say nothing about the small differences that people argue about.
_OBVIOUS_EFFECT = 3.0


@dataclass(frozen=True, slots=True)
class SpecialCase:
    """An optimizer that another one becomes at some setting, as the configs name them."""

    general: str
    special: str
    setting: str


#: The inclusions of Choi et al. 2019, "On empirical comparisons of optimizers for deep
#: learning" (arXiv 1910.05446), section 3, and two that follow from the definitions (the last
#: two). The learning rate changes along with the setting, and may follow a schedule that undoes a
#: bias correction. If eps outweighs the root of the second moment, the update is the first moment
#: times a constant: this is how adaptive methods contain the others.
SPECIAL_CASES = (
    SpecialCase("momentum", "sgd", "momentum=0"),
    SpecialCase("nesterov", "sgd", "a momentum near 0"),
    SpecialCase("rmsprop", "momentum", "momentum=0.9 and a very large eps and lr"),
    SpecialCase("adam", "momentum", "a very large eps and lr"),
    SpecialCase("nadam", "nesterov", "a very large eps, lr and momentum_decay"),
    SpecialCase("adam", "rmsprop", "betas=[0,0.99]"),
    SpecialCase("adamw", "adam", "weight_decay=0"),
)


def find_warnings(comparison: ScoreComparison) -> tuple[ComparisonWarning, ...]:
    """Return the reasons to read `comparison` with caution; its arms have names of optimizers.

    * `few-seeds`: even a difference of three deviations would probably be missed.
    * `special-case`: an optimizer lost to one that it contains. With all its settings tuned it
      could not (Choi et al. 2019), so the search was too narrow. An arm whose name is not in
      `SPECIAL_CASES` has no known special case.
    * `diverged`, `missing`: an arm's numbers are those of only some of the seeds.

    `warn_of_no_result` is for an arm of which no learning rate has a score.
    """
    return (
        *_few_seeds(comparison.pairs),
        *(warning for pair in comparison.pairs for warning in _lost_to_special_case(pair)),
        *(warning for arm in comparison.arms for warning in _incomplete(arm)),
    )


def _few_seeds(pairs: tuple[PairResult, ...]) -> Iterator[ComparisonWarning]:
    """Warn once per number of seeds that is too small for the number of pairs."""
    level = LEVEL / max(1, len(pairs))
    compared = [pair for pair in pairs if pair.seeds and pair.evidence != "divergence"]
    for seeds in sorted({pair.seeds for pair in compared}):
        effect = separable_effect(seeds, level)
        if effect <= _OBVIOUS_EFFECT:
            continue
        concerned = [pair for pair in compared if pair.seeds == seeds]
        enough = seeds_to_separate(_OBVIOUS_EFFECT, level)
        power = f"({POWER:.0%} power)"
        able = (
            f"cannot give a verdict; {enough} seeds reliably detect {power} differences above "
            f"{_OBVIOUS_EFFECT:g} standard deviations."
            if seeds < 2
            else f"reliably detect {power} only differences above {effect:.2g} standard "
            f"deviations; {enough} seeds: above {_OBVIOUS_EFFECT:g}."
        )
        yield ComparisonWarning(
            code="few-seeds",
            arms=tuple(dict.fromkeys(arm for pair in concerned for arm in (pair.a, pair.b))),
            message=f"{_count(seeds, 'seed')} {able}",
        )


def _lost_to_special_case(pair: PairResult) -> Iterator[ComparisonWarning]:
    """Warn if the loser of a pair contains the winner."""
    if pair.verdict == "tie":
        return
    winner, loser = (pair.a, pair.b) if pair.verdict == "a" else (pair.b, pair.a)
    steps = _specialisation(loser, winner)
    if steps:
        way = ", and ".join(f"{step.general} is {step.special} at {step.setting}" for step in steps)
        yield ComparisonWarning(
            code="special-case",
            arms=(loser, winner),
            message=f"{loser} lost to its own special case {winner}: {way}. With all its "
            "settings tuned it could not lose, so its search was too narrow.",
        )


def _specialisation(general: str, special: str) -> tuple[SpecialCase, ...]:
    """Return the steps from an optimizer to its special case; none if it is not one."""
    for case in SPECIAL_CASES:
        if case.general == general:
            if case.special == special:
                return (case,)
            if further := _specialisation(case.special, special):
                return (case, *further)
    return ()


def _incomplete(arm: ArmResult) -> Iterator[ComparisonWarning]:
    """Warn if some of an arm's trials have no score."""
    scored = arm.score.count
    trials = _count(scored + arm.diverged + arm.missing, "seed")
    rest = f"; its scores are those of the other {scored}" if scored else ""
    if arm.diverged:
        message = f"{arm.name} diverged at {arm.diverged} of {trials}{rest}."
        yield ComparisonWarning("diverged", (arm.name,), message)
    if arm.missing:
        message = f"{arm.name} has no result at {arm.missing} of {trials}{rest}."
        yield ComparisonWarning("missing", (arm.name,), message)


def warn_where_validation_disagrees(
    comparison: ScoreComparison, validation: Mapping[str, Summary], metric: Metric
) -> Iterator[ComparisonWarning]:
    """Warn of verdicts, and of a first place, that the validation scores would turn around.

    Args:
        comparison: of the test scores.
        validation: each arm's scores on validation, over the same fresh seeds.
        metric: of the scores.
    """
    first = comparison.arms[0].name
    warned = set()
    for pair in comparison.pairs:
        winner, loser = (pair.b, pair.a) if pair.verdict == "b" else (pair.a, pair.b)
        behind = metric.merit(validation[loser].mean - validation[winner].mean)
        if pair.verdict == "tie" or not behind > 0:
            continue
        worse = numbers.score(behind)
        warned.add((winner, loser))
        yield ComparisonWarning(
            "validation-disagrees",
            (winner, loser),
            f"{winner} is better than {loser} on the test examples, but {worse} worse on "
            "validation: the difference may be one between these examples.",
        )
    scored = {
        name: metric.merit(summary.mean) for name, summary in validation.items() if summary.count
    }
    best = max(scored, key=scored.__getitem__, default=first)
    ahead = scored.get(best, math.nan) - scored.get(first, math.nan)
    if best != first and ahead > 0 and (first, best) not in warned:
        yield ComparisonWarning(
            "validation-disagrees",
            (first, best),
            f"{first} is first on the test examples, but on validation {best} is, by "
            f"{numbers.score(ahead)}.",
        )


def warn_of_seeds_alone(pairs: Sequence[PairResult]) -> Iterator[ComparisonWarning]:
    """Warn of verdicts that hold for these test examples alone, because no others were recorded."""
    arms = [
        name
        for pair in pairs
        if pair.verdict != "tie" and pair.evidence == "scores" and pair.tested_on == "seeds"
        for name in (pair.a, pair.b)
    ]
    if arms:
        yield ComparisonWarning(
            "seeds-only",
            tuple(dict.fromkeys(arms)),
            "The scores of the single test examples are not on record, so the verdicts hold for "
            "new seeds, but perhaps not for other test examples.",
        )


def warn_of_no_result(arm: str, statuses: Sequence[TrialStatus]) -> ComparisonWarning:
    """Warn that none of an arm's learning rates has a score, so that none is chosen.

    Args:
        arm: its name.
        statuses: of its tuning trials.
    """
    lost = [one for one in ("diverged", "failed") if one in statuses]
    trials = _count(len(statuses), "tuning trial")
    if not lost:
        what = f"the validation score of {trials} is not a number"
    elif len(lost) == 1 and len(set(statuses)) == 1:
        what = f"all {trials} {lost[0]}" if len(statuses) > 1 else f"its {trials[2:]} {lost[0]}"
    else:
        what = ", ".join(f"{statuses.count(one)} of {trials} {one}" for one in lost)
    return ComparisonWarning(
        "no-result", (arm,), f"{arm} has no result: {what}, so no learning rate was chosen."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
