r"""Figures as pictures. Names of others appear in them as they are.

Matplotlib takes a text with two dollars for a formula, and fails if it is not one: `$\bad$`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 150
#: What matplotlib itself writes at the ticks of a logarithmic axis: the only formulas.
_TICK = re.compile(r"\$\\mathdefault\{(?:[-\d.^{}\s]|\\times)*\}\$")


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure with all its texts as they are, not as formulas."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if "$" in text.get_text() and not _TICK.fullmatch(text.get_text()):
            text.set_parse_math(False)
    figure.savefig(path, dpi=DOTS_PER_INCH)
