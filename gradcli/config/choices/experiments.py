"""Experiments: files that choose options of several groups and set keys, named by one word.

A file has the form that Hydra's users know, a config of the package `_global_` whose defaults
override groups. Hydra would merge its keys into whatever option a group has in the end. Here the
file stands for overrides that come before all of the user's: another option than the experiment's
takes none of the values that were meant for that one, and a misspelt key is named as anywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.types import Override, Quote, QuotedString

from gradcli.config.config_files import EXPERIMENT_GROUP, ConfigFiles
from gradcli.config.loading import load_file
from gradcli.config.overrides import choice, parse_override
from gradcli.errors import UserError, nearest

#: How examples are used, whichever data set they are from.
_OF_ANY_OPTION = ("data.val", "data.normalize", "data.drop_last")
_OVERRIDES_A_GROUP = re.compile(r"override /?(\w+)")


@dataclass(frozen=True)
class Experiment:
    """What an experiment's file says.

    `file` is its path, as shown to the user; `options` are those that it chooses, by group; and
    `values` are those of the keys that it sets, by what an override calls them.
    """

    file: str = ""
    options: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def overrides(self, chosen: Mapping[str, str]) -> list[Override]:
        """Return the overrides of its values, but those meant for options that are not taken.

        Args:
            chosen: the options that the user has chosen, by group.
        """
        with blaming(self.file):
            return [
                parse_override(f"{key}={_written(value)}")
                for key, value in self.values.items()
                if self._is_meant_for(key, chosen)
            ]

    def _is_meant_for(self, key: str, chosen: Mapping[str, str]) -> bool:
        group = key.partition(".")[0]
        is_the_same = chosen.get(group) in (None, self.options.get(group))
        return is_the_same or key in _OF_ANY_OPTION


def chosen_experiment(
    parsed: Sequence[Override], groups: Sequence[str], files: ConfigFiles
) -> Experiment:
    """Return the experiment that the last override for the group names; an empty one for none.

    Args:
        parsed: all overrides.
        groups: those of which the config takes an option.
        files: the config files.

    Raises:
        UserError: if there is no such experiment, or its file is wrong.
    """
    named = [one for one in parsed if one.key_or_group == EXPERIMENT_GROUP]
    if not named:
        return Experiment()
    experiment = read_experiment(choice(named[-1], files), files)
    with blaming(experiment.file):
        for group, option in experiment.options.items():
            if group not in groups:
                raise UserError(
                    f"There is no group '{group}' to choose from here.",
                    choices=nearest(group, groups) or groups,
                )
            choice(parse_override(f"{group}={option}"), files)
    return experiment


def read_experiment(name: str, files: ConfigFiles) -> Experiment:
    """Read an experiment's file, whose options and keys are not checked.

    Raises:
        UserError: if it is not YAML, or its defaults do anything but override groups.
    """
    file = files.display(EXPERIMENT_GROUP, name)
    content = load_file(files.path(EXPERIMENT_GROUP, name), resolve=False)
    options = dict(_option(entry, file) for entry in content.pop("defaults", None) or [])
    values: dict[str, Any] = {}
    for key, value in content.items():
        inner = value if isinstance(value, dict) else {}
        values |= {f"{key}.{one}": item for one, item in inner.items()} or {key: value}
    return Experiment(file, options, values)


def _option(entry: Any, file: str) -> tuple[str, str]:
    """Return the group and the option of an entry of the defaults."""
    if isinstance(entry, dict) and len(entry) == 1:
        ((key, option),) = entry.items()
        if found := _OVERRIDES_A_GROUP.fullmatch(str(key)):
            return found[1], str(option)
    raise UserError(
        f"The defaults of an experiment override groups; '{entry}' does not.",
        where=file,
        hint="- override /model: mlp",
    )


def _written(value: Any) -> str:
    """Write a value as Hydra's grammar has it."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_written(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, str):
        return str(QuotedString(value, Quote.double).with_quotes())
    return "null" if value is None else str(value).lower()


@contextmanager
def blaming(file: str) -> Iterator[None]:
    """Say of a mistake that it is in the file of an experiment."""
    try:
        yield
    except UserError as error:
        raise UserError(error.problem, where=file, choices=error.choices, hint=error.hint) from None
