"""From overrides to a typed config, by Hydra's compose API. The only user of Hydra.

Every override is checked before Hydra sees it, because Hydra answers a misspelt key with the
advice to add it. A keyword that the class of a section takes may be set without a `+`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from hydra import compose, initialize_config_dir, version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError  # type: ignore[import-untyped]

from gradcli.config.files import GROUPS, ConfigFiles, shipped_configs
from gradcli.config.schema import Section, TrainConfig, check_limits
from gradcli.config.targets import accepts, check_arguments, keywords, resolve_target
from gradcli.errors import UserError, nearest

_CHOICES = "choices"
_Schema = TypeVar("_Schema")


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
    resolved = resolve("train", GROUPS, overrides, ConfigFiles(config_dir), allow_import)
    return typed_train(resolved, allow_import)


@dataclass(frozen=True)
class Resolved:
    """A composed config as plain data, its keys checked but not its values.

    `options` are the chosen options of the groups, `files` where the parts come from ("" for
    the root), `overridden` the keys that the user has set.
    """

    plain: dict[str, Any]
    options: dict[str, str]
    files: dict[str, str]
    overridden: frozenset[str]


def resolve(
    root: str,
    groups: Sequence[str],
    overrides: Sequence[str],
    files: ConfigFiles,
    allow_import: Sequence[str],
) -> Resolved:
    """Compose the config `root`, which takes an option of each of `groups`.

    No class is imported unless an override names a keyword that the YAML files do not list.

    Raises:
        UserError: for a misspelt key or option.
    """
    parsed = [parse_override(override) for override in overrides]
    for override in parsed:
        refuse_sweep(override)
    values = [override for override in parsed if override.key_or_group not in groups]
    chosen: dict[str, str] = {}
    for override in parsed:
        if override.key_or_group in groups:
            chosen[override.key_or_group] = _choice(override, files)
    choices = [f"{group}={option}" for group, option in chosen.items()]
    base = _compose(root, choices, files)
    options = {group: base.hydra.runtime.choices[group] for group in groups}
    keys = _Keys(root, _plain(base), options, files, allow_import)
    checked = [keys.check(override) for override in values]
    return Resolved(
        plain=_plain(_compose(root, [*choices, *checked], files)) if checked else keys.plain,
        options=options,
        files={"": files.display("", root), **keys.files},
        overridden=frozenset(override.key_or_group for override in values),
    )


def typed_train(resolved: Resolved, allow_import: Sequence[str]) -> Composed:
    """Check the values of a training run's config, and give them their types.

    Raises:
        UserError: for a value of a wrong type or out of its limits.
    """
    return _typed(
        {**resolved.plain, _CHOICES: {group: resolved.options[group] for group in GROUPS}},
        files=resolved.files,
        overridden=resolved.overridden,
        allow_import=allow_import,
    )


def load_config(text: str, *, where: str, allow_import: Sequence[str] = ()) -> Composed:
    """Read a resolved config back from the YAML that `Composed.yaml` returned.

    Args:
        text: the YAML.
        where: the file that it comes from, for errors.
        allow_import: packages that `_target_` may name besides the usual ones.

    Raises:
        UserError: for anything in it that a hand has broken.
    """
    try:
        plain = _plain(OmegaConf.create(text))
    except MarkedYAMLError as error:
        raise _yaml_error(error, where) from None
    options = plain.get(_CHOICES)
    if not isinstance(options, dict) or set(options) != set(GROUPS):
        raise UserError(
            f"'{_CHOICES}' must name an option for each of {', '.join(GROUPS)}.", where=where
        )
    return _typed(
        plain,
        files=dict.fromkeys(("", *GROUPS), where),
        overridden=frozenset(),
        allow_import=allow_import,
    )


def parse_override(text: str) -> Override:
    """Parse one override.

    Raises:
        UserError: where it is none, or would configure Hydra.
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
        root: str,
        plain: dict[str, Any],
        options: dict[str, str],
        files: ConfigFiles,
        allow_import: Sequence[str],
    ) -> None:
        self._root, self.plain, self.options = root, plain, options
        self.files = {group: files.display(group, option) for group, option in options.items()}
        self._config_files, self._allow_import = files, allow_import

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
                plain = {group: _plain(OmegaConf.load(path))}
                section = _section(plain, {group: option}, group, str(path))
                target = resolve_target(section, str(path), self._allow_import)
            except (UserError, MarkedYAMLError):
                continue  # an option that cannot be used is no advice
            if name in keywords(target, group):
                takers.append(option)
        return takers


def _compose(root: str, overrides: list[str], files: ConfigFiles) -> DictConfig:
    """Let Hydra compose; any complaint of its own becomes a `UserError`."""
    search = []
    if files.own is not None:
        path = str(files.own.resolve()).replace("'", r"\'")
        search = [f"hydra.searchpath=['file://{path}']"]
    try:
        with _own_hydra():
            return compose(root, [*search, *overrides], return_hydra_config=True)
    except MarkedYAMLError as error:
        raise _yaml_error(error, "the config") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(
            str(error).splitlines()[0], where="the config", hint="gradcli train --show-config"
        ) from None


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Initialise Hydra for us, and leave it to a program that uses it too as it was."""
    hydra, base = GlobalHydra.instance().hydra, version.VersionBase.instance()
    version_base = base.getbase()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(shipped_configs()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = hydra
        base.version_base = version_base


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


def _yaml_error(error: MarkedYAMLError, where: str) -> UserError:
    """Say where a file is no YAML."""
    mark = error.problem_mark
    if mark is not None:
        file = where if mark.name.startswith("<") else mark.name
        where = f"line {mark.line + 1} of {file}"
    return UserError(f"This is no YAML: {error.problem}.", where=where)


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
    """Check every value of a composed training config, and give it its type."""
    config, classes = typed(TrainConfig, plain, files=files, allow_import=allow_import)
    return Composed(config, plain, files, overridden, classes)


def typed(
    schema: type[_Schema],
    plain: dict[str, Any],
    *,
    files: dict[str, str],
    allow_import: Sequence[str],
) -> tuple[_Schema, dict[str, type]]:
    """Check every value of a composed config, and give it its type.

    Returns:
        The config, and the class that each section names.

    Raises:
        UserError: for anything of a wrong type or out of its limits.
    """
    classes: dict[str, type] = {}

    def build(cls: type, values: Any, prefix: str) -> Any:
        file = files[prefix.rstrip(".") if prefix.rstrip(".") in files else ""]
        hints = get_type_hints(cls)
        if not isinstance(values, dict):
            raise UserError(
                f"{prefix.rstrip('.')} is {values!r}, where several keys belong.",
                where=file,
                choices=[prefix + name for name in hints],
                hint=f"{prefix}{next(iter(hints))}=VALUE",
            )
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

    config: _Schema = build(schema, plain, "")
    check_limits(config)
    return config, classes


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
