"""The overrides that say where trials run: all that may change while a comparison exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from gradcli.errors import UserError
from gradcli.runs import ComparisonDirectory
from gradcli.runs.files import COMPARISON_FILE

#: The overrides of an engine that are used again from a file. A scheduler's shell could read more
#: into others, and an address leads to another machine.
_PLAIN_WORD = re.compile(r"engine=[\w-]+|engine\.(?!setup|options|address)[a-z]\w*=[\w.:,-]*")


def is_of_engine(word: str) -> bool:
    """Whether an override says where trials run, which changes no result."""
    return word.partition("=")[0].partition(".")[0] == "engine"


def recorded_engine(directory: ComparisonDirectory) -> list[str]:
    """Return the overrides of the engine that a comparison used last.

    Raises:
        UserError: if they could do more than choose among engines: its directory may be a
            stranger's.
    """
    words: list[str] = directory.state.get("engine_words", [])
    if not all(map(_PLAIN_WORD.fullmatch, words)):
        resume = ["gradcli", "compare-optimizers", "--resume", str(directory.path)]
        raise UserError(
            "The engine of this comparison was given options that are not taken from a file, since "
            "its directory may be somebody else's: lines of shell, an address, special characters.",
            where=str(directory.path / COMPARISON_FILE),
            hint=shlex.join([*resume, *words]),
        )
    return words


def refuse_changes(arguments: Sequence[str]) -> None:
    """Refuse overrides that would change a comparison; its engine may change.

    Raises:
        UserError: for the first other override.
    """
    for word in arguments:
        if not is_of_engine(word):
            raise UserError(
                f"'{word}' would change a comparison that has already begun. A new one can have "
                "another config.",
                where="--resume",
                hint=shlex.join(["gradcli", "compare-optimizers", word]),
            )
