"""The bundled text: seven chapters of Pride and Prejudice (Jane Austen 1813), free of rights."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gradcli.data.file_sources import TextFile
from gradcli.data.formats.text_tokens import Level

TEXT: Final = Path(__file__).parents[1] / "austen" / "pride-and-prejudice.txt"


class Austen(TextFile):
    """The bundled text, of which a model is to predict the next byte or character.

    Args:
        level: `byte` or `character`.
        length: the tokens of an example.
        stride: how many tokens lie between the beginnings of two examples; None is `length`.
        val_fraction: the part of the text that is for validation.
        test_fraction: the part that is for the test, its end.
    """

    def __init__(
        self,
        level: Level = "byte",
        length: int = 32,
        stride: int | None = 4,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
    ) -> None:
        super().__init__(str(TEXT), level, length, stride, val_fraction, test_fraction)
