"""Layers by time as an SVG heat map, with the numbers beside it for whoever points at a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradcli.records import Doubles, Integers
from gradcli.views.draw.run_figures import decade_limits
from gradcli.views.report.chart import figure, plain
from gradcli.views.report.html import Html, element, embedded_json, html

MOST_CELLS = 9_000
"""Of one map: about 100 kB of picture and numbers."""
_CLASSES = 24
"""The colours of the scale."""
_ZERO, _NOT_FINITE = "zero", "bad"
_DIGITS = 4


@dataclass(frozen=True)
class LayerMap:
    """One number of every layer in bins of steps.

    Args:
        name: unique on its page.
        label: what the number is.
        first_step: of each bin, (t,).
        last_step: of each bin, (t,).
        values: (t, L); zero, NaN and infinity have colours of their own.
    """

    name: str
    label: str
    first_step: Integers
    last_step: Integers
    values: Doubles


def most_bins(layers: int) -> int:
    """Return how many bins of steps a map of so many layers may have."""
    return max(40, min(240, MOST_CELLS // max(layers, 1)))


def layer_maps(
    maps: Sequence[LayerMap],
    layers: Sequence[str],
    caption: str,
    found: Mapping[str, str],
    scale: tuple[float, float] | None = None,
) -> Html:
    """Return maps of the same layers as one figure; of several, the reader chooses one.

    Args:
        maps: at least one.
        layers: their names, input first.
        caption: of the figure.
        found: what was found in layers, by their names: they are marked with it.
        scale: the logarithms at the ends of the colours; None takes those of all maps.
    """
    name = maps[0].name
    low, high = scale or decade_limits(np.concatenate([one.values.ravel() for one in maps]))
    choice = None
    if len(maps) > 1:
        choice = element(
            "fieldset",
            element("legend", "Show"),
            [_radio(name, one, checked=place == 0) for place, one in enumerate(maps)],
            class_="choice",
        )
    height = _row_height(len(layers))
    every = -(-14 // height)  # names are 14 pixels high
    labels = element(
        "ol",
        [
            _layer_label(layer, found.get(layer), shown=place % every == 0 or layer in found)
            for place, layer in enumerate(layers)
        ],
        class_="layers",
        style=f"--row:{height}px",
    )
    pictures = [
        _picture(one, len(layers), (low, high), height, hidden=place > 0)
        for place, one in enumerate(maps)
    ]
    numbers = [
        embedded_json(
            {
                "first": one.first_step.tolist(),
                "last": one.last_step.tolist(),
                "layers": list(layers),
                "label": one.label,
                "values": [plain(row, _DIGITS) for row in one.values.T],
            },
            data_map=one.name,
        )
        for one in maps
    ]
    grid = element("div", labels, element("div", pictures, class_="maps"), class_="layer-map")
    readout = element("output", class_="readout", aria_live="polite", data_readout=name)
    return figure(name, caption, choice, grid, readout, _legend(maps, low, high), numbers)


def colours() -> list[str]:
    """Return the colours of the scale, dark to light: Matplotlib's viridis, as CSS."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    scale = colormaps["viridis"]
    return [to_hex(scale(place / (_CLASSES - 1))) for place in range(_CLASSES)]


def _row_height(layers: int) -> int:
    """Return the height of a layer in pixels: less if there are many."""
    return max(4, min(22, 640 // max(layers, 1)))


def _layer_label(layer: str, found: str | None, *, shown: bool) -> Html:
    if found is None:
        return element("li", layer if shown else "\N{NO-BREAK SPACE}", title=layer)
    told = f"{layer}: {found}"
    return element("li", "\N{BLACK RIGHT-POINTING TRIANGLE} ", layer, class_="found", title=told)


def _radio(group: str, one: LayerMap, *, checked: bool) -> Html:
    box = element("input", type="radio", name=f"{group}-choice", value=one.name, checked=checked)
    return element("label", box, " ", one.label)


def _picture(
    one: LayerMap, layers: int, scale: tuple[float, float], height: int, *, hidden: bool
) -> Html:
    """Draw a map: for each colour one path of all its cells, joined along the steps."""
    classes = _classes(one.values, scale)
    paths = [
        element("path", d=_cells(classes == number), class_=f"c{number}")
        for number in np.unique(classes[classes >= 0]).tolist()
    ]
    paths += [
        element("path", d=_cells(classes == number), class_=name)
        for number, name in ((-1, _ZERO), (-2, _NOT_FINITE))
        if (classes == number).any()
    ]
    return element(
        "svg",
        paths,
        viewBox=f"0 0 {len(one.values)} {layers}",
        preserveAspectRatio="none",
        height=height * layers,
        tabindex="0",
        role="img",
        aria_label=f"{one.label}, layers by steps. Arrow keys move from cell to cell.",
        data_map_of=one.name,
        hidden=hidden,
    )


def _classes(values: Doubles, scale: tuple[float, float]) -> NDArray[np.intp]:
    """Return the colour of each cell, (t, L): -1 is zero and -2 what is not finite."""
    low, high = scale
    with np.errstate(divide="ignore", invalid="ignore"):
        place = (np.log10(values) - low) / max(high - low, 1e-12) * _CLASSES
    usable = np.isfinite(place)
    classes = np.full(values.shape, -2, dtype=np.intp)
    classes[usable] = np.clip(place[usable], 0, _CLASSES - 1).astype(np.intp)
    classes[values == 0] = -1
    return classes


def _cells(where: NDArray[np.bool_]) -> str:
    """Return the outline of cells (t, L): consecutive ones of a layer are one rectangle."""
    parts = []
    for layer, row in enumerate(where.T):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8)))
        for start, stop in edges.reshape(-1, 2).tolist():
            parts.append(f"M{start} {layer}h{stop - start}v1h{start - stop}z")
    return "".join(parts)


def _legend(maps: Sequence[LayerMap], low: float, high: float) -> Html:
    values = np.concatenate([one.values.ravel() for one in maps])
    marks = [
        element("span", element("i", class_=f"swatch {name}"), f" {meaning}")
        for name, meaning, is_there in (
            (_ZERO, "exactly zero", bool((values == 0).any())),
            (_NOT_FINITE, "NaN or infinite", not np.isfinite(values).all()),
        )
        if is_there
    ]
    ramp = element(
        "span",
        f"{10**low:.1e} ",
        element("i", class_="ramp"),
        f" {10**high:.1e}",
        class_="scale",
    )
    return element("p", ramp, html(*marks), class_="legend")
