"""The options that several commands share, and the overrides that options stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gradcli.shorthands import SHORTHANDS

RunsDir = Annotated[
    Path,
    typer.Option(
        "--runs-dir",
        envvar="GRADCLI_RUNS",
        help="Where runs are kept.",
        rich_help_panel="Places and output",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="GRADCLI_DATA",
        help="Where data sets lie; else the platform's cache folder.",
        show_default=False,
        rich_help_panel="Places and output",
    ),
]
ConfigDir = Annotated[
    Path | None,
    typer.Option(
        "--config-dir",
        help="A folder of your own config files; they add to the groups.",
        show_default=False,
        rich_help_panel="Places and output",
    ),
]
AllowImport = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-import",
        metavar="PKG",
        help="A package that _target_ may name besides torch's and ours.",
        show_default=False,
        rich_help_panel="Places and output",
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON object on stdout.", rich_help_panel="Places and output"
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Show no progress.", rich_help_panel="Places and output"),
]
NoLive = Annotated[
    bool,
    typer.Option("--no-live", help="One plain line an epoch.", rich_help_panel="Places and output"),
]


def shorthand(name: str, letter: str | None = None) -> Any:
    """Return the option that stands for an override."""
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


def as_overrides(**options: str | None) -> list[str]:
    """Return the overrides that options stand for; None is an option that was not given."""
    return [f"{SHORTHANDS[name]}={value}" for name, value in options.items() if value is not None]
