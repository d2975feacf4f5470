"""The report of a comparison: who won, by how much, how surely, and what the gradients did."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gradcli.comparison.columns import trials_table
from gradcli.comparison.results import ComparisonSummary, TrialRecords
from gradcli.notation import numbers
from gradcli.records import Doubles, Floats
from gradcli.views.compare.arm_phrases import describe_comparison, describe_failure, learning_rate
from gradcli.views.compare.comparison_closing import (
    cautions,
    effort,
    further_columns,
    ranking_columns,
)
from gradcli.views.compare.search_sentences import how_it_searched, what_budgets_say
from gradcli.views.compare.search_tables import search_tables
from gradcli.views.compare.target_table import soonest, target_columns, target_remarks
from gradcli.views.compare.verdict_sentences import (
    grounds,
    grouped_verdicts,
    halving_result,
    ranked_sets,
    verdict,
)
from gradcli.views.draw.comparison_figures import loss_curves, score_curves, trials_by_arm
from gradcli.views.draw.run_figures import Bins, decade_limits, largest_by_bin
from gradcli.views.report.chart import Chart, Series, chart_figure, figure
from gradcli.views.report.contents import ComparisonContents
from gradcli.views.report.html import Html, element, html
from gradcli.views.report.layer_map import layer_maps
from gradcli.views.report.page import page
from gradcli.views.report.parts import (
    column_table,
    data_table,
    key_numbers,
    making_section,
    paragraphs,
    section,
)
from gradcli.views.report.run_charts import norm_maps
from gradcli.views.report.strips import Spread, spread_strip

_MOST_PAIRS = 45
_MOST_MAPS = 8
_MOST_TRIALS = 2_000


def comparison_page(comparison: ComparisonContents) -> str:
    """Return the report of a comparison as one HTML document."""
    summary = comparison.summary
    measured = trials_by_arm(summary, comparison.trials)
    whole = {
        arm: finished
        for arm, trials in measured.items()
        if (finished := [one for one in trials if one.trial.status == "finished"])
    }
    return page(
        summary.info.name,
        f"{comparison.making.began}. {', '.join(describe_comparison(summary.info))}",
        summary.status,
        html(
            section("ranking", "Ranking", _ranking(summary)),
            section("verdicts", "What is more than luck", _verdicts(summary)),
            section("curves", "Curves", _curves(summary, whole)),
            section("tuning", "Sensitivity", _sensitivity(summary)),
            section("target", "Time to the target", _target(summary)),
            section("gradients", "Gradients by arm", _gradients(summary, measured)),
            section("trials", "Trials", _trials(summary)),
            making_section(comparison.making),
        ),
    )


def _ranking(summary: ComparisonSummary) -> Html:
    metric = summary.info.metric.name
    rows = [
        Spread(
            arm.name,
            arm.test_score.mean,
            arm.test_score.ci95,
            [
                one.test_score
                for one in summary.trials
                if one.arm == arm.name and one.stage == "measuring"
            ],
        )
        for arm in summary.ranking
    ]
    picture = spread_strip(rows, f"test {metric}")
    counts = {
        "arms": numbers.count(len(summary.ranking)),
        "trials": numbers.count(len(summary.trials)),
        "time": numbers.duration(summary.seconds),
    }
    best = summary.ranking[0]
    if not math.isnan(best.test_score.mean):
        counts = {f"best: {best.name}": numbers.score(best.test_score.mean), **counts}
    caption = (
        f"Test {metric} of each arm: the mean over seeds (diamond), its 95% interval (bar), and "
        "each seed (circle)."
    )
    further = [arm for arm in summary.ranking if arm.further]
    return html(
        paragraphs([*filter(None, [summary.info.data.note]), *summary.notes]),
        paragraphs(cautions(summary), "caution"),
        key_numbers(counts.items()),
        figure("ranking-strip", caption, picture) if picture else None,
        column_table(ranking_columns(summary), "The arms, the best first", sortable=True),
        column_table(further_columns(summary.ranking), "Further metrics") if further else None,
    )


def _verdicts(summary: ComparisonSummary) -> Html:
    """Return the groups that cannot be told apart, and what each verdict is based on."""
    sets = ranked_sets(summary.ranking)
    grouped = [f"{subject}: {said}." for subject, said in grouped_verdicts(summary.pairs)]
    pairs = [
        [verdict(one), grounds(one, summary.info.metric)] for one in summary.pairs[:_MOST_PAIRS]
    ]
    note = (
        "Tests at 95%, corrected for "
        f"{numbers.count(len(summary.pairs), 'pair')} (Holm). In brackets: the interval of "
        "the difference, and its p."
    )
    if not pairs:
        return element("p", "There is one arm: nothing to compare.")
    left_out = len(summary.pairs) - len(pairs)
    more = [f"{numbers.count(left_out, 'more pair')} not listed."] if left_out else []
    return html(
        paragraphs([sets] if sets else grouped),
        data_table(["verdict", "based on"], pairs, "Every pair of arms"),
        paragraphs([note, *more], "quiet"),
    )


def _curves(summary: ComparisonSummary, whole: dict[str, list[TrialRecords]]) -> Html:
    """Return loss and validation score over the steps: the mean of the seeds, and their range."""
    metric = summary.info.metric.name
    spread = "mean over seeds, between the smallest and the largest"
    losses, scores, norms = [], [], []
    for arm, trials in whole.items():
        look = _look(summary, arm)
        losses.append(_band(arm, look, *loss_curves(trials)))
        norms.append(_band(arm, look, *_norm_curves(trials)))
        step, values = score_curves(trials)
        if len(step):
            scores.append(_band(arm, look, step, values, points=True))
    charts = [
        Chart("loss", f"Training loss by arm, {spread}.", "step", "loss", losses, y_scale="log"),
        Chart("score", f"Validation {metric} by arm, {spread}.", "step", metric, scores),
        Chart(
            "norms",
            f"Gradient norm before clipping by arm, the largest in each bin of steps, {spread}.",
            "step",
            "gradient norm",
            norms,
            y_scale="log",
        ),
    ]
    return html(*(chart_figure(one) for one in charts if one.series))


def _band(arm: str, look: int, x: Floats, values: Doubles, *, points: bool = False) -> Series:
    """Return the mean of curves (trials, n), with the range of several."""
    several = len(values) > 1
    return Series(
        arm,
        np.asarray(x, dtype=np.float64),
        values.mean(axis=0),
        look=look,
        low=values.min(axis=0) if several else None,
        high=values.max(axis=0) if several else None,
        points=points,
    )


def _norm_curves(trials: Sequence[TrialRecords]) -> tuple[Doubles, Doubles]:
    bins = Bins.of(trials[0].steps.step, 120)
    norms = [largest_by_bin(one.steps.grad_norm_before_clip, bins) for one in trials]
    return np.asarray(bins.middles, dtype=np.float64), np.stack(norms)


def _look(summary: ComparisonSummary, arm: str) -> int:
    """Return the look of an arm: by its place in the comparison, in all charts the same."""
    return [one.name for one in summary.info.arms].index(arm)


def _sensitivity(summary: ComparisonSummary) -> Html:
    """Return what the tuning tried, and how much it matters."""
    if summary.info.search:
        tables = [
            column_table([one for one in columns if one.title != "by setting"], "What was searched")
            for columns in search_tables(summary, ascii_only=True)
        ]
        said = [*how_it_searched(summary.info), *what_budgets_say(summary.ranking)]
        return html(tables, paragraphs(said))
    if not summary.tuning:
        return html()
    metric = summary.info.metric.name
    series = []
    for arm in summary.info.arms:
        tried = [one for one in summary.tuning if one.arm == arm.name]
        x = np.array([one.learning_rate for one in tried], dtype=np.float64)
        values = np.array([one.val_score for one in tried], dtype=np.float64)
        if np.isfinite(values).any():
            look = _look(summary, arm.name)
            series.append(Series(arm.name, x, values, look=look, points=True))
    chart = Chart(
        "rates",
        f"Validation {metric} by learning rate: the mean over the tuning seeds. A rate at which a "
        "trial diverged has no point.",
        "learning rate",
        metric,
        series,
        x_scale="log",
        together="",
    )
    rows = [
        [
            one.arm,
            learning_rate(one.learning_rate),
            numbers.score(one.val_score),
            str(one.diverged),
            "chosen" if one.chosen else "",
        ]
        for one in summary.tuning
    ]
    titles = ["arm", "learning rate", f"validation {metric}", "diverged", ""]
    table = element(
        "details",
        element("summary", "All learning rates tried"),
        data_table(titles, rows, "Learning rates by arm", sortable=True),
    )
    halving = [halving_result(summary.halving)] if summary.halving is not None else []
    return html(chart_figure(chart) if series else None, table, paragraphs(halving, "quiet"))


def _target(summary: ComparisonSummary) -> Html:
    if summary.target is None:
        return html()
    by_arm: dict[str, list[float]] = {}
    for one in summary.trials:
        if one.stage == "measuring":
            by_arm.setdefault(one.arm, []).append(one.measured["steps_to_target"])
    rows = [
        Spread(arm.name, arm.median, arm.interval, by_arm.get(arm.name, []))
        for arm in summary.target.steps.arms
    ]
    score = f"{summary.info.target_score:g}"
    picture = spread_strip(rows, f"steps to {score}", is_log=True)
    caption = (
        f"Steps until the validation {summary.info.metric.name} reached {score}: the median over "
        "seeds (diamond), its interval (bar), and each seed that reached it (circle)."
    )
    return html(
        figure("target-strip", caption, picture) if picture else None,
        column_table(target_columns(summary, summary.target), "How soon, the soonest first"),
        paragraphs(soonest(summary.target.steps)),
        paragraphs(target_remarks(summary), "quiet"),
    )


def _gradients(summary: ComparisonSummary, measured: dict[str, list[TrialRecords]]) -> Html:
    """Return the layers' norms of one trial of each arm, all with the same colours."""
    shown = [trials[0] for trials in list(measured.values())[:_MOST_MAPS]]
    maps = [
        norm_maps(f"layers-{place}", one.steps, one.info.layers, after=False)
        for place, one in enumerate(shown)
    ]
    if not maps:
        return html()
    scale = decade_limits(np.concatenate([one.values.ravel() for pair in maps for one in pair]))
    figures = [
        layer_maps(
            of_arm,
            [layer.name or layer.kind for layer in one.info.layers],
            f"{one.trial.arm}, learning rate {learning_rate(one.trial.learning_rate)}, seed "
            f"{one.trial.seed}{', diverged' if one.trial.status == 'diverged' else ''}: gradient "
            "norm of each layer before clipping.",
            {},
            scale,
        )
        for one, of_arm in zip(shown, maps, strict=True)
    ]
    left_out = len(measured) - len(shown)
    more = [f"{numbers.count(left_out, 'more arm')} not shown."] if left_out else []
    return html(figures, paragraphs(more, "quiet"))


def _trials(summary: ComparisonSummary) -> Html:
    table = trials_table(summary)
    columns = [one for one in table.columns if one not in ("optimizer", "run", "error", "setting")]
    rows = [[_cell(row.get(name)) for name in columns] for row in table.rows]
    failures = [describe_failure(one) for one in summary.trials if one.status == "failed"]
    left_out = max(len(rows) - _MOST_TRIALS, 0)
    more = [f"{numbers.count(left_out, 'more trial')}: gradcli runs export."] if left_out else []
    return html(
        element("p", f"{effort(summary)}.", class_="quiet"),
        paragraphs(failures, "failure"),
        data_table(columns, rows[:_MOST_TRIALS], "Every trial that has ended", sortable=True),
        paragraphs(more, "quiet"),
    )


def _cell(value: object) -> str:
    if value is None:
        return numbers.ABSENT
    if isinstance(value, float):
        return numbers.ABSENT if math.isnan(value) else f"{value:.5g}"
    return str(value)
