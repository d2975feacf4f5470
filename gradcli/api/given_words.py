"""What a call is given: overrides, shorthand options, paths, and perhaps a problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from gradcli.errors import UserError, nearest
from gradcli.shorthands import SHORTHANDS, problem_files
from gradcli.system.paths import Paths

if TYPE_CHECKING:
    from gradcli.data.problem import Problem


@dataclass(frozen=True)
class Settled:
    """What a call was given, with a problem as the overrides that stand for it."""

    words: list[str]
    chosen: list[str]
    """The overrides that choose the problem; none without one."""
    files: list[str]
    """The Python files that may run, since the caller has named them."""
    can_be_made_again: bool = True
    """Whether another process can make the problem."""


@contextmanager
def settled(given_words: Sequence[str | Path | Problem]) -> Iterator[Settled]:
    """Hand over the problem among the words of a call, if there is one, while the call lasts.

    Raises:
        UserError: if there are several.
    """
    words = [str(word) for word in given_words if not _is_problem(word)]
    problems = [word for word in given_words if _is_problem(word)]
    if len(problems) > 1:
        raise UserError("A call takes one problem, and this one got several.", where="problem")
    if not problems:
        yield Settled(words, [], problem_files(words))
        return
    from gradcli.data.problem_source import given
    from gradcli.engines.work import load_once

    load_once.cache_clear()  # an earlier call may have had another problem of this name
    with given(problems[0]) as (file, name):
        if file:
            yield Settled(words, [f"problem={file}:{name}"], [file])
        else:
            yield Settled(words, ["data=problem", f"data.variable={name}"], [], False)


def _is_problem(word: object) -> TypeGuard[Problem]:
    """Whether it is a `Problem`: asked without importing torch, which a text does not need."""
    return not isinstance(word, str | Path)


def serial_note(engine: str | None, jobs: int | None, words: Sequence[str]) -> str:
    """Say that a problem which no other process can make is compared in this one.

    Raises:
        UserError: if another engine was asked for.
    """
    reason = "no file has the problem by name, so that no other process can make it again"
    named = [word.removeprefix("engine=") for word in words if word.startswith("engine=")]
    asked = [engine] if engine is not None else []
    for other in [*asked, *named]:
        if other != "serial":
            raise UserError(
                f"engine={other} runs trials in other processes, but {reason}.",
                where="engine",
                hint=f'engine="serial"{"" if jobs is None else ", without jobs"}; or a problem at '
                "the top level of a Python file",
            )
    dropped = "" if jobs is None else f" jobs={jobs} does not apply to it."
    return f"The trials run one after another in this process (engine=serial): {reason}.{dropped}"


def shorthand_words(function: str, options: Mapping[str, object]) -> list[str]:
    """Return the overrides that shorthand options stand for.

    Raises:
        UserError: if there is no such option.
    """
    for name in options:
        if name not in SHORTHANDS:
            raise UserError(
                f"{function}() takes no '{name}'.",
                choices=nearest(name, SHORTHANDS),
                hint=f'an override, such as {function}("{name}=VALUE")',
            )
    return [f"{SHORTHANDS[name]}={value}" for name, value in options.items()]


def paths_of(
    runs_dir: str | Path,
    data_dir: str | Path | None,
    config_dir: str | Path | None,
    allow_import: Sequence[str],
) -> Paths:
    """Return the folders that a call names, and what may be imported."""
    return Paths(
        Path(runs_dir),
        None if data_dir is None else Path(data_dir),
        None if config_dir is None else Path(config_dir),
        tuple(allow_import),
    )
