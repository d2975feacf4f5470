"""What a comparison concludes, in words: the verdict on a pair, and what tuning was worth."""

from __future__ import annotations

import math

from gradcli.comparison.results import ConfidenceInterval, Halving, PairResult
from gradcli.views import numbers


def verdict(pair: PairResult) -> str:
    """Say which of two arms is better, or that nobody can tell."""
    match pair.verdict:
        case "a":
            return f"{pair.a} is better than {pair.b}"
        case "b":
            return f"{pair.b} is better than {pair.a}"
        case "tie" if pair.evidence == "none":
            # To tie is to have been compared.
            return f"{pair.a} and {pair.b} have no verdict"
        case "tie":
            return f"{pair.a} and {pair.b} tie"


def grounds(pair: PairResult) -> str:
    """Say what a verdict rests on.

    The interval is the one widened for the number of pairs: it leaves 0 out exactly where
    the verdict is no tie.
    """
    seeds = numbers.count(pair.seeds, "seed")
    needed = f" {_seeds_needed(pair)}" if pair.verdict == "tie" else ""
    if pair.evidence == "divergence":
        return f"one diverged at every seed, the other at none ({_p(pair)}).{needed}"
    if pair.seeds == 0:
        return "there is no seed at which both have a score."
    # An interval of the difference seen from whichever arm is ahead.
    sign = -1 if pair.difference < 0 else 1
    low, high = sorted(sign * end for end in pair.holm_interval)
    apart = f"{numbers.score(abs(pair.difference))} apart"
    if pair.evidence == "none":
        return f"{apart} at {seeds}, which settles nothing."
    if pair.difference == 0:
        return f"{apart} over {seeds}."
    return f"{apart} ({interval((low, high))}, {_p(pair)}, {seeds}).{needed}"


def interval(ends: ConfidenceInterval) -> str:
    """Write an interval of accuracies; one without ends as absent."""
    low, high = ends
    if math.isinf(low):
        return numbers.ABSENT
    return f"{numbers.score(low)} to {numbers.score(high)}"


def halving_result(halving: Halving) -> str:
    """Say what successive halving gave up, and what it saved."""
    saved = numbers.share(halving.steps_saved / max(halving.steps_without, 1))
    return (
        f"{halving.stopped} of {numbers.count(halving.trials, 'tuning trial')} stopped early "
        f"after {numbers.count(halving.steps_spent, 'step')} together; "
        f"{numbers.count(halving.steps_saved, 'step')} saved, {saved} of the tuning. "
        "A learning rate that starts slowly may have been among them."
    )


def _seeds_needed(pair: PairResult) -> str:
    if pair.seeds_needed is None:
        return "No affordable number of seeds would separate them."
    return f"About {numbers.count(pair.seeds_needed, 'seed')} would separate them."


def _p(pair: PairResult) -> str:
    return "p<0.0001" if pair.p_adjusted < 0.0001 else f"p={pair.p_adjusted:.2g}"
