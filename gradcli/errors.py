"""The one exception for a user's mistake, as a value that can be shown.

Library code raises `UserError`; only the command line shows it. Nothing here prints.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


class UserError(Exception):
    """A mistake in what the user typed, configured or provided.

    Args:
        problem: what is wrong, in one sentence.
        where: the file, option or key that it concerns.
        choices: the nearest valid choices, best first.
        hint: what to type instead, as complete arguments, or other advice.
    """

    exit_code = 2

    def __init__(
        self,
        problem: str,
        *,
        where: str | None = None,
        choices: Sequence[str] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.choices = tuple(choices)
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.problem]
        if self.where:
            parts.append(f"where: {self.where}")
        if self.choices:
            parts.append(f"nearest: {', '.join(self.choices)}")
        if self.hint:
            parts.append(f"try: {self.hint}")
        return "\n".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Return the error as plain values, which `user_error_from_json` reads."""
        return {
            "problem": self.problem,
            "where": self.where,
            "choices": list(self.choices),
            "hint": self.hint,
        }


def user_error_from_json(values: Mapping[str, Any]) -> UserError:
    """Return the error that `UserError.as_json` described, perhaps in another process."""
    return UserError(
        values["problem"], where=values["where"], choices=values["choices"], hint=values["hint"]
    )


def in_words(error: Exception) -> str:
    """Return an exception's message with its type, which alone may be all there is to read."""
    kind = type(error).__name__
    return f"{kind}: {error}" if str(error) else kind


def place_in_own_code(error: Exception, others: Sequence[Path]) -> str:
    """Return FILE:LINE of the deepest frame that is in none of the folders `others`.

    Empty if there is none. The file is relative to the working directory if it is in there.
    """
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(Path(frame.filename).is_relative_to(package) for package in others)
    ]
    if not own:
        return ""
    file = Path(own[-1].filename)
    here = Path.cwd()
    shown = file.relative_to(here) if file.is_relative_to(here) else file
    return f"{shown}:{own[-1].lineno}"


def nearest(word: str, valid: Iterable[str], most: int = 3) -> list[str]:
    """Return the valid words most similar to `word`, best first; empty if none is similar.

    A word of the same letters in another order comes first: `adma` is `adam`, not `adamax`.
    """
    options = list(dict.fromkeys(valid))
    lowered = {option.lower(): option for option in options}
    matches = difflib.get_close_matches(word.lower(), lowered, n=len(lowered) or 1, cutoff=0.5)
    matches.sort(key=lambda match: sorted(match) != sorted(word.lower()))
    return [lowered[match] for match in matches[:most]]
