"""The report of one run."""

from __future__ import annotations

import math

from gradcli.notation import numbers
from gradcli.records import TrainSummary
from gradcli.views.heading import describe, describe_fault
from gradcli.views.report.chart import chart_figure
from gradcli.views.report.contents import RunContents
from gradcli.views.report.html import Html, html
from gradcli.views.report.layer_map import layer_maps
from gradcli.views.report.page import page
from gradcli.views.report.parts import (
    column_table,
    facts,
    findings_list,
    found_in_layers,
    key_numbers,
    making_section,
    paragraphs,
    section,
)
from gradcli.views.report.run_charts import (
    loss_chart,
    norm_chart,
    norm_maps,
    score_chart,
    update_chart,
)
from gradcli.views.report.strips import time_bar
from gradcli.views.train.run_closing import layer_columns, without_findings


def run_page(run: RunContents) -> str:
    """Return the report of a run as one HTML document."""
    summary = run.summary
    return page(
        summary.info.name or summary.info.run,
        f"{run.making.began}. {', '.join(describe(summary.info))}",
        summary.status,
        html(
            section("result", "Result", _result(summary)),
            section("findings", "Findings", findings(run)),
            section("training", "Loss and score", _curves(run)),
            section("gradients", "Gradients", _gradients(run)),
            section("layers", "Layers", _layers(summary)),
            section("time", "Where the time went", _time(summary)),
            making_section(run.making),
        ),
    )


def findings(run: RunContents) -> Html:
    """Return the findings of a run, and what was not tested."""
    untested = run.inspection.not_tested
    return html(
        findings_list(run.summary.findings, f"{without_findings(run.summary).capitalize()}."),
        facts({f"not tested: {code}": what for code, what in untested.items()}),
    )


def key_facts(summary: TrainSummary) -> list[tuple[str, str]]:
    """Return the numbers that a run is judged by."""
    name = summary.info.metric.name
    pairs = [
        (f"test {name}", numbers.score(summary.test_score)),
        (f"validation {name}", numbers.score(summary.val_score)),
        ("train loss", numbers.score(summary.train_loss)),
        ("steps", numbers.count(summary.steps)),
        ("steps clipped", numbers.share(summary.clipped_fraction)),
        ("time", numbers.duration(summary.seconds_total)),
    ]
    for one in summary.further:
        pairs.append((f"test {one.metric.name}", numbers.score(one.test)))
    return [(key, value) for key, value in pairs if value != numbers.ABSENT]


def _result(summary: TrainSummary) -> Html:
    fault = [describe_fault(summary.fault)] if summary.fault is not None else []
    notes = [*filter(None, [summary.info.data.note]), *summary.notes]
    labels = {"tags": " ".join(summary.tags), "note": summary.note}
    return html(
        paragraphs(fault, "failure"),
        paragraphs(notes, "caution"),
        key_numbers(key_facts(summary)),
        facts({name: text for name, text in labels.items() if text}),
    )


def _curves(run: RunContents) -> Html:
    loss = chart_figure(loss_chart(run)) if len(run.steps) else html()
    return html(loss, chart_figure(score_chart(run)) if run.evals else html())


def _gradients(run: RunContents) -> Html:
    """Return what became of the gradients; of a run without steps there is nothing to show."""
    if not len(run.steps):
        return html()
    summary = run.summary
    layers = summary.info.layers
    maps = norm_maps("layer-norms", run.steps, layers, after=summary.clipped_fraction > 0)
    caption = (
        "Gradient norm of each layer over the steps, input at the top, the largest in each bin. "
        "Point at a cell for its value; a marked layer has a finding."
    )
    updates = chart_figure(update_chart(run)) if run.layer_records else html()
    return html(
        chart_figure(norm_chart(run)),
        layer_maps(
            maps,
            [layer.name or layer.kind for layer in layers],
            caption,
            found_in_layers(summary.findings),
        ),
        updates,
    )


def _layers(summary: TrainSummary) -> Html:
    if not summary.layers:
        return html()
    columns = layer_columns(summary, list(range(len(summary.layers))))
    return column_table(columns, "Gradient norms by layer over the run", sortable=True)


def _time(summary: TrainSummary) -> Html:
    said = {
        "in total": summary.seconds_total,
        "in training steps": summary.seconds_train,
        "until the first step was done": summary.seconds_first_step,
    }
    known = {name: numbers.duration(one) for name, one in said.items() if not math.isnan(one)}
    speed = summary.steps_per_second
    if not math.isnan(speed):
        known["steps per second"] = numbers.norm(speed)
    bar = time_bar(summary.phases) if any(summary.phases.values()) else html()
    return html(bar, facts(known))
