"""Overrides checked before Hydra sees them, with the nearest valid one for each that is wrong.

Hydra's own answer to a misspelt key is the advice to add it. Any keyword of a section's class may
be set without a `+`, even if the YAML does not list it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from yaml import MarkedYAMLError  # type: ignore[import-untyped]

from gradcli.config.config_files import EXPERIMENT_GROUP, GROUPS, LIST_GROUPS, ConfigFiles
from gradcli.config.loading import as_plain
from gradcli.config.parameter_groups import GROUPS_KEY
from gradcli.config.targets import keywords, resolve_target
from gradcli.config.values import section_of
from gradcli.errors import UserError, nearest
from gradcli.shorthands import PROBLEM, ZOOS

#: What to type instead of a key that no key is near to.
SHOW_CONFIG = "gradcli train --show-config"
#: How similar a word must be to an option, from 0 to 1, to count as a misspelling of it.
_MISSPELT = 0.8
#: How much of a text that is not an override its error shows, in characters.
_SHOWN = 200
#: How values begin that have a grammar to be wrong about: lists, tables and what is quoted.
_BRACKETS_AND_QUOTES = "[{('\""
#: How deep lists and tables in a value may be nested. OmegaConf copies them recursively.
_DEEPEST = 16
#: The groups that an option of the command line chooses from.
_WITH_OPTIONS = {"protocol", "engine"}
#: Other names of the options of a group. `nearest` cannot tell that they mean the same.
_SYNONYMS = {
    "activation": {"swish": "silu", "logistic": "sigmoid", "linear": "identity", "none": "identity"}
}


def parse_override(text: str) -> Override:
    """Parse one override. The quotes that Hydra's grammar needs around some text may be left out.

    Raises:
        UserError: if it is not an override, gives a package, or would configure Hydra.
    """
    if text.startswith(PROBLEM):  # a path, which Hydra need not be able to read
        text = f"{PROBLEM}file"
    try:
        override = _parsed(text)
        if _nesting(override.value()) > _DEEPEST:
            raise ValueError(f"its lists are nested more than {_DEEPEST} deep")
    # A ValueError also comes from an integer of more than 4,300 digits, which Python does not read.
    except (OverrideParseException, HydraException, ValueError, RecursionError) as error:
        reason = "its lists are nested too deep"
        if not isinstance(error, RecursionError):
            reason = str(error).splitlines()[0]
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise UserError(
            f"'{shown}' is not an override: {reason}.",
            hint="KEY=VALUE, such as optimizer.lr=0.01; quote lists: 'model.hidden=[512,256]'",
        ) from None
    key = override.key_or_group
    if key.replace("/", ".").split(".")[0] == "hydra":
        raise UserError(
            f"'{text}' would configure Hydra, which gradcli uses only to compose configs. "
            "--runs-dir sets where runs are kept.",
            where=key,
            hint="--runs-dir DIR",
        )
    if override.package is not None:
        package = f"@{override.package}"
        raise UserError(
            f"'{text}' would move '{key}' to another place in the config ('{package}'), where "
            "nothing reads it.",
            where=key,
            hint=text.replace(package, "", 1),
        )
    return override


def _parsed(text: str) -> Override:
    """Return an override whose value is as its grammar says, or else text as it stands.

    Names of files and columns hold what the grammar has other uses for: `my file (1).npz`, and
    `a,b.csv`, which is several values unless there is such a file.
    """
    parser, (key, _, value) = OverridesParser.create(), text.partition("=")
    try:
        override: Override = parser.parse_overrides([text])[0]
    except (OverrideParseException, HydraException):
        if not (_names_a_file(value) or _is_plain_text(value)):
            raise
    else:
        if not override.is_sweep_override() or not _names_a_file(value):
            return override
    quoted = QuotedString(value, Quote.double).with_quotes()
    in_quotes: Override = parser.parse_overrides([f"{key}={quoted}"])[0]
    return in_quotes


def _names_a_file(value: str) -> bool:
    return 0 < len(value) <= _SHOWN and value.isprintable() and Path(value).exists()


def _is_plain_text(value: str) -> bool:
    return value.isprintable() and value[:1] not in _BRACKETS_AND_QUOTES and "${" not in value


def _nesting(value: Any) -> int:
    """Return how deep lists and tables are nested in a value; 0 if it is neither."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_nesting, value), default=0) if isinstance(value, list) else 0


def refuse_sweep(override: Override) -> None:
    """Refuse an override with several values: a single run takes one."""
    if override.is_sweep_override():
        key, text = override.key_or_group, str(override.input_line)
        hint = shlex.join(["gradcli", "compare-optimizers", "--vary", text])
        if key == EXPERIMENT_GROUP:
            hint = shlex.join(["gradcli", "inspect-gradients", "--vary", text])
        raise UserError(f"'{text}' names several values; a run takes one.", where=key, hint=hint)


def choice(override: Override, files: ConfigFiles) -> str:
    """Return the option of a group that an override chooses.

    Raises:
        UserError: if there is no such option.
    """
    group, option = override.key_or_group, override.value()
    options = files.options(group)
    if override.is_delete() or not isinstance(option, str) or option not in options:
        raise unknown_option(group, option, options)
    return option


def unknown_option(group: str, option: object, options: Sequence[str]) -> UserError:
    """Return the error for an option that a group does not have, with what to type instead."""
    synonym = _SYNONYMS.get(group, {}).get(str(option).lower())
    likely = [synonym] if synonym else nearest("" if option is None else str(option), options)
    if group in _WITH_OPTIONS:
        hint = f"--{group} {(likely or options)[0]}"
    elif not likely:
        hint = f"gradcli configs {group}"
    else:
        hint = f"{group}={likely[0]}"
    if group == "model" and (network := _of_a_library(str(option))):
        likely, hint = [network], f"model={network}"
    problem = f"{group} has no option '{option}'."
    if group == "clip" and isinstance(option, int | float) and not isinstance(option, bool):
        likely, hint = ["norm", "value", "per_layer"], f"clip.max_norm={option}"
    elif group == "optimizer" and not get_close_matches(str(option), options, cutoff=_MISSPELT):
        problem += (
            f" To add it, write DIR/optimizer/{option}.yaml with a line `_target_: PACKAGE.CLASS`, "
            "and pass --config-dir DIR --allow-import PACKAGE."
        )
    return UserError(
        problem,
        where=f"configs/{group}/",
        choices=likely or options,
        hint=hint,
    )


def _of_a_library(option: str) -> str:
    """Return LIBRARY.NETWORK as it must have been meant; empty if no library is near to it."""
    library, dot, network = option.partition(".")
    likely = nearest(library, ZOOS, most=1)
    return f"{likely[0]}.{network}" if dot and likely else ""


def listed_files(group: str, names: Any, files: ConfigFiles) -> dict[str, Path]:
    """Return the file of each option of one of `LIST_GROUPS` that its key names.

    Raises:
        UserError: if the key is not a list, or there is no such option.
    """
    key = LIST_GROUPS[group]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(
            f"{key} is {names!r}, which is not a list of names.",
            where=key,
            hint=f"{key}=[{names}]" if isinstance(names, str) else f"{key}=[NAME,NAME]",
        )
    options = files.options(group)
    for name in names:
        if name not in options:
            likely = nearest(name, options) or options
            raise UserError(
                f"There is no {group} '{name}'.",
                where=files.display(group, name),
                choices=likely,
                hint=f"{key}=[{likely[0]}]"
                if likely
                else f"--config-dir DIR, with DIR/{group}/{name}.yaml that has a line "
                "`_target_: PACKAGE.CLASS`",
            )
    return {name: files.path(group, name) for name in names}


class SettableKeys:
    """The keys that may be set once the options of the groups are chosen."""

    def __init__(
        self,
        root: str,
        plain: dict[str, Any],
        options: dict[str, str],
        files: ConfigFiles,
        allow_import: Sequence[str],
    ) -> None:
        self._root, self.plain, self.options = root, plain, options
        self.files = {group: files.display(group, option) for group, option in options.items()}
        self._config_files, self._allow_import = files, allow_import
        # The groups whose options name a class, of those that the root has.
        self._sections = [group for group in (*GROUPS, "engine") if group in options]
        listed = plain["optimizer"].get(GROUPS_KEY) if "optimizer" in self._sections else None
        self._groups: set[str] = set(listed) if isinstance(listed, dict) else set()

    def check(self, override: Override) -> str:
        """Return the override as Hydra takes it: with `++` if the YAML lacks the key.

        Raises:
            UserError: if there is no such key; it names the nearest ones.
        """
        key = override.key_or_group
        text = str(override.input_line)
        if key in self._listed():
            return text.lstrip("+")
        group, _, name = key.partition(".")
        if group in self._sections and name in self._keywords(group):
            return "++" + text.lstrip("+")
        if group == "optimizer" and name.partition(".")[0] == GROUPS_KEY:
            self._check_group(override)
            return text if override.is_delete() else "++" + text.lstrip("+")
        raise self._unknown(key, text.partition("=")[2])

    def _listed(self) -> list[str]:
        """The keys that the YAML files list, inner tables included."""
        keys = []
        for key, value in self.plain.items():
            keys.append(key)
            if isinstance(value, dict):
                keys += [f"{key}.{name}" for name in value]
        return keys

    def _check_group(self, override: Override) -> None:
        """Refuse a key of a parameter group that does not exist yet; a `+` adds one."""
        key, text = override.key_or_group, str(override.input_line)
        name, *rest = key.split(".", 3)[2:] or [""]
        if not name:
            value: Any = override.value()
            self._groups |= set(value) if isinstance(value, dict) else set()
        elif text.startswith("+"):
            self._groups.add(name)
        elif name not in self._groups:
            likely = nearest(name, self._groups) or sorted(self._groups)
            keys = [".".join(["optimizer", GROUPS_KEY, one, *rest]) for one in likely]
            typed = text.partition("=")[2]
            raise UserError(
                f"optimizer={self.options['optimizer']} has no group '{name}'.",
                where=f"{key} in {self.files['optimizer']}",
                choices=keys,
                hint=f"{keys[0]}={typed}" if keys else f"+{key}={typed}",
            )

    def _keywords(self, group: str) -> dict[str, Any]:
        section = section_of(self.plain, self.options, group, self.files[group])
        target = resolve_target(section, self.files[group], self._allow_import)
        return keywords(target, group)

    def _unknown(self, key: str, value: str) -> UserError:
        group, _, name = key.partition(".")
        if key == "resume":
            return UserError(
                "'resume' is an option, not a key of the config.",
                where=key,
                hint=f"--resume {value or 'latest'}",
            )
        if key in LIST_GROUPS:
            listing = LIST_GROUPS[key]
            return UserError(
                f"The key is '{listing}', and takes a list.",
                where=key,
                choices=[listing],
                hint=f"{listing}=[{value or 'NAME'}]",
            )
        sections = self._sections
        if group in sections and name:
            takers = self._options_that_take(group, name)
            if takers:
                return UserError(
                    f"{group}={self.options[group]} takes no '{name}'.",
                    where=f"{key} in {self.files[group]}",
                    choices=[f"{group}={option}" for option in takers],
                    hint=f"{group}={takers[0]} {key}={value}",
                )
        settable = [
            EXPERIMENT_GROUP,
            *(listed for listed in self._listed() if not listed.endswith("_target_")),
            *(f"{section}.{word}" for section in GROUPS for word in self._keywords(section)),
        ]
        likely = _nearest_keys(key, settable)
        of_section = [one for one in dict.fromkeys(settable) if one.startswith(f"{group}.")]
        place = self.files.get(group, self._config_files.display("", self._root))
        return UserError(
            f"There is no key '{key}'.",
            where=place,
            choices=likely or of_section,
            hint=f"{likely[0]}={value or 'VALUE'}" if likely else SHOW_CONFIG,
        )

    def _options_that_take(self, group: str, name: str) -> list[str]:
        """Return the options of a group whose class takes the keyword `name`."""
        takers = []
        for option in self._config_files.options(group):
            path = self._config_files.path(group, option)
            try:
                plain = {group: as_plain(OmegaConf.load(path))}
                section = section_of(plain, {group: option}, group, str(path))
                target = resolve_target(section, str(path), self._allow_import)
            except (UserError, MarkedYAMLError):
                continue  # do not suggest an option that cannot be used
            if name in keywords(target, group):
                takers.append(option)
        return takers


def _nearest_keys(key: str, settable: Sequence[str]) -> list[str]:
    """Return the keys of any section with the last part of `key`; else the nearest of its own.

    If there is no such section, all keys are searched.
    """
    section, _, name = key.rpartition(".")
    by_name: dict[str, list[str]] = {}
    for one in dict.fromkeys(settable):
        by_name.setdefault(one.rpartition(".")[2], []).append(one)
    if name in by_name:
        return by_name[name]
    of_section = [one for one in settable if section and one.startswith(f"{section}.")]
    if of_section:
        likely = nearest(name, (one.rpartition(".")[2] for one in of_section))
        return [f"{section}.{word}" for word in likely]
    return [one for word in nearest(name, by_name) for one in by_name[word]]
