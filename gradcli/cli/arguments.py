"""Words of the command line taken as they are typed, where there is nothing to check in them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

#: What a word becomes whose type is a text or a path.
_TAKE: dict[object, Callable[[Any], object]] = {str: str, Path: Path, list[str]: list}


def take_as_typed(command: Any) -> Any:
    """Keep a command, and those within it, from checking what cannot be wrong; return it.

    Typer 0.29 hands the value of every option to pydantic, also where it was not given. To import
    that takes half as long as all of `gradcli --help`, and 4% of the time from the start of
    `gradcli train` to the end of its first step. What texts and paths mean, the config says. All
    that is not a text or a path, and all of another Typer, goes its own way.

    Args:
        command: what `typer.main.get_command` returns.
    """
    # An attribute of the object comes before the method of its class.
    vars(command)["get_params"] = partial(_get_params, command)
    for inner in getattr(command, "commands", {}).values():
        take_as_typed(inner)
    return command


def _get_params(command: Any, context: Any) -> Any:
    """Return a command's options and arguments, that for help included."""
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
