"""What can be chosen, on the screen: the options of each group, or one group with its keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from gradcli.views.labelled import Labelled
from gradcli.views.table import GAP, STRONG, TITLE, Lines, piece
from gradcli.views.words import Text

if TYPE_CHECKING:
    from gradcli.config.choices import Option

_DEFAULT = "*"
_EXPERIMENT = "experiment"
#: What is said of the groups from which any number of options is taken.
_ABOUT = {
    "recorder": "Of your own, any number of them: recorders=[NAME], with DIR/recorder/NAME.yaml "
    "and --config-dir DIR.",
    "tracker": "Any number of them: track=[tensorboard]. One of your own is DIR/tracker/NAME.yaml, "
    "with --config-dir DIR.",
}
_LONG_OVERRIDE = 40
"""An override of at least this length does not move the comments of the others."""


def menu_screen(menu: Mapping[str, Sequence[Option]]) -> RenderableType:
    """Draw the options of several groups, one line each; of a single group, their keys, too."""
    return _MenuScreen(menu)


class _MenuScreen:
    def __init__(self, menu: Mapping[str, Sequence[Option]]) -> None:
        self._menu = menu

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if len(self._menu) == 1:
            ((group, choices),) = self._menu.items()
            for option in choices:
                yield from _with_keys(group, option)
                yield ""
            if group in _ABOUT:
                yield Text(_ABOUT[group], TITLE)
            else:
                yield Text(f"{_DEFAULT} is the default. Another one: {group}=OPTION", TITLE)
            return
        width = max(len(option.name) for choices in self._menu.values() for option in choices)
        for group, choices in self._menu.items():
            yield Text(group, STRONG)
            if group in _ABOUT:
                yield Labelled(GAP, Text(_ABOUT[group]), len(GAP), style="")
            for option in choices:
                label = f"{_mark(option)} {option.name.ljust(width)}{GAP}"
                yield Labelled(label, Text(option.summary), len(label), style="")
            yield ""
        yield Text(
            f"{_DEFAULT} is the default. Choose with GROUP=OPTION, such as optimizer=sgd.", TITLE
        )
        # A command stays on one line, so that it can be pasted.
        yield Lines([[piece("The keys of a group's options: gradcli configs GROUP", TITLE)]])


def menu_json(menu: Mapping[str, Sequence[Option]]) -> dict[str, Any]:
    """Return the options as `gradcli configs --json` prints them."""
    return {
        "schema": 2,
        "groups": [
            {
                "name": group,
                "options": [
                    {
                        "name": option.name,
                        "description": option.description,
                        "default": option.is_default,
                        "file": option.file,
                        "target": option.target,
                        "keys": option.keys,
                    }
                    for option in choices
                ],
            }
            for group, choices in menu.items()
        ],
    }


def _with_keys(group: str, option: Option) -> Iterator[RenderableType]:
    """Lay out an option: its description, its class and file, and its keys as overrides."""
    yield Text.assemble(f"{_mark(option)} ", (option.name, STRONG))
    indent = "    "
    yield Labelled(indent, Text(option.description), len(indent))
    place = f"{option.target}, {option.file}" if option.target else option.file
    yield Lines([[piece(f"{indent}{place}", TITLE)]])
    if group in _ABOUT:  # no override sets these
        written = {key: f"{key}: {_value(value)}" for key, value in option.keys.items()}
    elif group == _EXPERIMENT:  # these are overrides of other groups
        written = {key: f"{key}={_value(value)}" for key, value in option.keys.items()}
    else:
        written = {key: f"{group}.{key}={_value(value)}" for key, value in option.keys.items()}
    width = max((len(text) for text in written.values() if len(text) < _LONG_OVERRIDE), default=0)
    for key, override in written.items():
        comment = f"{GAP}# {option.comments[key]}" if key in option.comments else ""
        padded = override.ljust(width) if comment else override
        yield Lines([[piece(indent + padded), piece(comment, TITLE)]])


def _mark(option: Option) -> str:
    return _DEFAULT if option.is_default else " "


def _value(value: object) -> str:
    """Write a value as an override does."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
