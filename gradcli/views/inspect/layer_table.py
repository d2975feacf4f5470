"""The table of an inspection's layers, with the profile of their gradients along the depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from gradcli.inspection.inspection import Inspection, LayerReport
from gradcli.records import Finding, Floats
from gradcli.views import numbers
from gradcli.views.findings import SEVERITY_STYLES, by_severity
from gradcli.views.inspect.heat_map import power_of_ten
from gradcli.views.sparkline import ZERO
from gradcli.views.table import (
    STRONG,
    TITLE,
    Column,
    Line,
    fitting,
    piece,
    shorten,
    table,
    total_width,
)
from gradcli.views.train.training_screen import PICTURE, evenly_between

MOST_LAYERS = 24
LONGEST_PROFILE = 40
LONGEST_NAME = 26
WEIGHTS, INPUT, BOTH = "●", "○", "◉"
MEDIANS = "first and last 10%: medians over those steps; update ratio: over measured steps"
_PROFILE = "gradient by depth"
SHORTEST_PROFILE = len(_PROFILE)


def log10_norms(norms: Iterable[float]) -> Floats:
    """Return log10 of norms: -inf for zeros, NaN for what is absent."""
    with np.errstate(divide="ignore"):
        return np.log10(np.array(list(norms), dtype=np.float64))


def chosen_layers(inspection: Inspection, room: int) -> list[int]:
    """Choose the layers to show: the ends, those that findings name, and some between."""
    layers = inspection.layers
    named = {finding.layer for finding in inspection.findings}
    ends = [0, len(layers) - 1] if layers else []
    flagged = [index for index, layer in enumerate(layers) if layer.name in named]
    chosen = list(dict.fromkeys(ends))[:room]
    for group in (flagged, range(len(layers))):
        others = [index for index in group if index not in chosen]
        chosen += evenly_between(others, room - len(chosen))
    return sorted(chosen)


def layer_lines(inspection: Inspection, width: int | None, *, ascii_only: bool) -> list[Line]:
    """Lay out the table of layers.

    Args:
        inspection: at most `MOST_LAYERS` of its layers are shown.
        width: columns that do not fit drop out; None keeps them all.
        ascii_only: leave out what needs symbols beyond ASCII: the profile and the shapes.
    """
    shown = chosen_layers(inspection, MOST_LAYERS)
    layers = [inspection.layers[index] for index in shown]
    profile = Column("", [" " * SHORTEST_PROFILE] * len(layers), 1, styles=PICTURE)
    columns = [
        *_names(layers, shapes=not ascii_only),
        *_gradients(layers, trained=inspection.history is not None),
        *([] if ascii_only else [profile]),
        *_measures(layers, trained=inspection.history is not None),
        _found(inspection.findings, layers),
    ]
    kept = [
        column for column in columns if column.rank == 0 or set(column.cells) - {numbers.ABSENT, ""}
    ]
    kept = kept if width is None else fitting(kept, width)
    room = total_width(kept) if width is None else width
    drawn = profile in kept
    if drawn:
        size = min(SHORTEST_PROFILE + room - total_width(kept), LONGEST_PROFILE)
        axis, cells = depth_profile(layers, size)
        kept[kept.index(profile)] = replace(profile, title=axis, cells=cells, above=_PROFILE)
    lines = table(kept, room)
    if len(shown) < len(inspection.layers):
        hidden = numbers.count(len(inspection.layers) - len(shown), "layer")
        lines.append([piece(f"and {hidden} between them", TITLE)])
    if drawn:
        legend = f"{WEIGHTS} w.r.t. the layer's weights, {INPUT} w.r.t. its input"
        lines.append([piece(legend, TITLE)])
    if inspection.history is not None:
        lines.append([piece(MEDIANS, TITLE)])
    return lines


def _names(layers: Sequence[LayerReport], *, shapes: bool) -> list[Column]:
    names = [shorten(layer.name, LONGEST_NAME) for layer in layers]
    columns = [
        Column("layer", names, styles=STRONG),
        Column("kind", [layer.kind for layer in layers], 14, styles=TITLE),
    ]
    if shapes:
        sizes = [numbers.shape(layer.shape) for layer in layers]
        columns.append(Column("shape", sizes, 13, styles=TITLE))
    return columns


def _gradients(layers: Sequence[LayerReport], *, trained: bool) -> list[Column]:
    """Return the columns of gradient norms; of a run at both ends, and after clipping."""
    by_weights = [numbers.known_norm(layer.weight_grad_norm) for layer in layers]
    by_input = [numbers.known_norm(layer.input_grad_norm) for layer in layers]
    if not trained:
        return [
            Column("weights", by_weights, 0, "right", above="grad w.r.t."),
            Column("input", by_input, 6, "right", above="grad w.r.t."),
        ]
    first = [numbers.known_norm(layer.before_clip.first) for layer in layers]
    after = [numbers.known_norm(layer.after_clip.last) for layer in layers]
    return [
        Column("first 10%", first, 5, "right", above="grad norm"),
        Column("last 10%", by_weights, 0, "right", above="before clip"),
        Column("last 10%", after, 8, "right", above="after clip"),
        Column("input", by_input, 6, "right", above="grad w.r.t."),
    ]


def _measures(layers: Sequence[LayerReport], *, trained: bool) -> list[Column]:
    """Return the other columns; the update ratio of a fresh model is that of its first step."""
    update = "median" if trained else "1st step"

    def column(
        above: str,
        title: str,
        write: Callable[[float], str],
        value: Callable[[LayerReport], float],
        rank: int,
    ) -> Column:
        cells = [write(value(layer)) for layer in layers]
        return Column(title, cells, rank, "right", above=above)

    return [
        column("units", "dead", numbers.share, lambda layer: layer.dead_fraction, 2),
        column("", "saturated", numbers.share, lambda layer: layer.saturated_fraction, 3),
        column("update ratio", update, numbers.known_norm, lambda layer: layer.update_ratio, 4),
        column("steps", "clipped", numbers.share, lambda layer: layer.clipped_fraction, 7),
        column("weight", "rms", numbers.known_norm, lambda layer: layer.weight_rms, 9),
        column("log10", "per run", decades, lambda layer: layer.before_clip.slope, 10),
        column(
            "std over", "LeCun's", numbers.known_norm, lambda layer: layer.weight_std_over_lecun, 11
        ),
        column("activation", "rms", numbers.known_norm, _activation_rms, 12),
    ]


def _found(findings: Iterable[Finding], layers: Sequence[LayerReport]) -> Column:
    """Name what was found in each layer."""
    graded = by_severity(findings)
    own = [[one for one in graded if one.layer == layer.name] for layer in layers]
    return Column(
        "found",
        [", ".join(dict.fromkeys(one.code for one in found)) for found in own],
        2,
        styles=[SEVERITY_STYLES[found[0].severity] if found else "" for found in own],
    )


def _activation_rms(layer: LayerReport) -> float:
    return math.nan if layer.activation is None else layer.activation.rms


def depth_profile(layers: Sequence[LayerReport], width: int) -> tuple[str, list[str]]:
    """Draw the layers' gradients on one logarithmic axis from left to right, one line per layer.

    Returns:
        The ends of the axis, and the lines, each `width` wide. Zeros are at the left edge.
    """
    weights = log10_norms(layer.weight_grad_norm for layer in layers)
    inputs = log10_norms(layer.input_grad_norm for layer in layers)
    known = np.concatenate([weights, inputs])
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    low = min(low, high - 1)  # a decade at least, so that noise on a constant stays small
    left, right = power_of_ten(low), power_of_ten(high)
    ends = left + right.rjust(width - len(left))

    def place(value: float) -> int:
        return 0 if value == -math.inf else round((value - low) / (high - low) * (width - 1))

    lines = []
    for weight, input_ in zip(weights.tolist(), inputs.tolist(), strict=True):
        cells = [" "] * width
        if not math.isnan(input_) and input_ < math.inf:
            cells[place(input_)] = ZERO if input_ == -math.inf else INPUT
        if not math.isnan(weight) and weight < math.inf:
            here = place(weight)
            symbol = BOTH if cells[here] == INPUT else WEIGHTS
            cells[here] = ZERO if weight == -math.inf else symbol
        lines.append("".join(cells))
    return ends, lines


def decades(value: float) -> str:
    """Write a change in powers of ten with its sign: `+0.51`."""
    return numbers.ABSENT if math.isnan(value) else f"{value:+.2f}"
