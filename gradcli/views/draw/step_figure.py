"""The picture of one step: the examples that made its gradient, and the norms of all of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradcli.inspection.one_step.step_inspection import StepExample, StepInspection
from gradcli.notation import numbers
from gradcli.notation.panels import BLUE, GREY, VERMILION, log_scale
from gradcli.views.draw.saving import save_figure
from gradcli.views.inspect.step_sentences import KIND_WORDS, verdict_sentence
from gradcli.views.table import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 5
_LONGEST_TEXT = 56


def plot_step(path: Path, inspection: StepInspection) -> Path:
    """Draw a step into `path` as a PNG file, and return the path.

    Above, the first examples of the ranking; below, the gradient norms of all, the largest first.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = inspection.shown
    has_pictures = shown[0].picture is not None
    rows = -(-len(shown) // _COLUMNS) if has_pictures else 1
    above = 2.6 * rows if has_pictures else 0.6 + 0.42 * len(shown)
    # Without room between rows the word below an image touches the numbers above the next.
    layout = ConstrainedLayoutEngine(hspace=0.06)
    figure = Figure(figsize=(10, above + 3.1), layout=layout)
    figure.suptitle(
        f"Step {numbers.count(inspection.step)} of {inspection.run}\n"
        f"{verdict_sentence(inspection)}",
        fontsize="medium",
    )
    parts = figure.add_gridspec(2, 1, height_ratios=[above, 2.3])
    if has_pictures:
        grid = parts[0].subgridspec(rows, _COLUMNS)
        for at, example in enumerate(shown):
            _draw_image(figure.add_subplot(grid[at // _COLUMNS, at % _COLUMNS]), example)
    else:
        _draw_bars(figure.add_subplot(parts[0]), inspection)
    _draw_norms(figure.add_subplot(parts[1]), inspection)
    save_figure(figure, path)
    return path


def _draw_image(axes: Axes, example: StepExample) -> None:
    assert example.picture is not None
    image = example.picture
    if image.shape[2] == 1:
        axes.imshow(image[:, :, 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        axes.imshow(image, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    is_odd = example.suspicion.is_bad
    for spine in axes.spines.values():
        spine.set(color=VERMILION if is_odd else GREY, linewidth=2.0 if is_odd else 0.8)
    axes.set_title("\n".join(_lines(example)), fontsize="small")
    if example.suspicion.kind != "not-sure":
        color = VERMILION if is_odd else "black"
        axes.set_xlabel(KIND_WORDS[example.suspicion.kind], fontsize="small", color=color)


def _lines(example: StepExample) -> list[str]:
    """Return what is said of an example: its number, its label, and its numbers."""
    number = _number(example)
    probability = "" if math.isnan(example.probability) else f" ({example.probability:.2f})"
    if not example.label:
        told = ""
    elif not example.prediction:
        told = f"label {shorten(example.label, 12)}"
    else:
        told = (
            f"label {shorten(example.label, 12)}, predicted "
            f"{shorten(example.prediction, 12)}{probability}"
        )
    norms = f"loss {_number_of(example.loss)}, norm {_number_of(example.grad_norm)}"
    return [number, *([told] if told else []), norms]


def _number(example: StepExample) -> str:
    if example.index is None:
        return f"#{example.place} of the batch"
    if example.file:
        return f"example {numbers.count(example.index)}, {Path(example.file).name}"
    of_file = "" if example.row is None else f", row {numbers.count(example.row)}"
    return f"example {numbers.count(example.index)}{of_file}"


def _number_of(value: float) -> str:
    return numbers.norm(value) if math.isfinite(value) else f"{value}"


def _draw_bars(axes: Axes, inspection: StepInspection) -> None:
    """Draw the gradient norms of the first examples as bars, with what the examples are."""
    shown = inspection.shown
    norms = [one.grad_norm if math.isfinite(one.grad_norm) else 0.0 for one in shown]
    is_odd = [one.suspicion.is_bad for one in shown]
    axes.barh(range(len(shown)), norms, color=[VERMILION if odd else BLUE for odd in is_odd])
    axes.set_yticks(range(len(shown)), [_number(one) for one in shown], fontsize="small")
    axes.invert_yaxis()
    right = max(norms) or 1.0
    for row, one in enumerate(shown):
        kind = f"{KIND_WORDS[one.suspicion.kind]}; " if is_odd[row] else ""
        content = " ".join(one.content.split())
        words = [*_lines(one)[1:], content]
        said = shorten(f"{kind}{'; '.join(filter(None, words))}", 2 * _LONGEST_TEXT)
        is_long = norms[row] > right / 2
        axes.text(
            right * 0.01 if is_long else norms[row] + right * 0.01,
            row,
            shorten(said, 2 * _LONGEST_TEXT - 12) if is_long else shorten(said, _LONGEST_TEXT),
            va="center",
            fontsize="x-small",
            color="white" if is_long else "black",
        )
    axes.set_xlabel("gradient norm of the example", fontsize="small")


def _draw_norms(axes: Axes, inspection: StepInspection) -> None:
    """Draw the gradient norms of all examples, the largest first; the shown ones stand out."""
    norms = np.array([one.grad_norm for one in inspection.examples])
    ranks = np.arange(1, len(norms) + 1)
    shown = len(inspection.shown)
    finite = np.where(np.isfinite(norms), norms, np.nan)
    axes.plot(ranks[shown:], finite[shown:], ".", color=GREY, label="the others")
    axes.plot(ranks[:shown], finite[:shown], "o", color=BLUE, label="shown above")
    odd = [one.suspicion.is_bad for one in inspection.shown]
    if any(odd):
        axes.plot(ranks[:shown][odd], finite[:shown][odd], "o", color=VERMILION, label="may be bad")
    axes.set_xlim(0, len(norms) + 1)
    log_scale(axes, finite[np.isfinite(finite)])
    axes.set_xlabel(f"the {numbers.count(len(norms), 'example')} of the batch, by gradient norm")
    axes.set_ylabel("gradient norm")
    axes.legend(frameon=False, fontsize="small")
