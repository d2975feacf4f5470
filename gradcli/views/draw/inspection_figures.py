"""The pictures of an inspection: norms over time and along the depth, and those of the probes.

Each probe draws its own result. Matplotlib is imported on use.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradcli.inspection.inspection import (
    Event,
    Inspection,
    LayerReport,
    NormHistory,
    SideBySide,
)
from gradcli.notation.panels import (
    BLUE,
    GREY,
    ORANGE,
    VERMILION,
    color_and_marker,
    finite_or_gap,
    legend_above,
    log_scale,
)
from gradcli.probes.registry import known_probes, reading_of
from gradcli.records import Doubles, Floats, LayerInfo, ProbeRecord
from gradcli.views.draw.run_figures import (
    MOST_LAYER_NAMES,
    blank_figure,
    decade_limits,
    draw_norms,
)
from gradcli.views.draw.saving import save_figure
from gradcli.views.inspect.probe_history import recorded_probes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gradcli.probes.measuring.slope import LogSlope

PROBE_HEIGHT = 4.2
LEGEND_LINE = 0.2
"""Inches."""
MOST_DEPTH_NAMES = 12
EVENT_STYLES = {"spike": (ORANGE, ":"), "non-finite": (VERMILION, "-"), "lr-change": (GREY, "--")}


def plot_inspection(folder: Path, inspection: Inspection | SideBySide) -> list[Path]:
    """Draw an inspection into `folder` as PNG files and return their paths.

    Args:
        folder: an existing folder.
        inspection: what is not known is not drawn. Of several side by side only the
            profiles along the depth are drawn, in one picture.
    """
    if isinstance(inspection, SideBySide):
        pictures = {"depth_profile.png": _depth_figure(inspection.inspections, inspection.target)}
    else:
        pictures = _pictures(inspection)
    for name, figure in pictures.items():
        save_figure(figure, folder / name)
    return [folder / name for name in pictures]


def _pictures(inspection: Inspection) -> dict[str, Figure]:
    pictures: dict[str, Figure] = {}
    if inspection.history is not None:
        pictures["gradient_map.png"] = _map_figure(inspection, inspection.history)
    if inspection.layers:
        pictures["depth_profile.png"] = _depth_figure([inspection], inspection.target)
    if any(layer.output_grad is not None for layer in inspection.layers):
        pictures["signals.png"] = _signal_figure(inspection)
    for probe in known_probes():
        found = inspection.probes.of(probe)
        if found is not None and probe.draw is not None:
            figure = blank_figure(PROBE_HEIGHT)
            probe.draw(figure, found)
            title = (
                f"{figure.get_suptitle() or probe.name}: {_name(inspection.target, [inspection])}"
            )
            figure.suptitle(title, fontsize="medium")
            pictures[f"{probe.name.replace('-', '_')}.png"] = figure
    if any(math.isfinite(record.value) for record in inspection.probe_history):
        pictures["probe_history.png"] = _probe_history_figure(inspection)
    return pictures


# Over time -----------------------------------------------------------------------------------


def _map_figure(inspection: Inspection, history: NormHistory) -> Figure:
    """Draw the layers' norms over time, and below them that of all layers and the loss."""
    rows = min(len(inspection.layers), MOST_LAYER_NAMES)
    map_height = max(2.4, 1.0 + 0.22 * rows)
    figure = blank_figure(map_height + 4.0)
    above, norm, loss = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [map_height, 1.7, 1.7]}
    )
    norms = _float64(10.0**history.log10_norm.T)
    ends = np.array([history.first_step[0], history.last_step[-1]])
    layers = [_info(layer) for layer in inspection.layers]
    image, handles = draw_norms(above, norms, ends, layers, decade_limits(norms))
    if handles:
        legend_above(above, handles)
    above.set_ylabel("layer (input at the top)")
    colorbar = figure.colorbar(image, ax=above, pad=0.02)
    colorbar.set_label("log10 of the gradient norm\nbefore clipping")

    middles = (history.first_step + history.last_step) / 2
    total, losses = _float64(10.0**history.log10_total_norm), _float64(history.loss)
    norm.plot(middles, finite_or_gap(total), color=BLUE, marker=_marker(middles), markersize=3)
    log_scale(norm, total)
    norm.set_ylabel("gradient norm\nover all layers")
    loss.plot(middles, finite_or_gap(losses), color=BLUE, marker=_marker(middles), markersize=3)
    log_scale(loss, losses)
    loss.set_ylabel("loss (nats)")
    loss.set_xlabel("training step")
    for axes in (norm, loss):
        axes.grid(alpha=0.3)
    _mark_events(norm, loss, inspection.events)
    figure.suptitle(
        f"Gradient norms over time: {_name(inspection.target, [inspection])}", fontsize="medium"
    )
    return figure


def _mark_events(norm: Axes, loss: Axes, events: Iterable[Event]) -> None:
    """Draw a line for each event, in the dashes of its kind, with a legend of the kinds."""
    seen = set()
    for event in events:
        color, dashes = EVENT_STYLES[event.kind]
        label = None if event.kind in seen else event.kind
        seen.add(event.kind)
        for axes in (norm, loss):
            axes.axvline(event.step, color=color, linestyle=dashes, linewidth=1, label=label)
    if seen:
        legend_above(norm, on_the_right=True)


def _name(target: str, inspections: Sequence[Inspection]) -> str:
    """Name the model in a title, and what was inspected; models that `--vary` compares are many.

    A run is named without the folder that it is in, which may be too long for a title.
    """
    if all(one.kind != "fresh" for one in inspections):
        target = Path(*shlex.split(target)).name  # targets are quoted, for commands
    models = {one.model for one in inspections if one.model}
    if len(models) != 1:
        return target
    (model,) = models
    return f"{model} ({target})" if target else model


def _float64(values: Floats) -> Doubles:
    return values.astype(np.float64)


def _marker(points: Floats) -> str:
    """Return a marker if the points are so few that they may not form a line."""
    return "o" if len(points) <= 30 else ""


def _info(layer: LayerReport) -> LayerInfo:
    return LayerInfo(layer.name, layer.kind, layer.depth, ())


# Along the depth -----------------------------------------------------------------------------


def _depth_figure(inspections: Sequence[Inspection], target: str) -> Figure:
    """Draw the gradients w.r.t. weights and inputs along the depth, one line per inspection.

    The panel of the inputs is left out if no inspection knows their gradients, as for trials, which
    measure none.
    """
    figure = blank_figure(4.6 + LEGEND_LINE * len(inspections))
    weights = [
        ([layer.weight_grad_norm for layer in one.layers], _slope_label(one, one.depth_slope))
        for one in inspections
    ]
    inputs = [
        ([layer.input_grad_norm for layer in one.layers], _slope_label(one, one.input_depth_slope))
        for one in inspections
    ]
    panels = {"w.r.t. the layer's weights": weights, "w.r.t. the layer's input": inputs}
    if not any(np.isfinite(norms).any() for norms, _ in inputs):
        del panels["w.r.t. the layer's input"]
    columns = figure.subplots(1, len(panels), sharex=True, squeeze=False)[0]
    for axes, profiles in zip(columns, panels.values(), strict=True):
        _profiles(axes, profiles)
    columns[0].set_ylabel("norm of the gradient of the loss")
    _finish_depth(dict(zip(columns, panels, strict=True)), inspections)
    figure.suptitle(f"Gradients along the depth: {_name(target, inspections)}", fontsize="medium")
    return figure


def _signal_figure(inspection: Inspection) -> Figure:
    """Draw the size of what goes forward through the layers, and of what comes back."""
    figure = blank_figure(4.6 + 2 * LEGEND_LINE)
    forward, backward = figure.subplots(1, 2, sharex=True)
    layers = inspection.layers
    outputs = [layer.output.std if layer.output else math.nan for layer in layers]
    activations = [layer.activation.rms if layer.activation else math.nan for layer in layers]
    gradients = [layer.output_grad.rms if layer.output_grad else math.nan for layer in layers]
    _profiles(
        forward,
        [
            (outputs, "before the activation (standard deviation)"),
            (activations, "after it (root mean square)"),
        ],
    )
    _profiles(backward, [(gradients, "w.r.t. the layer's output (root mean square)")])
    forward.set_ylabel("size of an element")
    titles = {forward: "what goes forward", backward: "the gradient that comes back"}
    _finish_depth(titles, [inspection])
    figure.suptitle(
        f"Signals along the depth: {_name(inspection.target, [inspection])}", fontsize="medium"
    )
    return figure


def _slope_label(inspection: Inspection, slope: LogSlope) -> str:
    known = not math.isnan(slope.decades)
    words = f"log10 slope {slope.decades:.2f} per layer" if known else "slope unknown"
    return f"{inspection.label}: {words}" if inspection.label else words


def _profiles(axes: Axes, profiles: Sequence[tuple[Sequence[float], str]]) -> None:
    """Draw sizes along the depth, each with its label.

    Zeros, which have no logarithm, are on the lower edge. What is not known or not finite is left
    out.
    """
    shown: list[float] = []
    for index, (sizes, label) in enumerate(profiles):
        color, marker = color_and_marker(index)
        values = np.array(sizes, dtype=np.float64)
        positive, zero = np.isfinite(values) & (values > 0), np.flatnonzero(values == 0)
        if positive.any():
            known = np.where(positive, values, np.nan)
            axes.plot(known, color=color, marker=marker, markersize=4, label=label)
            shown.extend(values[positive])
        if len(zero):
            axes.plot(
                zero,
                np.zeros(len(zero)),
                "x",
                color=color,
                transform=axes.get_xaxis_transform(),
                clip_on=False,
                label=f"{label}: exactly zero",
            )
    log_scale(axes, np.array(shown))
    if not axes.lines:
        axes.text(0.5, 0.5, "unknown", transform=axes.transAxes, ha="center")
        axes.set_yticks([])


def _finish_depth(titles: Mapping[Axes, str], inspections: Sequence[Inspection]) -> None:
    """Give each panel its title, and name the layers; number them if models differ in theirs."""
    names = {tuple(layer.name for layer in one.layers) for one in inspections}
    deepest = max(map(len, names))
    shown = _ticks(deepest)
    for axes, title in titles.items():
        axes.grid(alpha=0.3)
        axes.set_xlabel("layer, from input to output")
        if axes.lines:
            legend_above(axes, columns=1, title=title)
        else:
            axes.set_title(title, fontsize="small", loc="left")
        if len(names) == 1:
            (only,) = names
            axes.set_xticks(shown, [only[place] for place in shown], rotation=45, ha="right")
        else:
            axes.set_xticks(shown, [str(place + 1) for place in shown])


def _ticks(deepest: int) -> range:
    """Return the evenly spaced places whose names are shown: as many as do not overlap."""
    apart = math.ceil(deepest / MOST_DEPTH_NAMES)
    return range((deepest - 1) % apart, deepest, apart)  # the last, the output, is one of them


# Probes over a run ---------------------------------------------------------------------------


def _probe_history_figure(inspection: Inspection) -> Figure:
    """Draw what each of a run's own probes found over its steps, a panel for each."""
    known = [one for one in inspection.probe_history if not math.isnan(one.value)]
    kept = recorded_probes(known)
    columns = min(2, len(kept))
    rows = math.ceil(len(kept) / columns)
    figure = blank_figure(0.8 + 2.4 * rows)
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).flatten()
    for axes, name in zip(panels, kept, strict=False):
        _probe_panel(axes, [one for one in known if one.probe == name], inspection.batch_size)
        axes.set_title(reading_of(name).meaning, fontsize="medium", loc="left")
        axes.set_xlabel("training step")
        axes.tick_params(labelbottom=True)
        axes.grid(alpha=0.3)
    for axes in panels[len(kept) :]:
        axes.set_axis_off()
    figure.suptitle(
        f"Probes during the run: {_name(inspection.target, [inspection])}", fontsize="medium"
    )
    return figure


def _probe_panel(axes: Axes, records: Sequence[ProbeRecord], batch_size: int) -> None:
    """Draw a probe's values with their ranges, which may be open upwards, and their limit."""
    reading = reading_of(records[0].probe)
    # Records without a limit may be in another unit, as a sharpness without its threshold is.
    with_limit = [one for one in records if not math.isnan(reading.limit(one, batch_size))]
    records = with_limit or records
    columns = [
        (one.step, one.value, one.low, one.high, reading.limit(one, batch_size)) for one in records
    ]
    steps, values, lows, highs, limits = np.array(columns, dtype=np.float64).T
    axes.plot(steps, finite_or_gap(values), color=BLUE, marker="o", markersize=4)
    if reading.logarithmic:
        log_scale(axes, np.concatenate([values, limits]))
    if np.isfinite(limits).any():
        # A constant limit goes through the whole panel, however few the steps are.
        constant = np.ptp(limits) == 0
        (line,) = [axes.axhline(limits[0])] if constant else axes.plot(steps, limits)
        line.set(linestyle="--", color=VERMILION, label=reading.limit_name)
    ranges = np.isfinite(lows) & ~np.isnan(highs)
    if ranges.any():
        known = np.concatenate([values, lows[ranges], highs[ranges]])
        axes.vlines(steps[ranges], lows[ranges], _closed(highs[ranges], known), color=BLUE)
    if axes.get_legend_handles_labels()[0]:
        legend_above(axes, on_the_right=True)  # the panel's title is on the left


def _closed(highs: Doubles, known: Doubles) -> Doubles:
    """Return upper ends for a picture: an infinite one is drawn at twice the largest value."""
    return np.where(np.isinf(highs), 2 * known[np.isfinite(known)].max(), highs)
