"""The options that several commands share, and what they stand for: overrides and places."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gradcli.shorthands import SHORTHANDS
from gradcli.system.paths import Paths

RunsDirOption = Annotated[
    Path,
    typer.Option(
        "--runs-dir",
        envvar="GRADCLI_RUNS",
        help="Where runs are kept.",
        rich_help_panel="Places and output",
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="GRADCLI_DATA",
        help="Where data sets lie; else the platform's cache folder.",
        show_default=False,
        rich_help_panel="Places and output",
    ),
]
ConfigDirOption = Annotated[
    Path | None,
    typer.Option(
        "--config-dir",
        help="A folder of your own config files; they add to the groups.",
        show_default=False,
        rich_help_panel="Places and output",
    ),
]
AllowImportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-import",
        metavar="PKG",
        help="A package that _target_ may name besides torch's and ours.",
        show_default=False,
        rich_help_panel="Places and output",
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON object on stdout.", rich_help_panel="Places and output"
    ),
]
AllPairsOption = Annotated[
    bool,
    typer.Option(
        "--all-pairs",
        help="Show the verdict on every pair of a comparison.",
        rich_help_panel="Places and output",
    ),
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Show no progress.", rich_help_panel="Places and output"),
]
NoLiveOption = Annotated[
    bool,
    typer.Option("--no-live", help="One plain line an epoch.", rich_help_panel="Places and output"),
]


def _shorthand(name: str, letter: str | None = None) -> Any:
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


def given_overrides(context: typer.Context) -> list[str]:
    """Return the overrides that a command's shorthand options stand for, where they are given."""
    given = {name: context.params.get(name) for name in SHORTHANDS}
    return [f"{SHORTHANDS[name]}={value}" for name, value in given.items() if value is not None]


def given_paths(context: typer.Context) -> Paths:
    """Return where things lie by a command's options."""
    given = context.params
    return Paths(
        given["runs_dir"],
        given["data_dir"],
        given["config_dir"],
        tuple(given["allow_import"] or ()),
    )
