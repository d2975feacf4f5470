"""Reasons to read the verdicts on sets of runs with caution, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from gradcli.comparison.run_sets.members import FoundRun, FoundSet, Score, score_of
from gradcli.comparison.run_sets.set_results import RunSet
from gradcli.comparison.statistics.arm_scores import merit
from gradcli.comparison.statistics.set_tests import SetPair
from gradcli.notation import numbers
from gradcli.records import Direction

_FEWEST: Final = 5
#: More differing settings than this are counted instead of named.
_MOST_NAMED: Final = 6
_SPLITS: Final[dict[Score, str]] = {"test": "test", "val": "validation"}


def why_compared_by(
    by: Score, sets: Sequence[FoundSet], kept: Sequence[Sequence[FoundRun]]
) -> Iterator[str]:
    """Say why sets are compared by another score than that of the test data.

    Args:
        by: what was chosen, as the first that all sets have.
        sets: all of them.
        kept: of each the runs that ended.
    """
    reasons: dict[str, list[str]] = {}
    for split, word in _SPLITS.items():
        if split == by:
            break
        lacking = [
            one.name
            for one, runs in zip(sets, kept, strict=True)
            if has_trained(runs) and not any(math.isfinite(score_of(run, split)) for run in runs)
        ]
        reasons.setdefault(" or ".join(lacking), []).append(word)
    if reasons:
        said = " and ".join(
            f"no run of {names} has a {' or a '.join(words)} score"
            for names, words in reasons.items()
        )
        compared = "Validation scores" if by == "val" else "Train losses"
        yield f"{compared} are compared, because {said}."


def has_trained(runs: Sequence[FoundRun]) -> bool:
    """Whether a run did not diverge: only such a one can have a score."""
    return any(run.run.status != "diverged" for run in runs)


def cautions(
    results: Sequence[RunSet],
    pairs: Sequence[SetPair],
    sets: Sequence[FoundSet],
    differing: Sequence[str],
    direction: Direction,
) -> Iterator[str]:
    """Return the reasons that the runs, the settings and the scores of sets give."""
    yield from _of_settings(results, sets, differing)
    yield from _of_choice(sets)
    yield from _of_scores(results, pairs)
    yield from _of_shared_seeds(results, pairs, direction)
    own = [one.name for one in sets if any(run.is_own_loop for run in one.runs)]
    if own:
        yield (
            f"{' and '.join(own)}: gradcli does not know which data and which seeds your own loop "
            "used. That they are the same for all is up to you."
        )


def _of_settings(
    results: Sequence[RunSet], sets: Sequence[FoundSet], differing: Sequence[str]
) -> Iterator[str]:
    unknown = sum(not run.settings for one in sets for run in one.runs)
    if unknown:
        yield (
            f"{numbers.count(unknown, 'run')} of an older gradcli recorded no settings and no seed "
            "here: `gradcli runs diff` says in what two runs differ."
        )
    elif not differing and not any(one.mixed for one in results):
        yield _no_difference(results)
    for one in results:
        if one.mixed:
            named = ", ".join(one.mixed[:_MOST_NAMED])
            more = (
                f" and {len(one.mixed) - _MOST_NAMED} more" if len(one.mixed) > _MOST_NAMED else ""
            )
            yield (
                f"The runs of {one.name} differ in {named}{more}, too: their spread is not that of "
                "seeds alone."
            )


def _no_difference(results: Sequence[RunSet]) -> str:
    """Say what is left to make a difference between sets of the same settings."""
    seeds = [sorted(str(member.seed) for member in one.members) for one in results]
    if any("None" in some for some in seeds):
        return "The sets differ in no recorded setting: what differs is not recorded, or chance."
    if all(some == seeds[0] for some in seeds):
        return (
            "The sets have the same seeds and differ in no recorded setting: a difference is that "
            "of code, of the machine, or of chance."
        )
    return (
        "The sets differ in no recorded setting but the seed: a difference is that of seeds, of "
        "code, or of the machine."
    )


def _of_choice(sets: Sequence[FoundSet]) -> Iterator[str]:
    """Name sets of runs that were chosen by what became of them: that is no fair sample."""
    for one in sets:
        if one.passed_over:
            said = " ".join(one.result_conditions)
            diverged = sum(run.status == "diverged" for run in one.passed_over)
            of_them = f", {diverged} of them diverged" if diverged else ""
            yield (
                f"'{one.name}' chooses runs by what became of them: {said} leaves out "
                f"{numbers.count(len(one.passed_over), 'run')}{of_them}. Its mean and its verdicts "
                "are those of the choice, not of the settings."
            )


def _of_scores(results: Sequence[RunSet], pairs: Sequence[SetPair]) -> Iterator[str]:
    for one in results:
        runs = len(one.members)
        if one.diverged and one.diverged == runs:
            all_of_them = {1: "The run", 2: "Both runs"}.get(runs, f"All {runs} runs")
            yield f"{all_of_them} of {one.name} diverged: it has no score."
        elif one.diverged:
            yield (
                f"{one.diverged} of {numbers.count(runs, 'run')} of {one.name} diverged. Its mean "
                "is that of the others."
            )
        if one.score.count == 1:
            single = f"{one.name} has a single run" + (" with a score" if runs > 1 else "")
            yield f"{single}: there is no interval and no test."
    fewest = min(
        (min(pair.runs) for pair in pairs if pair.result.evidence == "scores"), default=_FEWEST
    )
    if fewest < _FEWEST:
        yield (
            f"With {numbers.count(fewest, 'run')}, only large differences can be told from "
            "luck, and intervals rest on the scores being normally distributed."
        )


def _of_shared_seeds(
    results: Sequence[RunSet], pairs: Sequence[SetPair], direction: Direction
) -> Iterator[str]:
    """Say where the means of all runs, which rank the sets, contradict what pairs are judged by."""
    rank = {one.name: one.rank for one in results}
    for pair in pairs:
        a, b = pair.result.a, pair.result.b
        if rank[a] != rank[b] and pair.is_paired and merit(pair.result.difference, direction) < 0:
            seeds = numbers.count(pair.runs[0], "seed")
            yield (
                f"Over all its runs {a} has a better mean than {b}, but a worse one at the "
                f"{seeds} at which both have a score. The table ranks by the former, the verdict "
                "goes by the latter."
            )
