"""Refuses sets of runs that cannot be compared, and compares the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from gradcli.comparison.run_sets.incomparable import (
    metric_of,
    refuse_other_data,
    refuse_overlap,
    refuse_too_few,
    refuse_unpaired,
    without_score,
)
from gradcli.comparison.run_sets.larger_sets import Asked, next_commands
from gradcli.comparison.run_sets.members import ENDED, FoundRun, FoundSet, Score, score_of
from gradcli.comparison.run_sets.set_cautions import cautions, has_trained, why_compared_by
from gradcli.comparison.run_sets.set_results import Member, RunSet, RunSetComparison
from gradcli.comparison.run_sets.set_settings import differing_settings, settings_of
from gradcli.comparison.statistics.set_tests import Pairing, Scored, compare_sets
from gradcli.records import Metric, Status

#: Why a run does not count.
_NOT_ENDED: Final[dict[Status, str]] = {
    "running": "still running",
    "interrupted": "interrupted before its end",
    "failed": "failed before its end",
    "lost": "lost: its process is gone and left no result",
}


def compare_run_sets(
    sets: Sequence[FoundSet], *, by: Score | None = None, pairing: Pairing = "auto"
) -> RunSetComparison:
    """Compare sets of runs over their seeds.

    Args:
        sets: two or more.
        by: what they are compared by; None is the first of the test score, the validation score and
            the train loss that a run of each set has whose runs did not all diverge.
        pairing: whether by the seeds that two sets share (`seed`), as independent runs (`none`), or
            by seeds where both sets have the same (`auto`).

    Raises:
        UserError: if there are fewer than two sets, one run is in two of them, none of a set's runs
            has a score, or the data or the metrics differ.
    """
    refuse_too_few(sets)
    refuse_overlap(sets)
    kept, left_out = zip(*(_without_repetitions(one) for one in sets), strict=True)
    reasons: list[str] = []
    asked = Asked(by, pairing)
    if by is None:
        by = _first_known(kept)
        reasons += why_compared_by(by, sets, kept)
    metric = metric_of(sets, by)
    refuse_other_data(sets, by)
    members = {}
    for one, runs, out in zip(sets, kept, left_out, strict=True):
        members[one.name] = _members(runs, out, by)
        if not members[one.name]:
            raise without_score(one, out, by)
    if pairing == "seed":
        refuse_unpaired(sets, members)
    ranked, pairs = compare_sets(
        {name: _scored(found) for name, found in members.items()},
        direction=metric.direction,
        resolution=_resolution(kept, metric, by),
        bounds=(0.0, math.inf) if by == "seconds_train" else metric.bounds,
        pairing=pairing,
    )
    settings = {
        one.name: settings_of([run for run in runs if run.run.name not in out])
        for one, runs, out in zip(sets, kept, left_out, strict=True)
    }
    differing = differing_settings([*settings.values()])
    out_of = {one.name: out for one, out in zip(sets, left_out, strict=True)}
    results = tuple(
        RunSet(
            name=arm.name,
            rank=arm.rank,
            members=members[arm.name],
            left_out=out_of[arm.name],
            score=arm.score,
            diverged=arm.diverged,
            settings={key: settings[arm.name].shared.get(key) for key in differing},
            mixed=settings[arm.name].mixed,
        )
        for arm in ranked
    )
    return RunSetComparison(
        metric=metric,
        by=by,
        pairing=pairing,
        sets=results,
        pairs=pairs,
        differing=differing,
        cautions=(*reasons, *cautions(results, pairs, sets, differing, metric.direction)),
        next_commands=next_commands(results, pairs, sets, asked),
    )


# What is compared -------------------------------------------------------------------------


def _first_known(kept: Sequence[Sequence[FoundRun]]) -> Score:
    """Return the first score that each set has of whose runs not all diverged."""
    trained = [runs for runs in kept if has_trained(runs)]
    for by in ("test", "val"):
        if all(any(math.isfinite(score_of(run, by)) for run in runs) for runs in trained):
            return by
    return "train_loss"


def _without_repetitions(one: FoundSet) -> tuple[list[FoundRun], dict[str, str]]:
    """Return the runs that may count, and why the others do not.

    A training that was run again with the same seed and settings is no second sample: the newest
    counts.
    """
    kept: list[FoundRun] = []
    out: dict[str, str] = {}
    seen: dict[tuple[int | None, str], str] = {}
    for found in reversed(one.runs):  # of two equal ones, the newer
        run = found.run
        same = (found.seed, found.training)
        if run.status not in ENDED:
            out[run.name] = _NOT_ENDED[run.status]
        elif found.seed is not None and same in seen:
            out[run.name] = f"repeated by {seen[same]}, which counts instead"
        else:
            kept.append(found)
            seen[same] = run.name
    return kept[::-1], dict(reversed(out.items()))


def _members(runs: Sequence[FoundRun], out: dict[str, str], by: Score) -> tuple[Member, ...]:
    """Return the runs that have a score, and note in `out` those that have none."""
    members = []
    for found in runs:
        score = score_of(found, by)
        if math.isnan(score):
            out[found.run.name] = f"no {by} score" if by in ("test", "val") else f"no {by}"
        else:
            members.append(Member(found.run.name, str(found.run.path), found.seed, score))
    return tuple(members)


def _scored(members: Sequence[Member]) -> Scored:
    return Scored(tuple(one.score for one in members), tuple(one.seed for one in members))


def _resolution(kept: Sequence[Sequence[FoundRun]], metric: Metric, by: Score) -> float:
    """Return the distance of neighbouring accuracies; 0 if the number of examples is not known."""
    infos = [run.run.info for runs in kept for run in runs if "info" in run.run.state]
    scored = max((one.data.test if by == "test" else one.data.val for one in infos), default=0)
    return 1 / scored if metric.is_accuracy and scored else 0.0
