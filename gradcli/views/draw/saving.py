r"""Figures as pictures. Names of others appear in them as they are.

Matplotlib takes a text with two dollars for a formula, and fails if it is not one: `$\bad$`.
"""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

DOTS_PER_INCH = 150
#: What matplotlib itself writes at the ticks of a logarithmic axis: the only formulas.
_TICK = re.compile(r"\$\\mathdefault\{(?:[-\d.^{}\s]|\\times)*\}\$")


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure with all its texts as they are, not as formulas."""
    if path.suffix.lower() == ".png":
        path.write_bytes(png_of(figure))
        return
    _without_formulas(figure)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def png_of(figure: Figure) -> bytes:
    """Return a figure as the content of a PNG file, with all its texts as they are."""
    _without_formulas(figure)
    pixels, file = BytesIO(), BytesIO()
    figure.savefig(pixels, format="png", dpi=DOTS_PER_INCH)
    _with_palette(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()


def _without_formulas(figure: Figure) -> None:
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if "$" in text.get_text() and not _TICK.fullmatch(text.get_text()):
            text.set_parse_math(False)


def _with_palette(pixels: BytesIO) -> Image.Image:
    """Return a picture with 256 colours, which takes a third of the room."""
    from PIL import Image

    with Image.open(pixels) as picture:
        return picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
