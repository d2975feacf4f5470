"""Write the index of what the config offers.

    python -m gradcli.config.index.indexing

Tests compare the file with what would be written now, and with what Hydra itself composes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, get_type_hints

from gradcli.config.choices import ALL_GROUPS, Option, menu
from gradcli.config.compose import resolve
from gradcli.config.config_files import (
    COMPARISON_GROUPS,
    EXPERIMENT_GROUP,
    GROUPS,
    NO_EXPERIMENT,
    RANGES,
    RECORDER_GROUP,
    ConfigFiles,
    shipped_configs,
)
from gradcli.config.data_config import data_section
from gradcli.config.index.key_index import INDEX_FILE, NOT_SET, leaves
from gradcli.config.loading import load_file
from gradcli.config.probe_schedule import MOMENTS
from gradcli.config.schema import (
    CompareConfig,
    InspectConfig,
    Section,
    TrainConfig,
)
from gradcli.config.targets import keywords, resolve_target
from gradcli.config.targets.annotations import named_choices
from gradcli.errors import UserError
from gradcli.probes.registry import selectable_probes

#: The groups from which the config of each command takes one option.
ROOTS: Final[Mapping[str, tuple[str, ...]]] = {
    "train": GROUPS,
    "compare": (*GROUPS, *COMPARISON_GROUPS),
    "inspect": GROUPS,
}
_SCHEMAS: Final = (TrainConfig, CompareConfig, InspectConfig)
_LINE: Final = re.compile(r"^( *)(\w+):(?:.*?\s#\s*(.*))?")


def build_index() -> dict[str, Any]:
    """Return what the index file holds.

    Classes of gradcli are imported for the words that their arguments take.
    """
    offered = menu()
    groups = {
        group: {option.name: _option(group, option) for option in offered[group]}
        for group in ALL_GROUPS
    }
    return {
        "roots": {root: _root(root) for root in ROOTS},
        "groups": groups,
        "choices": dict(sorted(_choices(offered))),
    }


def index_text() -> str:
    """Return the text of the index file: JSON with a line for each option."""
    return json.dumps(build_index(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _root(root: str) -> dict[str, Any]:
    resolved = resolve(root, ROOTS[root], [], ConfigFiles(), ())
    keys = {key: one for key, one in resolved.plain.items() if key not in ROOTS[root]}
    keys |= {"recorders": list(resolved.plain["recorders"])}
    return {
        "groups": {**resolved.options, EXPERIMENT_GROUP: NO_EXPERIMENT},
        "keys": leaves(keys),
        "comments": {**_comments("train"), **_comments(root)},
    }


def _option(group: str, option: Option) -> dict[str, Any]:
    """Return what an option offers."""
    about = option.summary.removesuffix(".")
    if group == EXPERIMENT_GROUP:
        chosen = {name: option.keys[name] for name in GROUPS if name in option.keys}
        keys = {key: one for key, one in option.keys.items() if key not in chosen}
        return {"about": about, "chooses": chosen, "keys": keys}
    if group == RECORDER_GROUP:  # there are none but the user's own
        return {"about": about, "keys": option.keys}
    section = load_file(shipped_configs() / group / f"{option.name}.yaml")
    if group == "data":
        section = data_section(section, option.name)
    keys = leaves({key: one for key, one in section.items() if key not in NOT_SET})
    keys = {key: one for key, one in keys.items() if not key.endswith("_target_")}
    comments = {key: one for key, one in option.comments.items() if key in keys}
    found: dict[str, Any] = {"about": about, "keys": keys, "comments": comments}
    if isinstance(ranges := option.keys.get(RANGES), dict):
        found["searched"] = list(ranges)
    return found


def _choices(offered: Mapping[str, list[Option]]) -> Iterator[tuple[str, list[str]]]:
    """Yield the keys that take one of a few words, and those whose list does."""
    probes = ["all", *selectable_probes()]
    yield from (("probes", probes), ("monitor.probes", probes))
    yield "monitor.probes_at", list(MOMENTS)
    yield "optimizers", [option.name for option in offered["optimizer"]]
    yield "lrs", ["auto"]
    for schema in _SCHEMAS:
        yield from _of_schema(schema, "")
    for group in (*GROUPS, *COMPARISON_GROUPS):
        for option in offered[group]:
            yield from _of_class(group, option)


def _of_schema(schema: type, prefix: str) -> Iterator[tuple[str, list[str]]]:
    hints = get_type_hints(schema)
    for one in fields(schema):
        hint = hints[one.name]
        if isinstance(hint, type) and is_dataclass(hint) and hint is not Section:
            yield from _of_schema(hint, f"{prefix}{one.name}.")
        elif words := named_choices(hint):
            yield prefix + one.name, list(words)


def _of_class(group: str, option: Option) -> Iterator[tuple[str, list[str]]]:
    """Yield the arguments of a class of gradcli's that take one of a few words."""
    if not (option.target or "").startswith("gradcli."):
        return
    section = Section(group, option.name, option.target or "", {})
    try:
        known = keywords(resolve_target(section, option.file, ()), group)
    except UserError:  # its extra is not installed here
        return
    for name in option.keys:
        if name in known and (words := named_choices(known[name].annotation)):
            yield f"{group}.{name}", list(words)


def _comments(root: str) -> dict[str, str]:
    """Return what a root file says of its keys; nothing of a key that says nothing."""
    found, section = {}, ""
    text = (shipped_configs() / f"{root}.yaml").read_text(encoding="utf-8")
    for line in text.splitlines():
        if parts := _LINE.match(line):
            if not parts[1]:
                section = parts[2]
            key = f"{section}.{parts[2]}" if parts[1] else parts[2]
            found[key] = parts[3] or ""
    return found


if __name__ == "__main__":
    INDEX_FILE.write_text(index_text(), encoding="utf-8")
