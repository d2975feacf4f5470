"""From overrides to a typed config, by Hydra's compose API. The only user of Hydra.

Every override is checked before Hydra sees it, because Hydra answers a misspelt key with the
advice to add it. A keyword that the class of a section takes may be set without a `+`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.singleton import Singleton
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradcli.config.files import GROUPS, ConfigFiles, shipped_configs
from gradcli.config.schema import Section, TrainConfig, check_limits
from gradcli.config.targets import accepts, check_arguments, keywords, resolve_target
from gradcli.errors import UserError, nearest

_CHOICES = "choices"


@dataclass(frozen=True)
class Composed:
    """A resolved config, typed and as plain data, and where its parts come from.

    `classes` holds the class that each section names.
    """

    config: TrainConfig
    plain: dict[str, Any]
    files: dict[str, str]
    overridden: frozenset[str]
    classes: dict[str, type]

    def yaml(self) -> str:
        """Return the config as YAML that `load_config` reads."""
        return OmegaConf.to_yaml(OmegaConf.create(self.plain))

    def with_data(self, name: str) -> Composed:
        """Return the config with the name of the data that was really used."""
        return replace(
            self,
            config=replace(self.config, data=replace(self.config.data, name=name)),
            plain={**self.plain, "data": {**self.plain["data"], "name": name}},
        )

    def with_epochs(self, epochs: int) -> Composed:
        """Return the config with another number of epochs."""
        return replace(
            self,
            config=replace(self.config, epochs=epochs),
            plain={**self.plain, "epochs": epochs},
        )


def compose_train(
    overrides: Sequence[str] = (),
    *,
    config_dir: Path | None = None,
    allow_import: Sequence[str] = (),
) -> Composed:
    """Compose the config of a training run.

    Args:
        overrides: Hydra overrides, `KEY=VALUE`; the last one for a key wins.
        config_dir: the user's own config folder, whose options add to the groups.
        allow_import: packages that `_target_` may name besides the usual ones.

    Raises:
        UserError: for anything misspelt, of a wrong type or out of its limits.
    """
    files = ConfigFiles(config_dir)
    parsed = [_parse(override) for override in overrides]
    values = [override for override in parsed if override.key_or_group not in GROUPS]
    chosen: dict[str, str] = {}
    for override in parsed:
        if override.key_or_group in GROUPS:
            chosen[override.key_or_group] = _choice(override, files)
    choices = [f"{group}={option}" for group, option in chosen.items()]
    base = _compose(choices, files)
    options = {group: base.hydra.runtime.choices[group] for group in GROUPS}
    keys = _Keys(_plain(base), options, files, allow_import)
    checked = [keys.check(override) for override in values]
    plain = _plain(_compose([*choices, *checked], files)) if checked else keys.plain
    return _typed(
        {**plain, _CHOICES: options},
        files={"": files.display("", "train"), **keys.files},
        overridden=frozenset(override.key_or_group for override in values),
        allow_import=allow_import,
    )


def load_config(text: str, *, where: str, allow_import: Sequence[str] = ()) -> Composed:
    """Read a resolved config back from the YAML that `Composed.yaml` returned.

    Args:
        text: the YAML.
        where: the file that it comes from, for errors.
        allow_import: packages that `_target_` may name besides the usual ones.
    """
    return _typed(
        _plain(OmegaConf.create(text)),
        files=dict.fromkeys(("", *GROUPS), where),
        overridden=frozenset(),
        allow_import=allow_import,
    )


def _parse(text: str) -> Override:
    """Parse one override; refuse what a single run has no use for."""
    try:
        override: Override = OverridesParser.create().parse_overrides([text])[0]
    except (OverrideParseException, HydraException) as error:
        raise UserError(
            f"'{text}' is no override: {str(error).splitlines()[0]}.",
            hint="KEY=VALUE, such as optimizer.lr=0.01; quote lists: 'model.hidden=[512,256]'",
        ) from None
    key = override.key_or_group
    if key.split(".")[0] == "hydra":
        raise UserError(
            f"'{text}' would configure Hydra, which gradcli uses only to compose configs: it "
            "starts no jobs, and runs go where --runs-dir says.",
            where=key,
            hint="--runs-dir DIR",
        )
    if override.is_sweep_override():
        raise UserError(
            f"'{text}' names several values, and a run has one.",
            where=key,
            hint=f"one run for each value of {key}",
        )
    return override


def _choice(override: Override, files: ConfigFiles) -> str:
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


class _Keys:
    """The keys that may be set, once the options of the groups are chosen."""

    def __init__(
        self,
        plain: dict[str, Any],
        options: dict[str, str],
        files: ConfigFiles,
        allow_import: Sequence[str],
    ) -> None:
        self.plain, self.options = plain, options
        self.files = {group: files.display(group, option) for group, option in options.items()}
        self._config_files, self._allow_import = files, allow_import

    def check(self, override: Override) -> str:
        """Return the override as Hydra takes it: with `++` where the YAML lacks the key.

        Raises:
            UserError: where there is no such key; with the nearest ones.
        """
        key = override.key_or_group
        text = str(override.input_line)
        if key in self._listed():
            return text
        group, _, name = key.partition(".")
        if group in GROUPS and group != "data" and name in self._keywords(group):
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
        section = _section(self.plain, self.options, group, self.files[group])
        target = resolve_target(section, self.files[group], self._allow_import)
        return keywords(target, group)

    def _unknown(self, key: str, value: str) -> UserError:
        group, _, name = key.partition(".")
        sections = [group for group in GROUPS if group != "data"]
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
        last = key.split(".")[-1]
        likely = [one for one in dict.fromkeys(settable) if one.split(".")[-1] == last]
        if not likely:
            by_last = {one.split(".")[-1]: one for one in settable}
            likely = nearest(key, settable) or [by_last[one] for one in nearest(last, by_last)]
        place = self.files.get(group, self._config_files.display("", "train"))
        return UserError(
            f"There is no key '{key}'.",
            where=place,
            choices=likely,
            hint=f"{likely[0]}={value or 'VALUE'}" if likely else "gradcli train --show-config",
        )

    def _options_that_take(self, group: str, name: str) -> list[str]:
        """Return the options of a group whose class takes the keyword `name`."""
        takers = []
        for option in self._config_files.options(group):
            path = self._config_files.path(group, option)
            plain = {group: _plain(OmegaConf.load(path))}
            section = _section(plain, {group: option}, group, str(path))
            try:
                target = resolve_target(section, str(path), self._allow_import)
            except UserError:
                continue  # an option that cannot be used is no advice
            if name in keywords(target, group):
                takers.append(option)
        return takers


def _compose(overrides: list[str], files: ConfigFiles) -> DictConfig:
    """Let Hydra compose; any complaint of its own becomes a `UserError`."""
    search = [] if files.own is None else [f"hydra.searchpath=[file://{files.own.resolve()}]"]
    try:
        with _own_hydra():
            return compose("train", [*search, *overrides], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(
            str(error).splitlines()[0], where="the config", hint="gradcli train --show-config"
        ) from None


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Initialise Hydra for us, and leave it as it was for a program that uses it too."""
    state = Singleton.get_state()
    try:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(shipped_configs()), version_base="1.3"):
            yield
    finally:
        Singleton.set_state(state)


def _plain(config: Any) -> dict[str, Any]:
    """Return a config as plain data, interpolations resolved, Hydra's own part left out."""
    if "hydra" in config:
        config = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    try:
        container = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0], where="the config") from None
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _section(plain: dict[str, Any], options: dict[str, str], group: str, file: str) -> Section:
    values = plain[group]
    if not isinstance(values, dict) or not isinstance(values.get("_target_"), str):
        raise UserError(
            f"{group} names no class.",
            where=file,
            hint="a line such as `_target_: torch.optim.Adam` in that file",
        )
    arguments = {name: value for name, value in values.items() if name != "_target_"}
    return Section(group, options[group], values["_target_"], arguments)


def _typed(
    plain: dict[str, Any],
    *,
    files: dict[str, str],
    overridden: frozenset[str],
    allow_import: Sequence[str],
) -> Composed:
    """Check every value of a composed config, and give it its type."""
    classes: dict[str, type] = {}

    def build(cls: type, values: Any, prefix: str) -> Any:
        file = files[prefix.rstrip(".") if prefix.rstrip(".") in files else ""]
        hints = get_type_hints(cls)
        for key in values:
            if key not in hints and prefix + key != _CHOICES:
                raise UserError(
                    f"There is no key '{prefix}{key}'.",
                    where=file,
                    choices=[prefix + name for name in nearest(key, hints)],
                )
        built = {}
        for name, hint in hints.items():
            key = prefix + name
            if name not in values:
                raise UserError(f"The key '{key}' has no value.", where=file, hint=f"{key}=VALUE")
            if hint is Section:
                section = _section(plain, plain[_CHOICES], name, files[name])
                classes[name] = resolve_target(section, files[name], allow_import)
                check_arguments(section, classes[name], files[name])
                built[name] = section
            elif is_dataclass(hint):
                built[name] = build(hint, values[name], f"{key}.")  # type: ignore[arg-type]
            elif accepts(hint, values[name]):
                built[name] = values[name]
            else:
                raise _ill_typed(key, values[name], hint, file)
        return cls(**built)

    config = build(TrainConfig, plain, "")
    check_limits(config)
    return Composed(config, plain, files, overridden, classes)


def _ill_typed(key: str, value: Any, hint: Any, file: str) -> UserError:
    choices = [str(choice) for choice in get_args(hint) if isinstance(choice, str)]
    if not choices:
        return UserError(
            f"{key} is {value!r}, which is no {_in_words(hint)}.", where=f"{key} in {file}"
        )
    likely = nearest(str(value), choices) or choices
    return UserError(
        f"{key} is {value!r}, which is none of {', '.join(choices)}.",
        where=f"{key} in {file}",
        choices=likely,
        hint=f"{key}={likely[0]}",
    )


def _in_words(hint: Any) -> str:
    names = {"int": "whole number", "float": "number", "bool": "true or false", "str": "text"}
    parts = str(getattr(hint, "__name__", hint)).replace("NoneType", "None").split(" | ")
    return " or ".join(names.get(part, "null" if part == "None" else part) for part in parts)
