"""Refuses values of options: a word that is no choice, and a file that cannot be written."""

from __future__ import annotations

import shlex
from pathlib import Path

from gradcli.errors import UserError, nearest


def require_one_of(option: str, word: str, choices: list[str]) -> None:
    """Refuse a value that is not one of the choices.

    Raises:
        UserError: with the nearest choice.
    """
    if word not in choices:
        likely = nearest(word, choices) or choices
        raise UserError(
            f"'{word}' is not one of {', '.join(choices)}.",
            where=option,
            choices=likely,
            hint=f"{option} {likely[0]}",
        )


def require_writable(output: Path, name: str, *, force: bool) -> None:
    """Refuse a folder, a file in a missing folder, and a file that exists unless `force`.

    Args:
        output: as the user typed it.
        name: a file name to propose.
        force: whether an existing file may be overwritten. A device such as /dev/null always may.

    Raises:
        UserError: with what to type instead.
    """
    if output.is_dir():
        raise UserError(
            f"{output} is a folder; -o takes a file.", where="-o", hint=f"-o {output / name}"
        )
    if not output.parent.is_dir():
        raise UserError(
            f"The folder {output.parent} does not exist.",
            where="-o",
            hint=f"mkdir -p {output.parent}",
        )
    if output.is_file() and not force:
        raise UserError(
            f"{output} exists already. --force overwrites it.",
            where="-o",
            hint=shlex.join(["-o", str(output), "--force"]),
        )


def require_picture(path: Path) -> None:
    """Refuse a picture in a missing folder, or of a kind that matplotlib does not write.

    Raises:
        UserError: with what to type instead.
    """
    kinds = (".png", ".pdf", ".svg")
    if path.suffix.lower() not in kinds:
        raise UserError(
            f"{path} is no name of a picture.",
            where="--plot",
            choices=[f"{path.stem or 'sets'}{kind}" for kind in kinds],
            hint=f"--plot {path.with_suffix('.png')}" if path.stem else "--plot sets.png",
        )
    if not path.parent.is_dir():
        raise UserError(
            f"The folder {path.parent} does not exist.",
            where="--plot",
            hint=f"mkdir -p {path.parent}",
        )
