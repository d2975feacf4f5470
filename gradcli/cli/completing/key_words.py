"""Overrides: the keys that may be set, given what stands before them, and their values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gradcli.cli.completing.answer import FILES, NOTHING, Answer, Proposal, fitting, listed, words
from gradcli.cli.completing.line import Line
from gradcli.config.index import KeyIndex, OptionKeys, RootKeys, key_index
from gradcli.errors import UserError
from gradcli.shorthands import PROBLEM, SHORTHANDS, comparison_overrides

_ROOTS: Final = {"compare-optimizers": "compare", "inspect-gradients": "inspect"}
_EXPERIMENT: Final = "experiment"
_OF_COMPARISON: Final = ("optimizers", "lrs", "seeds", "protocol", "jobs", "engine")
#: Keys of a data set whose value is a place on the disk.
_PATHS: Final = re.compile(r"data\.(\w+_)?(path|folder|file)")
_PLAIN: Final = re.compile(r"[\w./+-]+")
#: How much of a comment or a value is shown next to a proposal, in characters.
_SHOWN: Final = 60


@dataclass(frozen=True)
class Settings:
    """What a command would take after the words before the cursor.

    `chosen` is the option of each group, and `values` the value of each key, as text.
    """

    index: KeyIndex
    root: RootKeys
    chosen: Mapping[str, str]
    values: Mapping[str, str]

    def option(self, group: str) -> OptionKeys:
        """Return what the chosen option of a group offers; nothing if there is no such option."""
        return self.index.groups.get(group, {}).get(self.chosen[group], OptionKeys())

    def comment(self, key: str) -> str:
        """Return what the config files say of a key."""
        group, _, name = key.partition(".")
        if group in self.chosen and name:
            return self.option(group).comments.get(name, "")
        return self.root.comments.get(key, "")

    def words_of(self, group: str) -> dict[str, str]:
        """Return the options of a group, and what each is."""
        return {
            name: f"chosen: {option.about}" if name == self.chosen.get(group) else option.about
            for name, option in self.index.groups.get(group, {}).items()
        }


def settings_on(line: Line) -> Settings:
    """Return the settings that the words before the cursor make."""
    index = _index(line.last("config_dir"))
    root = index.roots[_ROOTS.get(line.path[0] if line.path else "", "train")]
    return settings_after(_overrides(line), index, root)


def _index(config_dir: str | None) -> KeyIndex:
    """Return the index, with the user's own options if they can be used."""
    if config_dir is None:
        return key_index()
    try:
        return key_index().with_own(Path(config_dir).expanduser())
    except (UserError, OSError):  # the command itself will say what is wrong with the folder
        return key_index()


def _overrides(line: Line) -> list[str]:
    """Return the overrides on the line; those that options stand for come first, as they do."""
    of_comparison = {name: line.last(name) for name in _OF_COMPARISON}
    given = {key: line.last(name) for name, key in SHORTHANDS.items()}
    positional = [*line.given.get("overrides", ()), *line.given.get("arguments", ())]
    return [
        *comparison_overrides(**of_comparison),
        *(f"{key}={value}" for key, value in given.items() if value is not None),
        *(word for word in positional if "=" in word),
    ]


def settings_after(overrides: Sequence[str], index: KeyIndex, root: RootKeys) -> Settings:
    """Return the settings of a root config after overrides; what cannot be known is left out."""
    typed = dict(word.lstrip("+~").partition("=")[::2] for word in overrides)
    experiment = index.groups[_EXPERIMENT].get(typed.get(_EXPERIMENT, ""), OptionKeys())
    groups = {group: value for group, value in typed.items() if group in root.groups}
    chosen = {**root.groups, **experiment.chooses, **groups}
    values = {key: written(value) for key, value in root.keys.items()}
    for group in root.groups:
        option = index.groups[group].get(chosen[group], OptionKeys())
        if group != _EXPERIMENT:
            values |= {f"{group}.{key}": written(one) for key, one in option.keys.items()}
    for key, value in experiment.keys.items():
        group = key.partition(".")[0]
        if key in values and chosen.get(group) == experiment.chooses.get(group, chosen.get(group)):
            values[key] = written(value)
    values |= {key: value for key, value in typed.items() if key not in root.groups}
    return Settings(index, root, chosen, values)


def written(value: Any) -> str:
    """Write a value as an override has it."""
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{written(one)}' for key, one in value.items())}}}"
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def override(typed: str, line: Line) -> Answer:
    """Return what may continue an override: its key, or its value."""
    settings = settings_on(line)
    key, equals, value = typed.partition("=")
    sign = key[: len(key) - len(key.lstrip("+~"))]
    if not equals:
        return _keys(key[len(sign) :], settings).behind(sign)
    key = key[len(sign) :]
    return value_of(key, value, settings).behind(f"{sign}{key}=")


def varied(typed: str, line: Line) -> Answer:
    """Return what may continue `KEY=A,B,...`."""
    settings = settings_on(line)
    key, equals, value = typed.partition("=")
    if not equals:
        return _keys(key, settings)
    return listed(value, _words_for(key, settings)).behind(f"{key}=")


def _keys(typed: str, settings: Settings) -> Answer:
    """Return the keys that begin with what is typed, section by section."""
    if PROBLEM.startswith(typed) and typed:
        known = {**settings.values, "problem": ""}
    else:
        known = dict(settings.values)
    found = list(_next_parts(typed, known, settings))
    if len(found) == 1 and found[0].word.endswith("."):  # no need to ask for its keys once more
        found = list(_next_parts(found[0].word, known, settings))
    return fitting(typed, found)


def _next_parts(typed: str, known: Mapping[str, str], settings: Settings) -> Iterator[Proposal]:
    """Yield keys as far as their next dot: `optimizer=`, `optimizer.`, `optimizer.lr=`."""
    head = typed[: typed.rfind(".") + 1]
    sections: dict[str, list[str]] = {}
    for key in sorted({*known, *settings.chosen}):
        if not key.startswith(typed):
            continue
        part, dot, rest = key[len(head) :].partition(".")
        if dot:
            sections.setdefault(f"{head}{part}.", []).append(rest)
        else:
            yield Proposal(f"{key}=", _about(key, known, settings), goes_on=True)
    for section, rests in sections.items():
        inner = dict.fromkeys(rest.partition(".")[0] for rest in rests)
        yield Proposal(section, _short(", ".join(inner)), goes_on=True)


def _about(key: str, known: Mapping[str, str], settings: Settings) -> str:
    """Say which value a key has now, and what it is."""
    if key in settings.chosen:
        return _short(f"{settings.chosen[key]}; {settings.option(key).about}".removesuffix("; "))
    if f"{key}=" == PROBLEM:
        return "your own: FILE.py:NAME"
    return _short(f"{known[key]}; {settings.comment(key)}".removesuffix("; "))


def value_of(key: str, typed: str, settings: Settings) -> Answer:
    """Return what may continue the value of a key."""
    present = settings.values.get(key, "")
    if f"{key}=" == PROBLEM or _PATHS.fullmatch(key):
        return FILES
    offered = _words_for(key, settings)
    if present.startswith("[") and key not in settings.chosen:
        if typed.startswith("["):
            return listed(typed[1:], offered, "]").behind("[")
        beginning = [Proposal("[", "a list", goes_on=True)] if offered else []
        return fitting(typed, [Proposal(present, "as it is"), *beginning])
    if offered:
        return words(typed, offered)
    return words(typed, {present: "as it is"}) if present else NOTHING


def _words_for(key: str, settings: Settings) -> dict[str, str]:
    """Return the words that a key takes, or the items of its list, with what each means."""
    if key in settings.chosen:
        return settings.words_of(key)
    if key == "optimizers":
        return {name: one.about for name, one in settings.index.groups["optimizer"].items()}
    if key == "recorders":
        return {name: one.about for name, one in settings.index.groups["recorder"].items()}
    if key == "search_keys":
        return _searched(settings)
    present = settings.values.get(key, "")
    offered = settings.index.choices.get(key, ())
    if not offered and present in ("true", "false"):
        offered = ("true", "false")
    return {word: "as it is" if word == present else "" for word in offered}


def items_of(key: str, line: Line) -> dict[str, str]:
    """Return the items of a list that an option takes instead of a key."""
    return _words_for(key, settings_on(line))


def _searched(settings: Settings) -> dict[str, str]:
    """Return the keys that a search may look through: those with a range."""
    named = settings.values.get("optimizers", "[]").strip("[]").split(",")
    found: dict[str, str] = {}
    for name in filter(None, named):
        for key in settings.index.groups["optimizer"].get(name, OptionKeys()).searched:
            found[key] = f"{found[key]}, {name}" if key in found else f"of {name}"
    for group, option in settings.chosen.items():
        if group not in ("optimizer", _EXPERIMENT):
            found |= {
                f"{group}.{key}": f"of {group}={option}" for key in settings.option(group).searched
            }
    return {key: _short(said) for key, said in found.items()}


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3].rstrip()}..."
