"""What a comparison concludes, in sentences: verdicts on pairs, groups of ties, halving."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradcli.comparison.groups import arms_without_scores, ranked_names, tied_groups
from gradcli.comparison.results import Halving, RankedArm
from gradcli.comparison.verdicts import (
    ArmTimes,
    ComparisonWarning,
    ConfidenceInterval,
    PairResult,
)
from gradcli.notation import numbers
from gradcli.records import DataInfo, Metric

#: That of `comparison.statistics`, which takes SciPy to import.
LEVEL = 0.05
#: Of two arms, their verdict says all.
_FEWEST_TO_RANK = 3


def verdict(pair: PairResult) -> str:
    """Say which of two arms is better, or that they tie."""
    match pair.verdict:
        case "a":
            return f"{pair.a} is better than {pair.b}"
        case "b":
            return f"{pair.b} is better than {pair.a}"
        case "tie" if pair.evidence == "none":
            # Only arms that were compared can tie.
            return f"{pair.a} and {pair.b} have no verdict"
        case "tie":
            return f"{pair.a} and {pair.b} tie"


def shows_interval(pair: PairResult) -> bool:
    """Whether `grounds` gives the confidence interval of a difference, in brackets."""
    return pair.seeds > 0 and pair.difference != 0 and pair.evidence not in ("divergence", "none")


def grounds(pair: PairResult, metric: Metric) -> str:
    """Say what a verdict is based on.

    The interval is the one corrected for the number of pairs: it excludes 0 exactly if the verdict
    is not a tie.

    Args:
        pair: the pair.
        metric: of its scores.
    """
    seeds = numbers.count(pair.seeds, "seed")
    needed = f" {_seeds_needed(pair)}" if pair.verdict == "tie" else ""
    if pair.evidence == "divergence":
        return f"one diverged at every seed, the other at none ({p_value(pair)}).{needed}"
    if pair.seeds == 0:
        return "no seed has a score of both."
    # An interval of the difference seen from whichever arm is ahead.
    sign = -1 if pair.difference < 0 else 1
    low, high = sorted(sign * end for end in pair.holm_interval)
    if metric.is_accuracy:
        low, high = max(low, -1.0), min(high, 1.0)
    apart = f"{numbers.score(abs(pair.difference))} apart"
    if pair.evidence == "none":
        return f"{apart} at {seeds}, too few for a test."
    if pair.difference == 0:
        return f"{apart} over {seeds}."
    return f"{apart} ({interval((low, high))}, {p_value(pair)}, {seeds}).{needed}"


def grouped_verdicts(pairs: Sequence[PairResult]) -> list[tuple[str, str]]:
    """Say everything that the verdicts say in a line per better arm and a line per group of ties.

    Returns:
        What each line is about, and what it says of it.
    """
    lines = []
    for name in ranked_names(pairs):
        worse = [
            pair.b if pair.verdict == "a" else pair.a
            for pair in pairs
            if (pair.verdict == "a" and pair.a == name) or (pair.verdict == "b" and pair.b == name)
        ]
        if worse:
            lines.append((name, f"better than {listed(worse)}"))
    for group in tied_groups(pairs):
        inside = [pair for pair in pairs if pair.a in group and pair.b in group]
        lines.append((listed(group), f"cannot be told apart{_at_most(inside)}"))
    unscored = arms_without_scores(pairs)
    if unscored:
        lines.append((listed(unscored), "no score, so no verdict"))
    return lines


def ranked_sets(arms: Sequence[RankedArm | ArmTimes]) -> str:
    """Say in one sentence what the verdicts leave of the ranking: sets, not places.

    Empty if they overlap: then `grouped_verdicts` says which arms tie.
    """
    scored = [arm for arm in arms if arm.places is not None]
    sets: dict[tuple[int, int], list[str]] = {}
    for arm in scored:
        if arm.places is not None:
            sets.setdefault(arm.places, []).append(arm.name)
    whole = all(len(names) == worst - best + 1 for (best, worst), names in sets.items())
    if len(scored) < _FEWEST_TO_RANK or not whole:
        return ""
    said: list[str] = []
    before = 0
    for names in sets.values():
        behind = {0: "", 1: "behind it", 2: "behind both"}.get(before, "behind all of these")
        if len(names) > 1:
            said.append(
                ", ".join(filter(None, [f"{{{', '.join(names)}}} cannot be told apart", behind]))
            )
        else:
            said.append(f"{names[0]} is {behind or 'ahead'}")
        before += len(names)
    return "; ".join(said) + "."


def example_worth(data: DataInfo) -> str:
    """Say what one test example is worth, in points of accuracy."""
    kind = "image" if len(data.shape) == 3 else "example"
    examples = numbers.count(data.test, kind)
    return f"{examples}: one test {kind} is {100 / data.test:.2g} points of accuracy"


def overlapping_note(pairs: Sequence[PairResult]) -> str:
    """Explain an arm that is in several groups; empty if there is none."""
    groups = tied_groups(pairs)
    names = [name for group in groups for name in group]
    twice = next((name for name in names if names.count(name) > 1), "")
    if not twice:
        return ""
    return (
        f"{twice} is in several groups: it ties with the arms of each, and some of those "
        "differ from one another."
    )


def warning_sentences(warnings: Sequence[ComparisonWarning]) -> list[str]:
    """Say what the warnings say, with one sentence for all arms of which the same is said."""
    arms_of: dict[tuple[str, str], list[str]] = {}
    for warning in warnings:
        about_one = len(warning.arms) == 1 and warning.message.startswith(f"{warning.arms[0]} ")
        arm = warning.arms[0] if about_one else ""
        said = warning.message[len(arm) :].lstrip()
        arms_of.setdefault((warning.code, said), []).append(arm)
    sentences = []
    for (_, said), arms in arms_of.items():
        if len(arms) > 1:
            sentences.append(f"{listed(arms)}: each {said}")
        else:
            sentences.append(f"{arms[0]} {said}".strip())
    return sentences


def best_at_an_end(arms: Sequence[str]) -> list[str]:
    """Say in one sentence which arms did best at an end of their learning rates; [] if none did."""
    if not arms:
        return []
    if len(arms) == 1:
        return [f"{arms[0]} did best at an end of its learning rates: a better one may lie beyond."]
    return [
        f"{listed(arms)} did best at an end of their learning rates: better ones may lie beyond."
    ]


def interval(ends: ConfidenceInterval) -> str:
    """Write an interval of scores or of differences; one without ends is absent."""
    low, high = ends
    if math.isinf(low):
        return numbers.ABSENT
    return f"{numbers.score(low)} to {numbers.score(high)}"


def halving_result(halving: Halving) -> str:
    """Say what successive halving stopped, and what it saved."""
    saved = numbers.share(halving.steps_saved / max(halving.steps_without, 1))
    return (
        f"{halving.stopped} of {numbers.count(halving.trials, 'tuning trial')} stopped early "
        f"after {numbers.count(halving.steps_spent, 'step')} in total; "
        f"{numbers.count(halving.steps_saved, 'step')} saved, {saved} of the tuning. "
        "A learning rate that starts slowly may have been stopped, too."
    )


def listed(names: Sequence[str]) -> str:
    """Write names as one would list them: a, b and c."""
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last


def _at_most(inside: Sequence[PairResult]) -> str:
    """Say how far the arms of a group are apart at most, and over how many seeds."""
    apart = [abs(pair.difference) for pair in inside if not math.isnan(pair.difference)]
    if not apart:
        return ""
    seeds = [pair.seeds for pair in inside]
    counts = f"{min(seeds)} to {numbers.count(max(seeds), 'seed')}"
    if min(seeds) == max(seeds):
        counts = numbers.count(max(seeds), "seed")
    return f"; at most {numbers.score(max(apart))} apart, {counts}"


def _seeds_needed(pair: PairResult) -> str:
    if pair.seeds_needed is None:
        on = f" on {numbers.count(pair.examples)} test examples" if pair.examples else ""
        return f"No affordable number of seeds would separate them{on}."
    return f"About {numbers.count(pair.seeds_needed, 'seed')} would separate them."


def p_value(pair: PairResult) -> str:
    """Write the p-value, with digits enough to see on which side of the level it is."""
    p = pair.p_adjusted
    if p < 0.0001:
        return "p<0.0001"
    texts = (f"{p:.{digits}g}" for digits in range(2, 17))
    return f"p={next((text for text in texts if float(text) != LEVEL), f'{p:.2g}')}"
