"""What the config offers, read from the index: options, keys and their values.

This module imports neither Hydra nor a class, so that a shell gets its answer at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from gradcli.config.config_files import RANGES, ConfigFiles

#: What `python -m gradcli.config.index.indexing` writes.
INDEX_FILE: Final = Path(__file__).with_name("key_index.json")
#: Keys of an option's file that an override does not set.
NOT_SET: Final = ("_target_", RANGES, "defaults")


@dataclass(frozen=True)
class OptionKeys:
    """An option of a group.

    `keys` are its values by the rest of the key with which an override sets them: `lr` stands for
    `optimizer.lr`. `searched` are the keys for which it gives a range. Only an experiment has
    `chooses`, the options of other groups by their names; its keys are whole.
    """

    about: str = ""
    keys: Mapping[str, Any] = field(default_factory=dict)
    comments: Mapping[str, str] = field(default_factory=dict)
    """What its file says of its keys."""
    searched: tuple[str, ...] = ()
    chooses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RootKeys:
    """The config of a command: the option that it takes of each group by default, and its keys."""

    groups: Mapping[str, str]
    keys: Mapping[str, Any]
    comments: Mapping[str, str]


@dataclass(frozen=True)
class KeyIndex:
    """All options of all groups, and the keys of the commands' configs.

    `roots` are by the name of their file: `train`, `compare`, `inspect`. `choices` are the words
    that a key takes, or the items of its list.
    """

    roots: Mapping[str, RootKeys]
    groups: Mapping[str, Mapping[str, OptionKeys]]
    choices: Mapping[str, tuple[str, ...]]

    def with_own(self, config_dir: Path) -> KeyIndex:
        """Return the index with the options that a folder of the user's own adds.

        A file that cannot be read, or is no table of keys, is an option without keys.

        Raises:
            UserError: if the folder cannot be used.
            OSError: if the folder cannot be read.
        """
        files = ConfigFiles(config_dir)
        groups = {
            group: {
                **{
                    name: _own_option(files.path(group, name))
                    for name in files.options(group)
                    if name not in options
                },
                **options,
            }
            for group, options in self.groups.items()
        }
        return replace(self, groups=groups)


@cache
def key_index() -> KeyIndex:
    """Return what the index says of the shipped config."""
    stored = json.loads(INDEX_FILE.read_bytes())
    return KeyIndex(
        roots={name: RootKeys(**root) for name, root in stored["roots"].items()},
        groups={
            group: {name: _option(option) for name, option in options.items()}
            for group, options in stored["groups"].items()
        },
        choices={key: tuple(words) for key, words in stored["choices"].items()},
    )


def _option(stored: Mapping[str, Any]) -> OptionKeys:
    return OptionKeys(**{**stored, "searched": tuple(stored.get("searched", ()))})


def _own_option(path: Path) -> OptionKeys:
    """Return what a file of the user's own offers."""
    import yaml  # type: ignore[import-untyped]

    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return OptionKeys()
    if not isinstance(content, dict):
        return OptionKeys()
    ranges = content.get(RANGES)
    about = text.splitlines()[0].lstrip("#").strip() if text.startswith("#") else ""
    return OptionKeys(
        about=about or str(content.get("_target_", "")),
        keys=leaves({key: one for key, one in content.items() if key not in NOT_SET}),
        searched=tuple(ranges) if isinstance(ranges, dict) else (),
    )


def leaves(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tables within a table hold, by dotted keys; an empty table as it is."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        inner = leaves(value) if isinstance(value, dict) else {}
        found |= {f"{key}.{name}": one for name, one in inner.items()} or {str(key): value}
    return found
