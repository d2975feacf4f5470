"""What can be chosen: the options of every group as their YAML files describe them.

No class is imported, so listing does not load torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from gradcli.config.choices.experiments import read_experiment
from gradcli.config.config_files import (
    COMPARISON_GROUPS,
    EXPERIMENT_GROUP,
    GROUPS,
    LIST_GROUPS,
    NO_EXPERIMENT,
    ConfigFiles,
    shipped_configs,
)
from gradcli.config.loading import yaml_error
from gradcli.errors import UserError, nearest

_KEY = re.compile(r"^(\w+):.*?\s#\s*(.*)$")


#: Every group, in the order in which they are listed.
ALL_GROUPS = (*GROUPS, EXPERIMENT_GROUP, *COMPARISON_GROUPS, *LIST_GROUPS)


@dataclass(frozen=True)
class Option:
    """An option of a group."""

    name: str
    description: str
    """The comment at the top of its file; the class that it names if there is none."""
    is_default: bool
    """Whether it is chosen unless the user chooses another one."""
    file: str
    target: str | None
    """The class that it names."""
    keys: dict[str, Any]
    """Its keys with their values. An override `GROUP.KEY=VALUE` sets one, but for a recorder. Those
    of an experiment are whole, and the groups that it chooses from are among them."""
    comments: dict[str, str]
    """The comments next to keys."""

    @property
    def summary(self) -> str:
        """The first sentence of the description."""
        return re.split(r"(?<=\.)(?<! al\.)\s", self.description, maxsplit=1)[0]


def menu(config_dir: Path | None = None, group: str | None = None) -> dict[str, list[Option]]:
    """Return the options of every group, or of one group, sorted by name.

    Args:
        config_dir: the user's own config folder, whose options add to the groups. The group of
            recorders has no others.
        group: the only one to return.

    Raises:
        UserError: if there is no such group, or a file is not YAML.
    """
    files, groups = ConfigFiles(config_dir), ALL_GROUPS
    if group is not None and group not in groups:
        likely = nearest(group, groups)
        raise UserError(
            f"There is no group '{group}'.",
            choices=likely or groups,
            hint=f"gradcli configs {likely[0]}" if likely else "gradcli configs",
        )
    defaults = _defaults()
    return {
        name: [
            _option(files, name, option, is_default=option == defaults.get(name))
            for option in files.options(name)
        ]
        for name in (groups if group is None else [group])
    }


def _defaults() -> dict[str, str]:
    """Return the option of each group that is chosen by default."""
    chosen = {EXPERIMENT_GROUP: NO_EXPERIMENT}
    for root in ("train", "compare"):
        listed = _read(shipped_configs() / f"{root}.yaml")["defaults"]
        for one in listed:
            chosen |= one if isinstance(one, dict) else {}
    return chosen


def _option(files: ConfigFiles, group: str, name: str, *, is_default: bool) -> Option:
    path = files.path(group, name)
    keys = _read(path)
    target = keys.pop("_target_", None)
    if group == EXPERIMENT_GROUP:
        experiment = read_experiment(name, files)
        keys = {**experiment.options, **experiment.values}
    lines = path.read_text(encoding="utf-8").splitlines()
    return Option(
        name=name,
        description=_top_comment(lines) or target or "",
        is_default=is_default,
        file=files.display(group, name),
        target=target,
        keys=keys,
        comments={found[1]: found[2] for found in map(_KEY.match, lines) if found},
    )


def _top_comment(lines: list[str]) -> str:
    """Return the comment that a file begins with, as one line, without a package for Hydra."""
    words = []
    for line in lines:
        if not line.startswith("#"):
            break
        words.append(line.lstrip("#").strip())
    return " ".join(word for word in words if not word.startswith("@package"))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        raise yaml_error(error, str(path)) from None
    if not isinstance(content, dict):
        raise UserError("This file must hold keys and values.", where=str(path))
    return content
