"""The layers-by-time heat map of a run, in the room that a screen has for it."""

from __future__ import annotations

from collections.abc import Sequence

from gradcli.inspection.inspection import NormHistory
from gradcli.notation import numbers
from gradcli.views.inspect.heat_map import Shades, columns_of, styled
from gradcli.views.inspect.inspection_screen import step_axis
from gradcli.views.table import GAP, STRONG, TITLE, Line, crop, fit, piece, shorten
from gradcli.views.train.training_screen import visible_layers

LONGEST_NAME = 16
#: Lines beside those of the layers: the title, the axis, and what the shades mean.
OTHER_LINES = 3


def heat_lines(
    history: NormHistory, names: Sequence[str], width: int, height: int, title: str = ""
) -> list[Line]:
    """Draw every layer's gradient norm before clipping over the steps, the input at the top.

    Args:
        history: of the norms of L layers.
        names: of the layers, (L,).
        width: in cells; the map is as wide as there is room.
        height: in lines; if not all layers fit, the first, the last and evenly spaced ones between
            them are shown.
        title: above the map; empty says what it shows.
    """
    rows = visible_layers([None] * len(names), max(height - OTHER_LINES, 1))
    shown = [shorten(names[row], LONGEST_NAME) for row in rows]
    margin = max(map(len, (*shown, "step"))) + len(GAP)
    room = max(width - margin, 1)
    shades = Shades.covering(history.log10_norm)
    drawn = [shades.draw(row) for row in columns_of(history.log10_norm[rows], room)]
    hidden = len(names) - len(rows)
    said = title or "gradient norm before clipping, per layer and step"
    if hidden:
        said += f"; {numbers.count(hidden, 'layer')} not shown"
    lines: list[Line] = [[piece(said, TITLE)]]
    lines += [
        [piece(fit(name, margin), STRONG), *styled(cells)]
        for name, cells in zip(shown, drawn, strict=True)
    ]
    lines.append([piece(fit("step", margin) + step_axis(history, room), TITLE)])
    lines.append([piece(fit("norm", margin), TITLE), *shades.legend("".join(drawn))])
    return [crop(line, width) for line in lines]
