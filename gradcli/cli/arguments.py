"""Command-line arguments of type text or path are taken as typed, without validation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

#: How an argument of each of these types is converted.
_TAKE: dict[object, Callable[[Any], object]] = {str: str, Path: Path, list[str]: list}


def take_as_typed(command: Any) -> Any:
    """Keep a command and its subcommands from validating texts and paths; return the command.

    Typer 0.29 passes the value of every option to pydantic, even if the option was not given.
    Importing pydantic takes half as long as all of `gradcli --help`, and 4% of the time from the
    start of `gradcli train` to the end of its first step. The config checks what texts and paths
    mean. Other types, and other releases of Typer, are handled by Typer as usual.

    Args:
        command: what `typer.main.get_command` returns.
    """
    # An attribute of the object takes precedence over the method of its class.
    vars(command)["get_params"] = partial(_get_params, command)
    for inner in getattr(command, "commands", {}).values():
        take_as_typed(inner)
    return command


def _get_params(command: Any, context: Any) -> Any:
    """Return the options and arguments of a command, including `--help`."""
    parameters = type(command).get_params(command, context)
    for parameter in parameters:
        vars(parameter)["process_value"] = partial(_process_value, parameter)
    return parameters


def _process_value(parameter: Any, context: Any, value: Any) -> Any:
    """Return the value of an option or argument."""
    described = getattr(parameter, "type_descriptor", None)
    if described is not None and value is None and not parameter.required:
        return None
    kind = getattr(described, "annotation", None)
    if kind in _TAKE and value is not None and parameter.callback is None:
        return _TAKE[kind](value)
    return type(parameter).process_value(parameter, context, value)
