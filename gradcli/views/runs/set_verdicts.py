"""What is said of two sets of runs: the verdict, or that there is none, and on what grounds."""

from __future__ import annotations

import math

from gradcli.comparison.statistics.set_tests import SetPair
from gradcli.notation import numbers
from gradcli.views.compare.verdict_sentences import interval, p_value, verdict


def pair_verdict(pair: SetPair) -> str:
    """Say which of two sets is better, that they tie, or that there is no verdict.

    Only sets whose scores were compared can tie.
    """
    result = pair.result
    if result.verdict == "tie" and result.evidence != "scores":
        return f"{result.a} and {result.b} have no verdict"
    return verdict(result)


def pair_grounds(pair: SetPair) -> str:
    """Say what is known of two sets, as the rest of a sentence."""
    result = pair.result
    if result.evidence == "divergence":
        return _one_diverged(pair)
    if math.isnan(result.difference):
        return _nothing_to_compare(pair)
    apart = f"{numbers.score(abs(result.difference))} apart"
    if result.evidence == "none":
        return f"{_scores(pair)}, {apart}: too few for a test."
    sign = -1 if result.difference < 0 else 1
    ends = sorted(sign * end for end in result.holm_interval)
    how = (
        f"seed by seed, {numbers.count(result.seeds, 'seed')}"
        if pair.is_paired
        else f"as independent runs, {pair.runs[0]} and {pair.runs[1]}"
    )
    said = f"{apart} ({interval((ends[0], ends[1]))}, {p_value(result)}; {how})."
    if result.verdict != "tie":
        return said
    unit = "seed" if pair.is_paired else "run"
    needed = result.seeds_needed
    if needed is None:
        return f"{said} No affordable number of {unit}s would separate them."
    of_each = "" if pair.is_paired else " of each"
    return f"{said} About {numbers.count(needed, unit)}{of_each} would separate them."


def _one_diverged(pair: SetPair) -> str:
    """Say which set diverged, and whether that may be chance."""
    result = pair.result
    names = [(result.a, pair.compared[0]), (result.b, pair.compared[1])]
    if not pair.diverged[1]:
        names.reverse()
    (healthy, of_healthy), (diverged, of_diverged) = names
    if of_healthy == of_diverged == 1:
        said = f"one run each; that of {diverged} diverged, that of {healthy} did not"
    else:
        whole = {1: "the one run", 2: "both runs"}.get(of_diverged, f"all {of_diverged} runs")
        said = f"{whole} of {diverged} diverged, and none of the {of_healthy} of {healthy}"
    chance = "" if result.verdict != "tie" else ". That may be chance"
    return f"{said}{chance} ({p_value(result)})."


def _nothing_to_compare(pair: SetPair) -> str:
    if pair.is_paired and not any(pair.compared):
        return "no seed is in both."
    if pair.diverged == pair.compared and not pair.is_paired:
        return "all runs of both diverged, so that there are no scores to compare."
    diverged = " and ".join(
        f"{count} of {numbers.count(runs, 'run')} of {name}"
        for name, count, runs in zip(
            (pair.result.a, pair.result.b), pair.diverged, pair.compared, strict=True
        )
    )
    where = "at the seeds that both have, " if pair.is_paired else ""
    return f"{where}{diverged} diverged, so that there are no scores to compare."


def _scores(pair: SetPair) -> str:
    if pair.is_paired:
        return numbers.count(pair.runs[0], "shared seed")
    if pair.runs == (1, 1):
        return "one run each" if pair.compared == (1, 1) else "one score each"
    return f"{pair.runs[0]} and {numbers.count(pair.runs[1], 'score')}"
