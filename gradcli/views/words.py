"""Text on its way to a screen: rich's `Text`, and lines for a stream, with nothing invisible in it.

No other module takes `Text` from rich or writes to a stream, so no text goes another way.
"""

from __future__ import annotations

from typing import Any, Self, TextIO, cast

import rich.text
from rich.style import Style

from gradcli.notation.visible import LAYOUT, visible


class Text(rich.text.Text):
    """Rich's text, with control characters made visible. Rich itself drops some of them."""

    def __init__(self, text: str = "", style: str | Style = "", **layout: Any) -> None:
        super().__init__(visible(text, LAYOUT), style, **layout)

    @classmethod
    def assemble(
        cls, *parts: str | rich.text.Text | tuple[str, str | Style], **layout: Any
    ) -> Self:
        """Join texts, each with a style of its own if it comes with one."""
        return cast("Self", super().assemble(*parts, **layout))

    def append(self, text: rich.text.Text | str, style: str | Style | None = None) -> Self:
        """Add text at the end."""
        super().append(visible(text, LAYOUT) if isinstance(text, str) else text, style)
        return self


def write_line(stream: TextIO, text: str) -> None:
    """Write a line at once, so that a log can be followed; one that breaks stays several."""
    stream.write(visible(text, LAYOUT) + "\n")
    stream.flush()
