"""What the command line shows as a panel, and where in the user's own code an exception arose.

Library code raises `UserError`; only the command line shows it. Nothing here prints.
"""

from __future__ import annotations

import difflib
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

#: What precedes the frames in C++ in the message of an exception of torch.
_CPP_FRAMES = "\nException raised from "


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


class AtWorkError(UserError):
    """Another process works in the directory."""


class DamagedFileError(UserError):
    """A file of a run or a comparison that is no longer as gradcli wrote it."""


class DamagedFileWarning(UserWarning):
    """A file of a run or a comparison is damaged; what can be read of it is used."""


class SilentHolderWarning(UserWarning):
    """A process on another machine holds a directory, and has not been heard of for long."""


class ScarceMemoryWarning(UserWarning):
    """There is not the memory for as many trials at the same time as there were to be."""


class MissingPilotsWarning(UserWarning):
    """A cluster grants fewer workers than there were to be; the others go on."""


class OperatingSystemError(UserError):
    """What the operating system refused: a full disk, a missing right, an output that is closed."""


class LostLeaseError(OperatingSystemError):
    """Another machine took over the directory that this process was at work in."""


def user_error_from_json(values: Mapping[str, Any]) -> UserError:
    """Return the error that `UserError.as_json` described, perhaps in another process."""
    return UserError(
        values["problem"], where=values["where"], choices=values["choices"], hint=values["hint"]
    )


def nearest(word: str, valid: Iterable[str], most: int = 3) -> list[str]:
    """Return the valid words most similar to `word`, best first; empty if none is similar.

    A word of the same letters in another order comes first: `adma` is `adam`, not `adamax`.
    """
    options = list(dict.fromkeys(valid))
    lowered = {option.lower(): option for option in options}
    matches = difflib.get_close_matches(word.lower(), lowered, n=len(lowered) or 1, cutoff=0.5)
    matches.sort(key=lambda match: sorted(match) != sorted(word.lower()))
    return [lowered[match] for match in matches[:most]]


def exception_in_words(error: BaseException) -> str:
    """Return an exception's message with its type, which alone may be all there is to read.

    The frames in C++ that torch adds to a message are left out.
    """
    kind = type(error).__name__
    message = str(error).partition(_CPP_FRAMES)[0]
    return f"{kind}: {message}" if message else kind


def place_in_own_code(error: BaseException, *, even_if_gradcli_raised: bool = True) -> str:
    """Return FILE:LINE of the deepest frame of the traceback in the user's own code.

    Installed packages other than torch and gradcli count as the user's own only if there is no
    nearer code of theirs.

    Args:
        error: a caught exception.
        even_if_gradcli_raised: whether it matters not that the user's code called gradcli and
            the exception arose there.

    Returns:
        The place, relative to the working directory if it is below; empty if there is none.
    """
    frames = [
        (_owner(Path(frame.filename)), frame) for frame in traceback.extract_tb(error.__traceback__)
    ]
    owners = [owner for owner, _ in frames if owner in ("user", "gradcli")]
    if not even_if_gradcli_raised and owners[-1:] == ["gradcli"]:
        return ""
    own = [frame for owner, frame in frames if owner == "user"]
    own = own or [frame for owner, frame in frames if owner == "package"]
    if not own:
        return ""
    file, here = Path(own[-1].filename), Path.cwd()
    return f"{file.relative_to(here) if file.is_relative_to(here) else file}:{own[-1].lineno}"


def _owner(file: Path) -> Literal["gradcli", "torch", "package", "python", "user"]:
    """Say whose code a file is."""
    torch = sys.modules.get("torch")
    folders = sysconfig.get_paths()
    if file.is_relative_to(Path(__file__).parent):
        return "gradcli"
    if torch is not None and torch.__file__ and file.is_relative_to(Path(torch.__file__).parent):
        return "torch"
    if any(file.is_relative_to(folders[name]) for name in ("purelib", "platlib")):
        return "package"
    # Code without a file, such as <frozen importlib> and <string>, is nothing to point at.
    is_pythons = not file.is_absolute() or file.is_relative_to(folders["stdlib"])
    return "python" if is_pythons else "user"
