"""The options that several commands share, and the overrides and paths that they stand for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from gradcli.shorthands import SHORTHANDS, problem_files
from gradcli.system.naming import naming
from gradcli.system.paths import Paths

RunsDirOption = Annotated[
    Path,
    typer.Option(
        "--runs-dir",
        envvar="GRADCLI_RUNS",
        help="Where runs are kept.",
        rich_help_panel="Paths and output",
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="GRADCLI_DATA",
        help="Where data sets are kept; by default the platform's cache folder.",
        show_default=False,
        rich_help_panel="Paths and output",
    ),
]
ConfigDirOption = Annotated[
    Path | None,
    typer.Option(
        "--config-dir",
        help="A folder with config files of your own, which add options to the groups.",
        show_default=False,
        rich_help_panel="Paths and output",
    ),
]
AllowImportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-import",
        metavar="PKG",
        help="A package or .py file, besides torch and gradcli, that may run. Can be repeated.",
        show_default=False,
        rich_help_panel="Paths and output",
    ),
]
#: The stream for the result of a command that was given `--json`.
_json_stream: ContextVar[TextIO] = ContextVar("json_stream")


def _keep_stdout_for_json(context: typer.Context, wanted: bool) -> bool:
    """Send what anything but `write_json` prints during the command to stderr.

    A user's model, optimizer or data set may print, but stdout must hold only one JSON object.
    """
    if wanted:
        before = _json_stream.set(sys.stdout)
        context.call_on_close(lambda: _json_stream.reset(before))
        context.with_resource(redirect_stdout(sys.stderr))
    return wanted


def write_result(text: str) -> None:
    """Write the result of a command, and end the line: to stdout, whatever `--json` does to it."""
    from gradcli.views.words import write_line

    with naming("stdout"):
        write_line(_json_stream.get(sys.stdout), text)


def write_json(value: Any) -> None:
    """Print the JSON object of a command that was given `--json`."""
    from gradcli.views.json_output import dumps

    write_result(dumps(value))


WHICH = "A directory, a name or part of it, or `latest`."
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="CONDITIONS",
        help="Only runs for which all hold: 'optimizer=adam,sgd lr<0.01 tag!=old'. = takes "
        "patterns: name=a-*. Can be repeated.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object on stdout.",
        rich_help_panel="Paths and output",
        callback=_keep_stdout_for_json,
    ),
]
AllPairsOption = Annotated[
    bool,
    typer.Option(
        "--all-pairs",
        help="Show the verdict on every pair of a comparison.",
        rich_help_panel="Paths and output",
    ),
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Show no progress.", rich_help_panel="Paths and output"),
]
NoLiveOption = Annotated[
    bool,
    typer.Option(
        "--no-live", help="Print one plain line per epoch.", rich_help_panel="Paths and output"
    ),
]


def _shorthand(name: str, letter: str | None = None) -> Any:
    """Return the option that is short for an override."""
    key = SHORTHANDS[name]
    flag = f"--{name.replace('_', '-')}"
    return typer.Option(
        *([letter] if letter else []),
        flag,
        metavar="VALUE",
        help=f"{key}=VALUE",
        show_default=False,
        rich_help_panel="Shorthand for overrides",
    )


DataOption = Annotated[str | None, _shorthand("data", "-d")]
ModelOption = Annotated[str | None, _shorthand("model", "-m")]
ActivationOption = Annotated[str | None, _shorthand("activation", "-a")]
OptimizerOption = Annotated[str | None, _shorthand("optimizer", "-o")]
LearningRateOption = Annotated[str | None, _shorthand("lr")]
ClipOption = Annotated[str | None, _shorthand("clip")]
EpochsOption = Annotated[str | None, _shorthand("epochs", "-e")]
BatchSizeOption = Annotated[str | None, _shorthand("batch_size", "-b")]
SeedOption = Annotated[str | None, _shorthand("seed", "-s")]
DeviceOption = Annotated[str | None, _shorthand("device")]
NameOption = Annotated[str | None, _shorthand("name")]


TagOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tag",
        metavar="TAG",
        help="A word to find it by: gradcli runs list --where tag=TAG. Can be repeated.",
        show_default=False,
        rich_help_panel="Paths and output",
    ),
]
NoteOption = Annotated[
    str | None,
    typer.Option(
        "--note",
        metavar="TEXT",
        help="What there is to say about it.",
        show_default=False,
        rich_help_panel="Paths and output",
    ),
]


def given_overrides(context: typer.Context) -> list[str]:
    """Return the overrides that stand for those shorthand options of a command that were given."""
    given = {name: context.params.get(name) for name in SHORTHANDS}
    return [f"{SHORTHANDS[name]}={value}" for name, value in given.items() if value is not None]


def given_paths(context: typer.Context, words: Sequence[str] = ()) -> Paths:
    """Return the paths that a command's options name, and a file that `problem=` allows.

    Raises:
        UserError: if `problem=` names no file.
    """
    given = context.params
    paths = Paths(
        given["runs_dir"],
        given["data_dir"],
        given["config_dir"],
        tuple(given["allow_import"] or ()),
    )
    return paths.trusting(problem_files(words))


def settle_latest(target: str, runs_dir: Path, *, silent: bool) -> str:
    """Return the directory that `latest` names, and say on stderr which it is.

    Any other target is returned as it is.

    Args:
        target: as the user typed it.
        runs_dir: where runs are kept.
        silent: whether to say nothing, as for `--json`.

    Raises:
        UserError: if there are no runs.
    """
    from gradcli.runs import find_any

    if target != "latest":
        return target
    latest = find_any(target, runs_dir)
    if not silent:
        from gradcli.views.words import write_line

        with suppress(OSError):  # the result does not depend on it
            write_line(sys.stderr, f"latest is {latest.name}")
    return str(latest.path)
