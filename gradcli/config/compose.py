"""From overrides to the typed config of a training run, and back from the file of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from gradcli.config.choices import blaming, chosen_experiment
from gradcli.config.config_files import (
    CHOICES,
    EXPERIMENT_GROUP,
    GROUPS,
    LATER_GROUPS,
    LIST_GROUPS,
    RANGES,
    ConfigFiles,
    shipped_configs,
)
from gradcli.config.data_config import (
    data_section,
    is_shipped,
    shipped_names,
    shipped_target,
    stored_data,
    with_source,
)
from gradcli.config.loading import (
    as_plain,
    compose_with_hydra,
    load_file,
    refuse_literal_interpolations,
    stored_values,
    with_defaults,
    with_values,
)
from gradcli.config.overrides import (
    SettableKeys,
    choice,
    listed_files,
    parse_override,
    refuse_sweep,
)
from gradcli.config.parameter_groups import GROUPS_KEY
from gradcli.config.probe_schedule import check_monitor
from gradcli.config.schema import TrainConfig
from gradcli.config.values import typed
from gradcli.errors import UserError
from gradcli.shorthands import expand_problem, expand_zoo

_CONSTANT = "constant"


@dataclass(frozen=True)
class Composed:
    """A resolved config, typed and as plain data, and where its parts come from.

    `classes` holds the class that each section names: by its group, a recorder's by
    `recorder/OPTION`, and a parameter group's by `optimizer.groups.NAME`. `remarks` are what the
    user should know of it before a training. `ranges` are those in which a search looks, as the
    files of the options give them, by the key that an override sets.
    """

    config: TrainConfig
    plain: dict[str, Any]
    files: dict[str, str]
    overridden: frozenset[str]
    classes: dict[str, type]
    remarks: tuple[str, ...] = ()
    ranges: dict[str, Any] = field(default_factory=dict)

    def yaml(self) -> str:
        """Return the config as YAML that `load_config` reads."""
        return OmegaConf.to_yaml(OmegaConf.create(self.plain))

    def with_data(self, name: str) -> Composed:
        """Return the config with the name of the data that was really used.

        Only a shipped data set can stand in for another; other configs are returned as they are.
        """
        data = self.config.data
        is_own = data.name == "problem"  # which may have the name of a shipped data set
        if is_own or name not in shipped_names() or name == data.name or not is_shipped(data):
            return self
        used = replace(data, name=name, target=shipped_target(name))
        used = with_source(used, file=self.files["data"], allow_import=())
        return replace(
            self,
            config=replace(self.config, data=used),
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
        allow_import: packages that `_target_` may name, apart from torch's and gradcli's.

    Raises:
        UserError: if anything is misspelt, of the wrong type or out of its limits.
    """
    resolved = resolve("train", GROUPS, overrides, ConfigFiles(config_dir), allow_import)
    return typed_train(resolved, allow_import)


@dataclass(frozen=True)
class Resolved:
    """A composed config as plain data, its keys checked but not its values.

    `options` are the options chosen from the groups, `files` is where the parts come from (""
    is the root) and the keys that an experiment sets, `overridden` are the keys that the user has
    set, and `chosen` the groups of which the user or an experiment has named an option. `ranges`
    are those of `Composed`.
    """

    plain: dict[str, Any]
    options: dict[str, str]
    files: dict[str, str]
    overridden: frozenset[str]
    chosen: frozenset[str]
    ranges: dict[str, Any]


def resolve(
    root: str,
    groups: Sequence[str],
    overrides: Sequence[str],
    files: ConfigFiles,
    allow_import: Sequence[str],
) -> Resolved:
    """Compose the config `root`, which takes an option of each of `groups`.

    Classes are imported only if an override names a keyword that the YAML files do not list.

    Raises:
        UserError: if a key or an option is misspelt.
    """
    parsed = [parse_override(override) for override in expand_problem(expand_zoo(overrides))]
    for override in parsed:
        refuse_sweep(override)
    experiment = chosen_experiment(parsed, groups, files)
    values = [one for one in parsed if one.key_or_group not in (*groups, EXPERIMENT_GROUP)]
    chosen: dict[str, str] = {}
    for override in parsed:
        if override.key_or_group in groups:
            chosen[override.key_or_group] = choice(override, files)
    earlier = experiment.overrides(chosen)
    chosen = {**experiment.options, **chosen}
    choices = [f"{group}={option}" for group, option in chosen.items()]
    base = compose_with_hydra(root, choices, files)
    options = {group: base.hydra.runtime.choices[group] for group in groups}
    listed, _ = _without_ranges(_with_data_keys(as_plain(base), options), groups)
    keys = SettableKeys(root, listed, options, files, allow_import)
    with blaming(experiment.file):
        checked = [keys.check(override) for override in earlier]
    checked += [keys.check(override) for override in values]
    if any(override.is_delete() for override in values):
        config = compose_with_hydra(root, [*choices, *checked], files)
    else:
        config = with_values(base, [*earlier, *values])
    plain, ranges = _without_ranges(_with_data_keys(as_plain(config), options), groups)
    shown: dict[str, str] = {}
    for group, key in LIST_GROUPS.items():
        sources = listed_files(group, plain.get(key, []), files)
        plain[key] = {name: load_file(path) for name, path in sources.items()}
        shown |= {f"{group}/{name}": files.display(group, name) for name in sources}
    refuse_literal_interpolations(plain)
    return Resolved(
        plain=plain,
        options=options,
        files={
            "": files.display("", root),
            **keys.files,
            **dict.fromkeys(_keys(earlier) - _keys(values), experiment.file),
            **shown,
        },
        overridden=_keys(values),
        chosen=frozenset(chosen),
        ranges=ranges,
    )


def _keys(overrides: Sequence[Override]) -> frozenset[str]:
    return frozenset(override.key_or_group for override in overrides)


def _without_ranges(
    plain: dict[str, Any], groups: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a config from the ranges of a search, which no class has as an argument."""
    kept, ranges = dict(plain), dict[str, Any]()
    for group in groups:
        section = plain[group]
        if isinstance(section, dict) and RANGES in section:
            if not isinstance(section[RANGES], dict):
                raise UserError(
                    f"'{RANGES}' of {group} is {section[RANGES]!r}; it gives a range for each key.",
                    where=f"{RANGES} in configs/{group}/",
                    hint="search: {lr: {low: 0.001, high: 0.1}}",
                )
            kept[group] = {key: value for key, value in section.items() if key != RANGES}
            ranges |= {f"{group}.{key}": value for key, value in section[RANGES].items()}
    return kept, ranges


def _stored(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a config as it is stored and hashed.

    Without recorders and trackers, with the options of `LATER_GROUPS` and with the usual
    checkpoints, it is the config of a run from before these keys existed.
    """
    options = plain[CHOICES]
    unused = {group for group, option in LATER_GROUPS.items() if options[group] == option}
    unused |= {key for key in (*LIST_GROUPS.values(), "track_layers") if not plain.get(key)}
    checkpoint = plain["checkpoint"]
    if checkpoint.get("keep") == "auto":
        checkpoint = {key: value for key, value in checkpoint.items() if key != "keep"}
    return {
        **{key: value for key, value in plain.items() if key not in unused},
        "checkpoint": checkpoint,
        "data": stored_data(plain["data"]),
        CHOICES: {group: option for group, option in options.items() if group not in unused},
    }


def _with_data_keys(plain: dict[str, Any], options: dict[str, str]) -> dict[str, Any]:
    return {**plain, "data": data_section(plain["data"], options["data"])}


def typed_train(resolved: Resolved, allow_import: Sequence[str]) -> Composed:
    """Check the values of a training run's config, and give them their types.

    Optimizers with weights of their own to evaluate do without a schedule (Defazio et al. 2024,
    arXiv 2405.15682), so one that the user has not asked for is replaced by a constant.

    Raises:
        UserError: if a value has the wrong type or is out of its limits.
    """
    plain = {**resolved.plain, CHOICES: {group: resolved.options[group] for group in GROUPS}}
    files, overridden = resolved.files, resolved.overridden
    composed = _typed(plain, files=files, overridden=overridden, allow_import=allow_import)
    composed = replace(composed, ranges=resolved.ranges)
    schedule = composed.config.schedule.option
    averaging = _averaging(composed.classes)
    if averaging is None or schedule == _CONSTANT:
        return composed
    of_its_own = f"{averaging} averages weights, which stands in for a schedule."
    if "schedule" in resolved.chosen or any(key.startswith("schedule.") for key in overridden):
        kept = f"{of_its_own} schedule={schedule} lowers its learning rate as well."
        return replace(composed, remarks=(kept,))
    constant = load_file(shipped_configs() / "schedule" / f"{_CONSTANT}.yaml")
    constant.pop(RANGES, None)
    plain = {**plain, "schedule": constant, CHOICES: {**plain[CHOICES], "schedule": _CONSTANT}}
    files = {**files, "schedule": f"configs/schedule/{_CONSTANT}.yaml"}
    composed = _typed(plain, files=files, overridden=overridden, allow_import=allow_import)
    composed = replace(composed, ranges=resolved.ranges)
    changed = f"{of_its_own} So schedule={_CONSTANT}; type schedule={schedule} to have both."
    return replace(composed, remarks=(changed,))


def _averaging(classes: Mapping[str, type]) -> str | None:
    """Return the first optimizer class with weights of its own to evaluate; None if none has."""
    from gradcli.optim import has_two_sets

    for key, one in classes.items():
        if key.partition(".")[0] == "optimizer" and has_two_sets(one):
            return one.__name__
    return None


def load_config(text: str, *, where: str, allow_import: Sequence[str] = ()) -> Composed:
    """Read a resolved config back from the YAML that `Composed.yaml` returned.

    A key that did not exist yet when the YAML was written has its default.

    Args:
        text: the YAML.
        where: the file that it comes from, for errors.
        allow_import: packages that `_target_` may name, apart from torch's and gradcli's.

    Raises:
        UserError: if the file was edited and is no longer valid, or holds an interpolation.
    """
    plain = stored_values(text, where=where)
    options = plain.get(CHOICES)
    if not isinstance(options, dict) or set(options) | LATER_GROUPS.keys() != set(GROUPS):
        raise UserError(
            f"'{CHOICES}' must name an option for each of {', '.join(GROUPS)}.", where=where
        )
    return _typed(
        with_defaults(plain),
        files=dict.fromkeys(("", *GROUPS), where),
        overridden=frozenset(),
        allow_import=allow_import,
    )


def changed(
    stored: Composed,
    overrides: Sequence[str],
    *,
    config_dir: Path | None = None,
    allow_import: Sequence[str] = (),
) -> Composed:
    """Return a config with overrides applied to it, and everything else as it is.

    An option chosen anew brings its own keys and takes none of the option before.

    Args:
        stored: what `compose_train` or `load_config` returned.
        overrides: Hydra overrides, `KEY=VALUE`.
        config_dir: the user's own config folder, whose options add to the groups.
        allow_import: packages that `_target_` may name, apart from torch's and gradcli's.

    Raises:
        UserError: if the config does not take one of them.
    """
    parsed = [parse_override(override) for override in overrides]
    keys = [override.key_or_group for override in parsed]
    # Parameter groups are those of the config, which its option need not have.
    of_groups = [
        override
        for override in parsed
        if override.key_or_group.startswith(f"optimizer.{GROUPS_KEY}.") and "optimizer" not in keys
    ]
    overrides = [
        one for one, parts in zip(overrides, parsed, strict=True) if parts not in of_groups
    ]
    keys = [key for key in keys if key not in [one.key_or_group for one in of_groups]]
    whole = with_defaults(stored.plain)
    options = dict(whole[CHOICES])
    # Which keys may be set depends on the options that have them.
    concerned = {key.partition(".")[0] for key in keys if "." in key} & options.keys()
    kept = [f"{group}={options[group]}" for group in sorted(concerned - set(keys))]
    given = resolve("train", GROUPS, [*kept, *overrides], ConfigFiles(config_dir), allow_import)
    plain = {**as_plain(with_values(OmegaConf.create(whole), of_groups)), CHOICES: options}
    for key in keys:
        section, _, name = key.partition(".")
        if section == key:
            plain[key] = given.plain[key]
        elif section not in keys:
            plain[section] = {**plain[section], **_value_at(name, given.plain[section])}
        if key in options:
            options[key] = given.options[key]
    return _typed(
        plain,
        files=given.files,
        overridden=given.overridden,
        allow_import=allow_import,
    )


def _value_at(name: str, section: dict[str, Any]) -> dict[str, Any]:
    """Return the top key of `name`, such as `a` of `a.b`, with its value; empty if deleted."""
    top = name.partition(".")[0]
    return {top: section[top]} if top in section else {}


def _typed(
    plain: dict[str, Any],
    *,
    files: dict[str, str],
    overridden: frozenset[str],
    allow_import: Sequence[str],
) -> Composed:
    """Check every value of a composed training config, and give it its type."""
    config, classes = typed(TrainConfig, plain, files=files, allow_import=allow_import)
    check_monitor(config.monitor, allow_import)
    data = with_source(config.data, file=files["data"], allow_import=allow_import)
    return Composed(replace(config, data=data), _stored(plain), files, overridden, classes)
