"""The tables of a search: what was tried with each arm, and what it gives at several budgets."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gradcli.comparison.live import GridCell
from gradcli.comparison.results import ComparisonSummary, RankedArm
from gradcli.comparison.search import Range
from gradcli.comparison.verdicts import BudgetResult, KeySensitivity
from gradcli.notation import numbers
from gradcli.views.compare.arm_columns import arm_names, places, selection_columns
from gradcli.views.compare.rate_strip import best_so_far, heat_strips, short_validation
from gradcli.views.compare.verdict_sentences import interval
from gradcli.views.table import STRONG, Column
from gradcli.views.train.training_screen import PICTURE


def search_tables(summary: ComparisonSummary, ascii_only: bool) -> Iterator[list[Column]]:
    """Yield the tables of a search: its keys, its course, and the result at each budget."""
    yield _keys(summary)
    yield _course(summary, ascii_only)
    if all(len(arm.by_budget) > 1 for arm in summary.ranking):
        yield _budgets(summary)


def written_value(value: float) -> str:
    """Write the value of a searched key with the digits that it has."""
    return numbers.ABSENT if math.isnan(value) else f"{value:.6g}"


def _keys(summary: ComparisonSummary) -> list[Column]:
    """Lay out a row for each arm and key."""
    ranges = {arm.name: arm.ranges for arm in summary.info.arms}
    rows = [(arm, one) for arm in summary.ranking for one in ranges[arm.name]]
    first = [one is ranges[arm.name][0] for arm, one in rows]
    found = [_sensitivity(arm, one) for arm, one in rows]
    names = [arm.name if new else "" for (arm, _), new in zip(rows, first, strict=True)]
    return [
        Column("optimizer", names, styles=STRONG),
        Column("key", [one.key for _, one in rows], above="searched"),
        Column("range", [_range(one) for _, one in rows], rank=2),
        Column("chosen", [_chosen(arm, one) for arm, one in rows]),
        Column("nearly as good", [_good(one) for one in found], rank=3),
        Column("decides", [_share(one) for one in found], rank=1, align="right"),
    ]


def _course(summary: ComparisonSummary, ascii_only: bool) -> list[Column]:
    """Lay out how each arm's best score rose with the settings tried, and what it was worth."""
    arms, metric = summary.ranking, summary.info.metric
    cells = [_cells(summary, arm) for arm in arms]
    strips = heat_strips([best_so_far(one, metric) for one in cells], metric)
    columns = [
        *arm_names(arms),
        Column("tried", [f"{len(one)}" for one in cells], above="settings", align="right"),
        Column("best so far", strips.texts, rank=3, styles=PICTURE, above=short_validation(metric)),
        *selection_columns(arms, metric),
    ]
    return [one for one in columns if not (ascii_only and one.styles == PICTURE)]


def _budgets(summary: ComparisonSummary) -> list[Column]:
    """Lay out a row for each budget and arm: rows side by side would lose their intervals first."""
    budgets = summary.info.search.budgets if summary.info.search else ()
    places_of_rows = [(place, arm) for place in range(len(budgets)) for arm in summary.ranking]
    found = [arm.by_budget[place] for place, arm in places_of_rows]
    is_first = [arm is summary.ranking[0] for _, arm in places_of_rows]
    return [
        Column(
            "tried",
            [f"{one.settings}" if new else "" for one, new in zip(found, is_first, strict=True)],
            above="settings",
            align="right",
        ),
        Column("", [places(one.places) for one in found], align="right"),
        Column("optimizer", [arm.name for _, arm in places_of_rows], styles=STRONG),
        Column(
            "mean",
            [numbers.score(one.test_score.mean) for one in found],
            above=f"test {summary.info.metric.name}",
        ),
        Column(
            "95% interval",
            [interval(one.test_score.ci95) for one in found],
            rank=1,
            above="over seeds",
        ),
        Column("chosen then", [_written(one) for one in found], rank=2),
    ]


def _written(result: BudgetResult) -> str:
    pairs = (f"{key} {written_value(value)}" for key, value in result.setting)
    return ", ".join(pairs) or numbers.ABSENT


def _cells(summary: ComparisonSummary, arm: RankedArm) -> list[GridCell]:
    return [
        GridCell(one.learning_rate, one.status, one.val_score, one.setting)
        for one in summary.tuning
        if one.arm == arm.name
    ]


def _sensitivity(arm: RankedArm, searched: Range) -> KeySensitivity | None:
    keys = arm.search_sensitivity.keys if arm.search_sensitivity else ()
    return next((one for one in keys if one.key == searched.key), None)


def _range(searched: Range) -> str:
    spread = {"log": "log", "linear": "even", "log_from_one": "log of 1 - value"}[searched.scale]
    return f"{searched.low:g} to {searched.high:g} ({spread})"


def _chosen(arm: RankedArm, searched: Range) -> str:
    value = dict(arm.setting).get(searched.key, math.nan)
    return f"{written_value(value)}{' (end)' if searched.key in arm.setting_at_edge else ''}"


def _good(found: KeySensitivity | None) -> str:
    """Write the values among the settings that are nearly as good as the best."""
    if found is None or math.isnan(found.best):
        return numbers.ABSENT
    low, high = found.good
    if low == high:
        return written_value(low)
    return f"{written_value(low)} to {written_value(high)}"


def _share(found: KeySensitivity | None) -> str:
    if found is None or math.isnan(found.share):
        return numbers.ABSENT
    return numbers.share(max(found.share, 0.0))
