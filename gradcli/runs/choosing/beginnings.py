"""The runs whose names begin as somebody has typed, the newest first; few are opened."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from gradcli.runs.choosing.finding import at, given_name
from gradcli.runs.comparisons import ComparisonDirectory
from gradcli.runs.directory import newest_first
from gradcli.runs.reader import Run


def beginning_with(
    typed: str,
    runs_dir: Path,
    *,
    most: int,
    wanted: Callable[[Run | ComparisonDirectory], bool] = lambda found: True,
) -> list[tuple[str, Run | ComparisonDirectory]]:
    """Return runs and comparisons, the newest first, each with a word that names it.

    The word is the name of its directory or, if that does not begin with what is typed, its name
    from behind the time on: `mlp-adam-41e5`. If no word begins like that, and what is typed is part
    of one name alone, that one is returned. Only directories that are returned are opened.

    Args:
        typed: the beginning.
        runs_dir: where runs are.
        most: how many to return.
        wanted: which of them.

    Raises:
        OSError: if the folder cannot be read.
    """
    paths = newest_first(runs_dir)
    named = [(path.name, path) for path in paths if path.name.startswith(typed)]
    if typed and not named:
        others = {path.name for path in paths} | {given_name(path.name) for path in paths}
        behind = [(path.name.partition("-")[2], path) for path in paths]
        named = [(one, path) for one, path in behind if one.startswith(typed) and one not in others]
    if typed and not named:
        parts = [(path.name, path) for path in paths if typed in path.name]
        named = parts if len(parts) == 1 else []
    opened = ((name, at(path)) for name, path in named)
    return list(islice(((n, one) for n, one in opened if one is not None and wanted(one)), most))
