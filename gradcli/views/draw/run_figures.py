"""The pictures of a finished run: loss, score, and every layer's gradient norm over time.

Drawn with matplotlib's object-oriented interface: no window, no global state. Runs of any
length are reduced to a few hundred bins that keep their extremes, so that the spike of a single
step is visible and a NaN is marked. Matplotlib is slow to import, and is imported on use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradcli.notation import numbers
from gradcli.notation.panels import (
    BLUE,
    GREY,
    ORANGE,
    VERMILION,
    finite_or_gap,
    legend_above,
    log_scale,
    plain_numbers,
    whole_steps,
)
from gradcli.records import (
    Doubles,
    EvalRecord,
    Floats,
    Integers,
    LayerInfo,
    RunInfo,
    StepRecords,
    norm_by_layer,
)
from gradcli.views.draw.saving import png_of, save_figure
from gradcli.views.heading import describe_data, with_rates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.patches import Patch


MOST_BINS = 600
"""About one bin per two pixels of a plot's width."""
MOST_LAYER_NAMES = 64
WIDTH_INCHES = 9.0


@dataclass(frozen=True, slots=True)
class Bins:
    """Consecutive rows in groups of nearly equal length; one row per bin if there are few."""

    edges: Integers
    """The first row of each bin, and the number of rows."""
    middles: Floats
    """The step in the middle of each bin."""

    @classmethod
    def of(cls, step: Integers, most: int = MOST_BINS) -> Bins:
        """Divide a run into at most `most` bins."""
        count = min(len(step), most)
        edges = np.linspace(0, len(step), count + 1).astype(np.int64)
        first, last = step[edges[:-1]], step[edges[1:] - 1]
        return cls(edges, (first.astype(np.float64) + last) / 2)

    def slices(self) -> list[slice]:
        """Return the rows of each bin."""
        pairs = zip(self.edges[:-1], self.edges[1:], strict=True)
        return [slice(int(start), int(stop)) for start, stop in pairs]


def largest_by_bin(values: Floats, bins: Bins) -> Doubles:
    """Return each bin's largest value: NaN if the bin holds a NaN, else inf if it holds one."""
    return np.maximum.reduceat(values, bins.edges[:-1]).astype(np.float64)


def mean_by_bin(values: Floats, bins: Bins) -> Doubles:
    """Return each bin's mean, which is not finite if one of its values is not."""
    with np.errstate(invalid="ignore"):
        sums: Doubles = np.add.reduceat(values, bins.edges[:-1], dtype=np.float64)
    return sums / np.diff(bins.edges)


def layer_norms_by_bin(steps: StepRecords, info: RunInfo, bins: Bins) -> Doubles:
    """Return the layers' largest norms before clipping (bins, layers).

    Bin by bin, because all norms of a long run may not fit into memory as float64.
    """
    return np.stack(
        [
            norm_by_layer(steps.parameter_grad_norm_before_clip[rows], info.layers).max(axis=0)
            for rows in bins.slices()
        ]
    )


def plot_run(
    folder: Path, info: RunInfo, steps: StepRecords, evaluations: Sequence[EvalRecord]
) -> list[Path]:
    """Draw a run into `folder` as PNG files and return their paths.

    Args:
        folder: an existing folder.
        info: of the run.
        steps: the whole run; its arrays may be memory-mapped. Without steps, `loss.png` and
            `gradient_norms.png` are left out.
        evaluations: of the run, oldest first. Without any, `accuracy.png` or `score.png` is left
            out.
    """
    pictures: dict[str, Figure] = {}
    if len(steps):
        bins = Bins.of(steps.step)
        pictures["loss.png"] = _loss_figure(info, steps, bins, evaluations)
        pictures["gradient_norms.png"] = _norms_figure(info, steps, bins)
    if evaluations:
        name = "accuracy.png" if info.metric.is_accuracy else "score.png"
        pictures[name] = _score_figure(info, evaluations)
    for name, figure in pictures.items():
        save_figure(figure, folder / name)
    return [folder / name for name in pictures]


def norms_picture(info: RunInfo, steps: StepRecords) -> bytes:
    """Draw `gradient_norms.png` of a run with steps; return the content of the file."""
    return png_of(_norms_figure(info, steps, Bins.of(steps.step)))


def _loss_figure(
    info: RunInfo, steps: StepRecords, bins: Bins, evaluations: Sequence[EvalRecord]
) -> Figure:
    figure = blank_figure(4.5)
    axes = figure.add_subplot()
    mean, high = mean_by_bin(steps.loss, bins), largest_by_bin(steps.loss, bins)
    low = np.minimum.reduceat(steps.loss, bins.edges[:-1]).astype(np.float64)
    if len(steps) > len(mean):
        axes.fill_between(
            bins.middles,
            finite_or_gap(low),
            finite_or_gap(high),
            color=BLUE,
            alpha=0.25,
            linewidth=0,
            label="smallest to largest batch",
        )
    _line(axes, bins.middles, mean, BLUE, "training batches, mean")
    validation = [record for record in evaluations if record.split == "val"]
    if validation:
        axes.plot(
            [record.step for record in validation],
            [record.loss for record in validation],
            "o-",
            color=ORANGE,
            label="validation",
        )
    log_scale(axes, low)
    _mark_not_finite(axes, bins.middles, ~np.isfinite(mean))
    axes.set_ylabel("cross-entropy loss (nats)" if info.loss == "cross_entropy" else "loss")
    _finish(axes)
    figure.suptitle(f"Loss: {_subject(info)}", fontsize="medium")
    return figure


def _score_figure(info: RunInfo, evaluations: Sequence[EvalRecord]) -> Figure:
    figure = blank_figure(4.5)
    axes = figure.add_subplot()
    for split, label, style, color, size in (
        ("val", "validation", "o-", BLUE, 6),
        ("test", "test", "D", VERMILION, 9),  # hollow and larger, so as not to hide the other
    ):
        records = [record for record in evaluations if record.split == split]
        if records:
            axes.plot(
                [record.step for record in records],
                [record.score for record in records],
                style,
                color=color,
                markersize=size,
                fillstyle="none" if split == "test" else "full",
                label=f"{label}, last {numbers.score(records[-1].score)}",
            )
    name = info.metric.name
    axes.set_ylabel("accuracy (fraction correct)" if info.metric.is_accuracy else name)
    plain_numbers(axes)
    _finish(axes)
    first, last = evaluations[0].step, evaluations[-1].step
    margin = max(0.05 * (last - first), 0.5)
    axes.set_xlim(first - margin, last + margin)
    title = "Accuracy" if info.metric.is_accuracy else name
    figure.suptitle(f"{title}: {_subject(info)}", fontsize="medium")
    return figure


def _norms_figure(info: RunInfo, steps: StepRecords, bins: Bins) -> Figure:
    """Draw the layers' norms as a heat map, with the norm over all layers below it."""
    rows = min(len(info.layers), MOST_LAYER_NAMES)
    map_height = max(2.6, 1.2 + 0.22 * rows)
    figure = blank_figure(map_height + 2.6)
    above, below = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [map_height, 2.2]}
    )
    _heat_map(figure, above, info, steps, bins)

    before = largest_by_bin(steps.grad_norm_before_clip, bins)
    # If the norm is infinite, the coefficient is 0 and their product is NaN.
    with np.errstate(invalid="ignore"):
        after = largest_by_bin(steps.grad_norm_before_clip * steps.clip_coefficient, bins)
    _line(below, bins.middles, before, BLUE, "before clipping")
    _line(below, bins.middles, after, ORANGE, "after clipping", dashed=True)
    log_scale(below, before)
    _mark_not_finite(below, bins.middles, ~np.isfinite(before))
    below.set_ylabel("gradient norm\nover all layers")
    _finish(below)
    return figure


def _heat_map(figure: Figure, axes: Axes, info: RunInfo, steps: StepRecords, bins: Bins) -> None:
    norms = layer_norms_by_bin(steps, info, bins)
    image, handles = draw_norms(axes, norms, steps.step, info.layers, decade_limits(norms))
    _mark_not_finite(axes, bins.middles, ~np.isfinite(norms.max(axis=1)))
    if handles:
        legend_above(axes, handles)
    axes.set_ylabel("layer (input at the top)")
    colorbar = figure.colorbar(image, ax=axes, pad=0.02)
    colorbar.set_label("log10 of the gradient norm\nbefore clipping")
    what = "each step" if len(steps) == len(bins.middles) else "largest in each bin of steps"
    figure.suptitle(f"Gradient norms, {what}: {_subject(info)}", fontsize="medium")


def decade_limits(norms: Doubles) -> tuple[float, float]:
    """Return the range of the logarithms of those norms that have one, at least one decade."""
    known = np.log10(norms[np.isfinite(norms) & (norms > 0)])
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if high - low < 1:  # so that noise on a constant does not fill the scale
        low, high = (low + high - 1) / 2, (low + high + 1) / 2
    return low, high


def draw_norms(
    axes: Axes,
    norms: Doubles,
    step: Integers,
    layers: Sequence[LayerInfo],
    scale: tuple[float, float],
    most_names: int = MOST_LAYER_NAMES,
) -> tuple[AxesImage, list[Patch]]:
    """Draw layers' norms as a heat map; return it, and legend handles for what has no logarithm.

    Args:
        axes: to draw on.
        norms: (bins, layers).
        step: the run's steps; the first and the last are the ends of the picture.
        layers: of the norms.
        scale: the logarithms at the ends of the colour scale, as `decade_limits` returns them.
        most_names: of more layers, each second is named, or each third...
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    picture = norms.T
    zero, not_finite = picture == 0, ~np.isfinite(picture)
    logarithms = np.log10(np.where(zero | not_finite, np.nan, picture))
    count = len(layers)
    extent = (float(step[0]) - 0.5, float(step[-1]) + 0.5, count - 0.5, -0.5)
    imshow = partial(axes.imshow, extent=extent, aspect="auto", interpolation="nearest")
    image = imshow(logarithms, cmap="viridis", vmin=scale[0], vmax=scale[1])
    handles = []
    for where, color, meaning in (
        (zero, GREY, "zero"),
        (not_finite, VERMILION, "NaN or infinite"),
    ):
        if where.any():
            imshow(np.where(where, 0.0, np.nan), cmap=ListedColormap([color]))
            handles.append(Patch(color=color, label=meaning))
    named = range(0, count, -(-count // most_names))
    axes.set_yticks(named, [layers[layer].name or layers[layer].kind for layer in named])
    axes.tick_params(axis="y", labelsize="small")
    return image, handles


def blank_figure(height_inches: float) -> Figure:
    """Return an empty figure of the usual width that belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _line(
    axes: Axes, middles: Floats, values: Doubles, color: str, label: str, *, dashed: bool = False
) -> None:
    """Draw the finite values, with points if there are few: a single one makes no line."""
    marker = "o" if len(values) <= 30 else ""
    axes.plot(
        middles,
        finite_or_gap(values),
        "--" if dashed else "-",
        color=color,
        label=label,
        linewidth=1.5,
        marker=marker,
        markersize=3,
    )


def _mark_not_finite(axes: Axes, middles: Floats, where: NDArray[np.bool_]) -> None:
    """Put a cross on the upper edge for each bin that holds a NaN or an infinity."""
    if where.any():
        axes.plot(
            middles[where],
            np.ones(int(where.sum())),
            "x",
            color=VERMILION,
            markersize=4,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label="NaN or infinite",
        )


def _finish(axes: Axes) -> None:
    axes.set_xlabel("training step")
    whole_steps(axes)
    axes.grid(alpha=0.3)
    legend_above(axes)


def _subject(info: RunInfo) -> str:
    """Return what was trained: every title names it."""
    optimizer = with_rates(info.optimizer, info.learning_rates)
    return f"{info.model}, {optimizer}, {describe_data(info.data)}"
