"""The columns of `comparison.columns` as text: in a table and in a plain line."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from gradcli.comparison.columns import COLUMNS, NumberStyle
from gradcli.comparison.results import ComparisonSummary, RankedArm, TrialResult
from gradcli.notation import numbers
from gradcli.views.table import Column


def written(style: NumberStyle, value: float) -> str:
    """Write a column's number; a missing one as absent."""
    match style:
        case "score":
            return numbers.score(value)
        case "norm":
            return numbers.known_norm(value)
        case "share":
            return numbers.share(value)
        case "count" | "duration" if math.isinf(value):
            return "never"
        case "count":  # a half, the median of an even number of seeds, is rounded up
            return numbers.ABSENT if math.isnan(value) else numbers.count(math.ceil(value))
        case "duration":
            return numbers.duration(value)


def reported_columns(arms: Sequence[RankedArm], target: float) -> list[Column]:
    """Return the columns of the closing table, a cell for each arm."""
    return [
        Column(
            column.title.format(target=f"{target:g}"),
            [written(column.style, arm.measured[column.key]) for arm in arms],
            rank=column.rank,
            align="left" if column.style in ("score", "norm") else "right",
            above=column.above,
        )
        for column in COLUMNS
        if column.title and not (column.needs_target and math.isnan(target))
    ]


def partly_reached(summary: ComparisonSummary) -> list[str]:
    """Say with how many seeds an arm reached the target, if with some of them only.

    The table cannot tell them apart: its median is `never` as soon as most seeds did not.
    """
    sentences = []
    for arm in summary.ranking:
        trials = [
            one.measured["steps_to_target"]
            for one in summary.trials
            if (one.arm, one.stage) == (arm.name, "measuring")
            and one.status in ("finished", "diverged")
        ]
        steps = [one for one in trials if not math.isnan(one)]
        reached = [one for one in steps if math.isfinite(one)]
        if 0 < len(reached) < len(steps):
            median = numbers.count(math.ceil(statistics.median(reached)), "step")
            of_those = " (the median of those)" if len(reached) > 1 else ""
            sentences.append(
                f"{arm.name} reached {summary.info.target_score:g} with {len(reached)} of "
                f"{numbers.count(len(steps), 'seed')}, in {median}{of_those}."
            )
    return sentences


def reported_phrases(trial: TrialResult) -> list[str]:
    """Return what a plain line says of a trial's columns."""
    return [
        f"{column.phrase} {written(column.style, trial.measured[column.key])}"
        for column in COLUMNS
        if column.phrase and not (column.needs_target and math.isnan(trial.measured[column.key]))
    ]
