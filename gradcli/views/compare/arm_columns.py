"""The columns that the closing tables of a comparison share: places, names, and the choice made."""

from __future__ import annotations

from collections.abc import Sequence

from gradcli.comparison.results import RankedArm
from gradcli.comparison.verdicts import Selection
from gradcli.notation import numbers
from gradcli.records import Metric
from gradcli.views.table import STRONG, Column


def arm_names(arms: Sequence[RankedArm]) -> list[Column]:
    """Return the places and the names of arms."""
    return [
        Column("", [places(arm.places) for arm in arms], align="right"),
        Column("optimizer", [arm.name for arm in arms], styles=STRONG),
    ]


def places(found: tuple[int, int] | None) -> str:
    """Write an arm's place, or those that the verdicts leave open: `1-2`."""
    if found is None:
        return numbers.ABSENT
    best, worst = found
    return f"{best}" if best == worst else f"{best}-{worst}"


def selection_columns(arms: Sequence[RankedArm], metric: Metric) -> list[Column]:
    """Return the score that chose each arm's settings, and what fresh seeds made of it."""
    selected = [arm.selection for arm in arms]
    return [
        Column(
            "when chosen",
            [numbers.score(one.selected_score) if one else numbers.ABSENT for one in selected],
            rank=2,
            above=f"val {metric.name}",
        ),
        Column(
            "fresh seeds",
            [numbers.score(one.fresh.mean) if one else numbers.ABSENT for one in selected],
            rank=2,
            above=f"val {metric.name}",
        ),
        Column(
            "change",
            [_change(one) if one else numbers.ABSENT for one in selected],
            rank=1,
            align="right",
        ),
    ]


def _change(selection: Selection) -> str:
    """Write the fresh mean minus the selected score; `-` without fresh seeds."""
    return numbers.score_change(selection.fresh.mean - selection.selected_score)
