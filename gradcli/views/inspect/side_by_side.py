"""Several inspections side by side: variants of a model, or the arms of a comparison."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from gradcli.inspection.inspection import Inspection, LayerReport, SideBySide
from gradcli.notation import numbers
from gradcli.probes.probe import no_result
from gradcli.probes.registry import known_probes
from gradcli.views.findings import by_severity, finding_lines, verdict_style
from gradcli.views.heading import joined
from gradcli.views.inspect.heat_map import ASCII_GLYPHS, GLYPHS, Shades, columns_of, styled
from gradcli.views.inspect.inspection_sentences import describe_setting, verdict_in_words
from gradcli.views.inspect.layer_table import decades, log10_norms
from gradcli.views.inspect.probe_sentences import probe_label, probe_sentences
from gradcli.views.labelled import Labelled, whole_lines
from gradcli.views.table import (
    GAP,
    STRONG,
    TITLE,
    Column,
    Line,
    Lines,
    fit,
    fitting,
    piece,
    shorten,
    table,
    total_width,
)
from gradcli.views.words import Text

MOST_FINDINGS = 6
LONGEST_LABEL = 30
WIDEST_LAYER = 6
"""Characters per layer in the map of layers."""


def side_by_side_screen(inspections: SideBySide) -> RenderableType:
    """Draw the comparison of the inspections."""
    return _SideBySideScreen(inspections)


class _SideBySideScreen:
    def __init__(self, inspections: SideBySide) -> None:
        self._all = inspections

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        inspections = self._all.inspections
        yield from _headline(self._all, options.max_width)
        yield ""
        columns = _columns(inspections)
        width = options.max_width if options.is_terminal else total_width(columns)
        yield Lines(table(fitting(columns, width), width))
        yield ""
        yield from _depth_map(inspections, options)
        yield ""
        yield from _probes(inspections)
        yield from _diagnosis(inspections)
        yield from _failed_probes(inspections)
        yield from whole_lines("next", commands_after_side_by_side(self._all))


def _headline(inspections: SideBySide, width: int) -> Iterator[RenderableType]:
    noun = "variant" if inspections.kind == "variants" else "arm"
    counted = numbers.count(len(inspections.inspections), noun)
    yield Text.assemble((counted, "bold"), "  ", (inspections.target, STRONG))
    common = _in_common([describe_setting(one) for one in inspections.inspections])
    if common:
        yield Text(joined(common, ", ", width), TITLE)
    yield from map(Text, inspections.notes)


def _probes(inspections: Sequence[Inspection]) -> Iterator[RenderableType]:
    """Lay out what the probes that were asked for found, or why they have no result."""
    for one in inspections:
        results = {
            probe.name: probe_sentences(one)[probe.name]
            for probe in known_probes()
            if probe.name in one.probes.found
            and not probe.told_by_layer
            and not (probe.unasked and one.kind == "fresh")
        }
        reasons = one.probes.refused.items()
        refused = {name: why for name, why in reasons if name not in one.failed_probes()}
        if results or refused:
            yield Text(one.label, STRONG)
            yield from map(Text, one.notes)
        for name, (first, *others) in results.items():
            yield Labelled(probe_label(name), Text(first))
            yield from (Labelled("", Text(other)) for other in others)
        for name, why in refused.items():
            yield Labelled(probe_label(name), Text(no_result(why), "yellow"))
        if results or refused:
            yield ""


def _failed_probes(inspections: Sequence[Inspection]) -> Iterator[RenderableType]:
    """Say which probes failed, and why: the command's exit code follows from it."""
    for one in inspections:
        for name in sorted(one.failed_probes()):
            yield Text(f"{one.label}: {name} {one.probes.refused[name]}", "yellow")


def _in_common(settings: Sequence[Sequence[str]]) -> list[str]:
    """Return the phrases that all share."""
    first, *others = settings
    return [phrase for phrase in first if all(phrase in other for other in others)]


def _columns(inspections: Sequence[Inspection]) -> list[Column]:
    def column(
        above: str,
        title: str,
        write: Callable[[float], str],
        value: Callable[[Inspection], float],
        rank: int,
    ) -> Column:
        return Column(title, [write(value(one)) for one in inspections], rank, "right", above=above)

    ranked = [_by_gradient(one) for one in inspections]
    smallest = [one[0] if one else None for one in ranked]
    largest = [one[-1] if one else None for one in ranked]
    columns = [
        Column("", [shorten(one.label, LONGEST_LABEL) for one in inspections], styles=STRONG),
        Column(
            "verdict",
            [verdict_in_words(one) for one in inspections],
            styles=[verdict_style(one.verdict, one.findings) for one in inspections],
        ),
        column("log10", "per layer", decades, lambda one: one.depth_slope.decades, 1),
        _norm_column("smallest", smallest, 2),
        _layer_column("in", smallest, 5),
        _norm_column("largest", largest, 3),
        _layer_column("in", largest, 7),
        column("most", "dead", numbers.share, lambda one: _most(one, _dead), 4),
        column("most", "saturated", numbers.share, lambda one: _most(one, _saturated), 4),
        column("largest", "update", numbers.known_norm, lambda one: _most(one, _ratio), 6),
        column("", "loss", numbers.score, lambda one: one.loss, 8),
        column("steps", "clipped", numbers.share, lambda one: one.clipped_fraction, 9),
        column("fit", "R squared", _two_decimals, lambda one: one.depth_slope.r_squared, 10),
    ]
    return [column for column in columns if set(column.cells) - {numbers.ABSENT}]


def _two_decimals(value: float) -> str:
    return numbers.ABSENT if math.isnan(value) else f"{value:.2f}"


def _norm_column(above: str, layers: Sequence[LayerReport | None], rank: int) -> Column:
    cells = [numbers.known_norm(one.weight_grad_norm) if one else numbers.ABSENT for one in layers]
    return Column("gradient", cells, rank, "right", above=above)


def _layer_column(title: str, layers: Sequence[LayerReport | None], rank: int) -> Column:
    return Column(title, [one.name if one else numbers.ABSENT for one in layers], rank)


def _by_gradient(inspection: Inspection) -> list[LayerReport]:
    """Return the layers whose gradient is known, from the smallest to the largest."""
    known = [layer for layer in inspection.layers if not math.isnan(layer.weight_grad_norm)]
    return sorted(known, key=lambda layer: layer.weight_grad_norm)


def _most(inspection: Inspection, value: Callable[[LayerReport], float]) -> float:
    """Return the largest value over the layers; NaN if none has one."""
    return max(
        (value(layer) for layer in inspection.layers if not math.isnan(value(layer))),
        default=math.nan,
    )


def _dead(layer: LayerReport) -> float:
    return layer.dead_fraction


def _saturated(layer: LayerReport) -> float:
    return layer.saturated_fraction


def _ratio(layer: LayerReport) -> float:
    return layer.update_ratio


def _depth_map(
    inspections: Sequence[Inspection], options: ConsoleOptions
) -> Iterator[RenderableType]:
    """Draw the gradient w.r.t. each layer's weights, with the layers from input to output."""
    logarithms = [
        log10_norms(layer.weight_grad_norm for layer in one.layers) for one in inspections
    ]
    glyphs = ASCII_GLYPHS if options.ascii_only else GLYPHS
    shades = Shades.covering(np.concatenate(logarithms), glyphs)
    labels = [shorten(one.label, LONGEST_LABEL) for one in inspections]
    margin = max(map(len, labels)) + len(GAP)
    room = max(options.max_width - margin, 1)
    deepest = max(map(len, logarithms))
    width = min(room, deepest * WIDEST_LAYER)
    drawn = [
        shades.draw(columns_of(one[np.newaxis], width)[0]) if len(one) else "" for one in logarithms
    ]
    title = "gradient w.r.t. the weights, layers from input to output"
    lines: list[Line] = [[piece(title, TITLE)]]
    lines += [
        [piece(fit(label, margin), STRONG), *styled(cells)]
        for label, cells in zip(labels, drawn, strict=True)
    ]
    lines.append([piece(fit("norm", margin), TITLE), *shades.legend("".join(drawn))])
    yield Lines(lines)


def _diagnosis(inspections: Sequence[Inspection]) -> Iterator[RenderableType]:
    """Lay out the worst finding of each variant that is not healthy."""
    worst = [
        (one, finding)
        for one in inspections
        for finding in by_severity(one.findings)[:1]
        if finding.code != "healthy"
    ]
    for one, finding in worst[:MOST_FINDINGS]:
        yield Text(one.label, STRONG)
        yield from finding_lines(finding, "")
    if len(worst) > MOST_FINDINGS:
        yield Text(f"and {numbers.count(len(worst) - MOST_FINDINGS, 'more')}", TITLE)
    if worst:
        yield ""


def commands_after_side_by_side(inspections: SideBySide) -> list[str]:
    """Return what to type next.

    Get the weights of those without, inspect the first unhealthy one, train the first healthy one.
    """
    ill = [one for one in inspections.inspections if one.verdict != "healthy"]
    well = [one for one in inspections.inspections if one.verdict == "healthy"]
    commands = [shlex.split(command) for command in inspections.commands]
    commands += [
        ["gradcli", "inspect-gradients", *one.path_arguments, *shlex.split(one.target)]
        for one in ill[:1]
    ]
    commands += [
        ["gradcli", "train", *one.path_arguments, *shlex.split(one.target)]
        for one in well[:1]
        if one.kind == "fresh"
    ]
    return [shlex.join(command) for command in commands]
