"""What is said of a comparison that goes on without this process."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Group, RenderableType

from gradcli.views.labelled import whole_lines


def goes_on_screen(path: Path, options: Sequence[str]) -> RenderableType:
    """Say where the comparison is, and how to see it and to stop it.

    Args:
        path: the directory of the comparison, as the user would type it.
        options: of the commands, such as `--data-dir DIR`.
    """
    return Group(*_lines(path, options))


def _lines(path: Path, options: Sequence[str]) -> Iterator[RenderableType]:
    resume = ["gradcli", "compare-optimizers", "--resume", str(path)]
    yield from whole_lines("goes on", [str(path)])
    yield from whole_lines("to see it", [shlex.join([*resume, *options])])
    yield from whole_lines("to stop it", [shlex.join([*resume, "--stop", *options])])
