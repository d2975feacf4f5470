"""Overrides checked before Hydra sees them, with the nearest valid one for each that is wrong.

Hydra answers a misspelt key with the advice to add it. A keyword that the class of a section
takes may be set without a `+`, also where the YAML does not list it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from yaml import MarkedYAMLError  # type: ignore[import-untyped]

from gradcli.config.config_files import GROUPS, ConfigFiles
from gradcli.config.loading import as_plain
from gradcli.config.targets import keywords, resolve_target
from gradcli.config.values import section_of
from gradcli.errors import UserError, nearest


def parse_override(text: str) -> Override:
    """Parse one override.

    Raises:
        UserError: where it is none, names a place in the config, or would configure Hydra.
    """
    try:
        override: Override = OverridesParser.create().parse_overrides([text])[0]
    except (OverrideParseException, HydraException) as error:
        raise UserError(
            f"'{text}' is no override: {str(error).splitlines()[0]}.",
            hint="KEY=VALUE, such as optimizer.lr=0.01; quote lists: 'model.hidden=[512,256]'",
        ) from None
    key = override.key_or_group
    if key.replace("/", ".").split(".")[0] == "hydra":
        raise UserError(
            f"'{text}' would configure Hydra, which gradcli uses only to compose configs: it "
            "starts no jobs, and runs go where --runs-dir says.",
            where=key,
            hint="--runs-dir DIR",
        )
    if override.package is not None:
        package = f"@{override.package}"
        raise UserError(
            f"'{text}' would put '{key}' at another place of the config by '{package}', where "
            "nothing reads it: every group and key has one place.",
            where=key,
            hint=text.replace(package, "", 1),
        )
    return override


def refuse_sweep(override: Override) -> None:
    """Refuse an override with several values, which a single run has no use for."""
    if override.is_sweep_override():
        key = override.key_or_group
        raise UserError(
            f"'{override.input_line}' names several values, and a run has one.",
            where=key,
            hint=f"gradcli compare-optimizers --vary {override.input_line}",
        )


def choice(override: Override, files: ConfigFiles) -> str:
    """Return the option of a group that an override chooses."""
    group, option = override.key_or_group, override.value()
    options = files.options(group)
    if override.is_delete() or not isinstance(option, str) or option not in options:
        likely = nearest(str(option), options)
        raise UserError(
            f"{group} has no option '{option}'.",
            where=f"configs/{group}/",
            choices=likely or options,
            hint=f"{group}={(likely or options)[0]}",
        )
    return option


class SettableKeys:
    """The keys that may be set, once the options of the groups are chosen."""

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
        named = [group for group in (*GROUPS, "engine") if group != "data"]
        self._sections = [group for group in named if group in options]

    def check(self, override: Override) -> str:
        """Return the override as Hydra takes it: with `++` where the YAML lacks the key only.

        Raises:
            UserError: where there is no such key; with the nearest ones.
        """
        key = override.key_or_group
        text = str(override.input_line)
        if key in self._listed():
            return text.lstrip("+")
        group, _, name = key.partition(".")
        if group in self._sections and name in self._keywords(group):
            return "++" + text.lstrip("+")
        raise self._unknown(key, text.partition("=")[2])

    def _listed(self) -> list[str]:
        """The keys that the YAML files list, those of inner tables included."""
        keys = []
        for key, value in self.plain.items():
            keys.append(key)
            if isinstance(value, dict):
                keys += [f"{key}.{name}" for name in value]
        return keys

    def _keywords(self, group: str) -> dict[str, Any]:
        section = section_of(self.plain, self.options, group, self.files[group])
        target = resolve_target(section, self.files[group], self._allow_import)
        return keywords(target, group)

    def _unknown(self, key: str, value: str) -> UserError:
        group, _, name = key.partition(".")
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
            *(listed for listed in self._listed() if not listed.endswith("_target_")),
            *(f"{section}.{word}" for section in sections for word in self._keywords(section)),
        ]
        likely = _nearest_keys(key, settable)
        of_section = [one for one in dict.fromkeys(settable) if one.startswith(f"{group}.")]
        place = self.files.get(group, self._config_files.display("", self._root))
        return UserError(
            f"There is no key '{key}'.",
            where=place,
            choices=likely or of_section,
            hint=f"{likely[0]}={value or 'VALUE'}" if likely else "gradcli train --show-config",
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
                continue  # an option that cannot be used is no advice
            if name in keywords(target, group):
                takers.append(option)
        return takers


def _nearest_keys(key: str, settable: Sequence[str]) -> list[str]:
    """Return the keys of any section that end as `key` does; else those of its own that nearly do.

    Where there is no such section, the keys of all are searched.
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
