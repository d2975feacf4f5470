"""The columns of `comparison.columns` as text: in a table and in a plain line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradcli.comparison.columns import COLUMNS, NumberStyle
from gradcli.comparison.results import RankedArm, TrialResult
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


def reported_phrases(trial: TrialResult) -> list[str]:
    """Return what a plain line says of a trial's columns."""
    return [
        f"{column.phrase} {written(column.style, trial.measured[column.key])}"
        for column in COLUMNS
        if column.phrase and not (column.needs_target and math.isnan(trial.measured[column.key]))
    ]
