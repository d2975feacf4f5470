"""Pictures are an extra: a result is stored and shown whether or not they can be drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gradcli.errors import exception_in_words


def attempt(draw: Callable[[], list[Path]], warn: Callable[[str], object]) -> list[Path]:
    """Draw pictures and return their paths; if that fails, warn and return none.

    Args:
        draw: draws them. Its folder may be read-only, the disk full, matplotlib's installation
            broken, or the user's own probe wrong.
        warn: receives what failed, as a sentence.
    """
    try:
        return draw()
    except Exception as error:  # whatever it is, the result is complete without pictures
        warn(f"The pictures could not be drawn. {exception_in_words(error)}")
        return []
