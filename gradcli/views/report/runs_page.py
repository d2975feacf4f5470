"""The report of several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gradcli.notation import numbers
from gradcli.views.draw.run_figures import decade_limits
from gradcli.views.report.chart import Chart, Series, chart_figure
from gradcli.views.report.contents import RunContents
from gradcli.views.report.html import Html, element, html
from gradcli.views.report.layer_map import layer_maps
from gradcli.views.report.page import page
from gradcli.views.report.parts import command, data_table, found_in_layers, section
from gradcli.views.report.run_charts import loss_chart, norm_chart, norm_maps, score_chart
from gradcli.views.report.run_page import findings, key_facts

_MOST_MAPS = 8


def runs_page(runs: Sequence[RunContents]) -> str:
    """Return the report of several runs as one HTML document.

    Args:
        runs: at least two, in the order in which they are shown.
    """
    names = _names(runs)
    return page(
        f"{len(runs)} runs side by side",
        ", ".join(names),
        "",
        html(
            section("results", "Results", _results(runs, names)),
            section("settings", "What differs", _settings(runs, names)),
            section("curves", "Curves", _curves(runs, names)),
            section("gradients", "Gradients", _gradients(runs, names)),
            section(
                "findings",
                "Findings",
                [
                    html(element("h3", name), findings(run))
                    for name, run in zip(names, runs, strict=True)
                ],
            ),
            section(
                "reproduce",
                "Make them again",
                [
                    command(text, f"{name}: {what}")
                    for name, run in zip(names, runs, strict=True)
                    for text, what in run.making.commands[:1]
                ],
            ),
        ),
    )


def _names(runs: Sequence[RunContents]) -> list[str]:
    """Return what to call the runs: their names, if no two have the same."""
    given = [run.summary.info.name for run in runs]
    are_unique = all(given) and len(set(given)) == len(given)
    return given if are_unique else [run.summary.info.run for run in runs]


def _results(runs: Sequence[RunContents], names: Sequence[str]) -> Html:
    found = [dict(key_facts(run.summary)) for run in runs]
    keys = list(dict.fromkeys(key for one in found for key in one))
    codes = [", ".join(dict.fromkeys(one.code for one in run.summary.findings)) for run in runs]
    rows = [
        [name, run.summary.status, *(one.get(key, numbers.ABSENT) for key in keys), said]
        for name, run, one, said in zip(names, runs, found, codes, strict=True)
    ]
    return data_table(["run", "status", *keys, "findings"], rows, "The runs", sortable=True)


def _settings(runs: Sequence[RunContents], names: Sequence[str]) -> Html:
    """Return the settings that are not the same in all runs; those without any are not compared."""
    known = [(name, run.settings) for name, run in zip(names, runs, strict=True) if run.settings]
    if len(known) < 2:
        return html()
    keys = sorted({key for _, settings in known for key in settings} - {"name"})
    differing = [key for key in keys if len({str(settings.get(key)) for _, settings in known}) > 1]
    if not differing:
        return element("p", "All settings are the same.")
    rows = [
        [key, *(str(settings.get(key, numbers.ABSENT)) for _, settings in known)]
        for key in differing
    ]
    return data_table(["setting", *(name for name, _ in known)], rows, "Settings that differ")


def _curves(runs: Sequence[RunContents], names: Sequence[str]) -> Html:
    trained = [(name, run) for name, run in zip(names, runs, strict=True) if len(run.steps)]
    losses = [loss_chart(run) for _, run in trained]
    norms = [norm_chart(run) for _, run in trained]
    scores = [score_chart(run) for _, run in trained]
    labels = [name for name, _ in trained]
    metrics = {run.summary.info.metric.name for _, run in trained}
    charts = [
        _together("loss", "Training loss of each run.", "loss", losses, labels, "log"),
        _together(
            "norm",
            "Gradient norm over all layers before clipping, the largest in each bin of steps.",
            "gradient norm",
            norms,
            labels,
            "log",
        ),
    ]
    if len(metrics) == 1:  # scores by different metrics have no common axis
        (metric,) = metrics
        of_validation = [
            replace(one, series=[two for two in one.series if two.label == "validation"])
            for one in scores
        ]
        charts.append(
            _together("score", f"Validation {metric}.", metric, of_validation, labels, "linear")
        )
    return html(*map(chart_figure, charts))


def _together(
    name: str,
    caption: str,
    y_label: str,
    charts: Sequence[Chart],
    labels: Sequence[str],
    y_scale: str,
) -> Chart:
    """Return one chart of the first series of each; each run keeps its look on the page."""
    series: list[Series] = [
        replace(chart.series[0], label=label, look=look)
        for look, (chart, label) in enumerate(zip(charts, labels, strict=True))
        if chart.series
    ]
    is_log = y_scale == "log"
    return Chart(name, caption, "step", y_label, series, y_scale="log" if is_log else "linear")


def _gradients(runs: Sequence[RunContents], names: Sequence[str]) -> Html:
    """Return the layers' norms of each run, all with the same colours."""
    trained = [(name, run) for name, run in zip(names, runs, strict=True) if len(run.steps)]
    shown = trained[:_MOST_MAPS]
    maps = [
        norm_maps(f"layers-{place}", run.steps, run.summary.info.layers, after=False)
        for place, (_, run) in enumerate(shown)
    ]
    if not maps:
        return html()
    scale = decade_limits(np.concatenate([one.values.ravel() for pair in maps for one in pair]))
    return html(
        *(
            layer_maps(
                of_run,
                [layer.name or layer.kind for layer in run.summary.info.layers],
                f"{name}: gradient norm of each layer before clipping.",
                found_in_layers(run.summary.findings),
                scale,
            )
            for (name, run), of_run in zip(shown, maps, strict=True)
        )
    )
