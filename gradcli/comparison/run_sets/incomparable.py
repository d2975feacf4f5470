"""Which sets of runs cannot be compared: other data, other metrics, no scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from gradcli.comparison.run_sets.members import BY, ENDED, FoundRun, FoundSet, Score
from gradcli.comparison.run_sets.set_results import Member
from gradcli.errors import UserError
from gradcli.records import Metric

#: What is compared of runs whatever they are scored by.
_OF_LOOPS: Final = {
    "train_loss": Metric("train loss, last tenth of steps", "minimize"),
    "seconds_train": Metric("seconds of training", "minimize"),
}


def refuse_too_few(sets: Sequence[FoundSet]) -> None:
    """Refuse a single set, and the same one twice."""
    if len({one.name for one in sets}) < max(2, len(sets)):
        raise UserError(
            "There must be two different sets or more.",
            where="SET",
            hint="gradcli runs compare 'a-*' 'b-*'",
        )


def refuse_overlap(sets: Sequence[FoundSet]) -> None:
    """Refuse a run that is in two sets."""
    owner: dict[str, str] = {}
    for one in sets:
        for found in one.runs:
            path = str(found.run.path.resolve())
            if path in owner:
                raise UserError(
                    f"{found.run.name} is in two sets, '{owner[path]}' and '{one.name}'.",
                    where="SET",
                    hint="a condition more, such as name!=...",
                )
            owner[path] = one.name


def metric_of(sets: Sequence[FoundSet], by: Score) -> Metric:
    """Return what is compared.

    Raises:
        UserError: if it is a score, and runs are scored by different metrics.
    """
    if by in _OF_LOOPS:
        return _OF_LOOPS[by]
    of_metric: dict[Metric, str] = {}
    for one in sets:
        for found in one.runs:
            of_metric.setdefault(found.metric, found.run.name)
    if len(of_metric) > 1:
        raise UserError(
            "The runs are scored by different metrics: "
            + ", ".join(f"{run} by {metric.name}" for metric, run in of_metric.items())
            + ".",
            where="SET",
            hint="--by train_loss, if their losses are the same; or a condition more: "
            f"metric={next(iter(of_metric)).name}",
        )
    (metric,) = of_metric
    return metric


def refuse_other_data(sets: Sequence[FoundSet], by: Score) -> None:
    """Refuse runs on different data, whose scores say nothing of one another."""
    of_data: dict[tuple[str, str, int], FoundRun] = {}
    for one in sets:
        for found in one.runs:
            if "info" not in found.run.state or found.run.info.data.name == "own":
                continue
            data = found.run.info.data
            scored_on = {"test": data.test, "val": data.val}.get(by, 0)
            of_data.setdefault((data.name, data.identity, scored_on), found)
    if len(of_data) < 2:
        return
    (a, first), (b, second), *_ = of_data.items()
    difference = (
        f"{a[0]} and {b[0]}"
        if a[0] != b[0]
        else f"{a[0]} with other files or another split"
        if a[1] != b[1]
        else f"{a[2]:,} and {b[2]:,} {by} examples of {a[0]}"
    )
    raise UserError(
        f"The runs have different data: {difference}, in {first.run.name} and {second.run.name}.",
        where="SET",
        hint=f"a condition more: data={a[0]}"
        if a[0] != b[0]
        else f"gradcli runs diff {first.run.name} {second.run.name}",
    )


def refuse_unpaired(sets: Sequence[FoundSet], members: Mapping[str, tuple[Member, ...]]) -> None:
    """Refuse to pair runs by seed whose seeds are not known, or not unique."""
    for one in sets:
        seeds = [member.seed for member in members[one.name]]
        if None in seeds or len(set(seeds)) < len(seeds):
            raise UserError(
                f"The runs of '{one.name}' cannot be paired by seed: "
                + ("the seed of one is not known." if None in seeds else "a seed is there twice."),
                where="--pairing",
                hint="--pairing none",
            )


def without_score(one: FoundSet, out: Mapping[str, str], by: Score) -> UserError:
    """Return the error that no run of a set counts, with the reasons.

    What it would have been compared by does not matter if none of its runs has ended.
    """
    reasons = "; ".join(f"{run}: {reason}" for run, reason in list(out.items())[:3])
    has_ended = any(run.run.status in ENDED for run in one.runs)
    resumable = [
        run.run.path
        for run in one.runs
        if run.run.status in ("interrupted", "lost") and run.run.has_overrides
    ]
    problem = f"can be compared by {by}" if has_ended else "has ended"
    hint = f"--by {' or '.join(key for key in BY if key != by)}"
    if resumable:
        hint = f"gradcli train --resume {resumable[0]}"
    elif not has_ended:
        hint = f"gradcli runs show {one.runs[0].run.path}"
    return UserError(f"No run of '{one.name}' {problem}. {reasons}.", where="SET", hint=hint)
