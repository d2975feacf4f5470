"""From overrides to the config of a comparison, and to the config of each of its arms.

The root of a comparison, `compare.yaml`, has all keys of a training run and some of its own. The
config of an arm is that of a training run, composed from the same overrides with its own last.
"""

from __future__ import annotations

import itertools
import math
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from gradcli.config.compose import (
    Composed,
    Resolved,
    resolve,
    typed_train,
)
from gradcli.config.config_files import (
    CHOICES,
    COMPARISON_GROUPS,
    EXPERIMENT_GROUP,
    GROUPS,
    ConfigFiles,
)
from gradcli.config.data_config import with_source
from gradcli.config.loading import load_file
from gradcli.config.overrides import SHOW_CONFIG, parse_override, unknown_option
from gradcli.config.schema import CompareConfig, DataConfig, TrainConfig
from gradcli.config.search_checks import check_search
from gradcli.config.targets import configured_rate, members_of
from gradcli.config.values import typed
from gradcli.errors import UserError, nearest
from gradcli.records import DataInfo

_TRAIN_KEYS = {field.name for field in fields(TrainConfig)}
_OWN_KEYS = {field.name for field in fields(CompareConfig)} - _TRAIN_KEYS
# What all arms must share, and what the protocol decides.
_NOT_VARIED = _OWN_KEYS | {"data", "seed", "name", "optimizer", EXPERIMENT_GROUP}


@dataclass(frozen=True)
class ComposedArm:
    """One way to train: its unique name, and the config that its trials begin with."""

    name: str
    optimizer: str
    overrides: tuple[str, ...]
    """What distinguishes the arm apart from its optimizer."""
    composed: Composed
    learning_rate: float | None
    """The configured one; None if the optimizer takes no `lr`."""


@dataclass(frozen=True)
class ComposedComparison:
    """A comparison's own config; `arms` composes those of its arms once the data is known."""

    config: CompareConfig
    protocol: str
    """The option of `configs/protocol/`."""
    engine: str
    """The option of `configs/engine/`."""
    engine_class: type
    device: str
    """Where trials train: `auto`, or a kind of device. An arm may have another."""
    search_class: type
    chooses_search: bool
    """Whether the user has chosen how to search: without keys, the learning rate is searched."""
    overrides: tuple[str, ...]
    """Those of a training run's keys."""
    variations: tuple[tuple[str, ...], ...]
    """The overrides of each arm of an optimizer: one empty tuple if nothing is varied."""
    files: ConfigFiles
    allow_import: tuple[str, ...]
    data_file: str
    """The file of the data set's option, for errors."""

    @property
    def searched(self) -> tuple[str, ...]:
        """The keys of a search, each perhaps with a range, `KEY=LOW..HIGH`; empty without one."""
        return tuple(self.config.search_keys) or (("lr",) if self.chooses_search else ())

    def data(self) -> DataConfig:
        """Return the config of the data with its class imported, which imports torch.

        Raises:
            UserError: if the class cannot be used.
        """
        return with_source(self.config.data, file=self.data_file, allow_import=self.allow_import)

    def epochs(self, data: DataInfo) -> int:
        """Return the length of a trial on a data set."""
        if self.config.epochs is not None:
            return self.config.epochs
        protocol = self.config.protocol
        return protocol.epochs_of_sample if data.is_small else protocol.epochs

    def arms(self, data: DataInfo) -> tuple[ComposedArm, ...]:
        """Compose the arms, each optimizer in each variation, for a data set.

        Raises:
            UserError: if one of the arms could not be trained with its config.
        """
        optimizers, variations = self.config.optimizers, self.variations
        arms = [self._arm(*arm, data) for arm in itertools.product(optimizers, variations)]
        return tuple(map(replace_name, arms, _unique([arm.name for arm in arms])))

    def _arm(self, optimizer: str, variation: tuple[str, ...], data: DataInfo) -> ComposedArm:
        shared = [*self.overrides, f"optimizer={optimizer}", f"epochs={self.epochs(data)}"]
        try:
            composed = self._train([*shared, *variation])
        except UserError:
            for word in variation:
                self._check_variation(shared, word)
            raise
        composed = composed.with_data(data.name)
        name = " ".join([optimizer, *variation])
        rate = configured_rate(composed.classes["optimizer"], composed.config.optimizer.arguments)
        return ComposedArm(name, optimizer, variation, composed, rate)

    def _train(self, overrides: Sequence[str]) -> Composed:
        """Compose a training run from the overrides of an arm."""
        resolved = _resolve(overrides, self.files, self.allow_import)
        plain = {key: value for key, value in resolved.plain.items() if key in _TRAIN_KEYS}
        plain["name"] = None
        return typed_train(replace(resolved, plain=plain), self.allow_import)

    def _check_variation(self, shared: Sequence[str], word: str) -> None:
        """Compose an arm that has only `word` of its variation.

        Raises:
            UserError: with the `--vary` to type instead if `word` is wrong; the mistake itself if
                it is in what all arms share.
        """
        self._train(shared)
        try:
            self._train([*shared, word])
        except UserError as error:
            key = word.partition("=")[0]
            words = [one for arm in self.variations for one in arm if one.startswith(f"{key}=")]
            raise _in_vary(error, word, list(dict.fromkeys(words)), self.config) from None


def compose_comparison(
    overrides: Sequence[str] = (),
    vary: Sequence[str] = (),
    *,
    config_dir: Path | None = None,
    allow_import: Sequence[str] = (),
) -> ComposedComparison:
    """Compose the config of a comparison.

    This does not import torch, so it can run while a worker loads it.

    Args:
        overrides: Hydra overrides, `KEY=VALUE`: of the comparison's own keys, and of those of a
            training run, which then hold for every trial.
        vary: overrides with several values, `KEY=VALUE,VALUE`; each is crossed with the others
            and with the optimizers.
        config_dir: the user's own config folder, whose options add to the groups.
        allow_import: packages that `_target_` may name in addition to the usual ones.

    Raises:
        UserError: for anything misspelt, of a wrong type or out of its limits.
    """
    files = ConfigFiles(config_dir)
    overrides = _jobs_as_workers(overrides, files)
    shared = [word for word in overrides if not _of_one_optimizer(word)]
    resolved = _resolve(shared, files, allow_import)
    plain = {field.name: resolved.plain.get(field.name) for field in fields(CompareConfig)}
    config, classes = typed(
        CompareConfig,
        {**plain, CHOICES: resolved.options},
        files=resolved.files,
        allow_import=allow_import,
    )
    _check(config, files)
    varied = [_values(word, files) for word in vary]
    composed = ComposedComparison(
        config=config,
        protocol=resolved.options["protocol"],
        engine=resolved.options["engine"],
        engine_class=classes["engine"],
        device=str(resolved.plain["device"]),
        search_class=classes["search"],
        chooses_search="search" in resolved.chosen,
        overrides=tuple(word for word in overrides if not _is_own(word)),
        variations=tuple(itertools.product(*varied)),
        files=files,
        allow_import=tuple(allow_import),
        data_file=resolved.files["data"],
    )
    _refuse_ambiguous_rates(config, composed.searched, [*overrides, *vary])
    check_search(config, composed.searched, [*overrides, *vary], files)
    return composed


def replace_name(arm: ComposedArm, name: str) -> ComposedArm:
    """Return the arm under another name."""
    return replace(arm, name=name)


def _resolve(overrides: Sequence[str], files: ConfigFiles, allow_import: Sequence[str]) -> Resolved:
    return resolve("compare", (*GROUPS, *COMPARISON_GROUPS), overrides, files, allow_import)


def _jobs_as_workers(overrides: Sequence[str], files: ConfigFiles) -> list[str]:
    """Let `engine.jobs`, which --jobs sets, mean `workers` to an engine that has those instead."""
    chosen = [word.partition("=")[2] for word in overrides if word.startswith("engine=")]
    if chosen and chosen[-1] in files.options("engine"):
        keys = load_file(files.path("engine", chosen[-1]))
        if "workers" in keys and "jobs" not in keys:
            return [re.sub(r"^\+*engine\.jobs=", "engine.workers=", word) for word in overrides]
    return list(overrides)


def _is_own(word: str) -> bool:
    return parse_override(word).key_or_group.partition(".")[0] in _OWN_KEYS


def _of_one_optimizer(word: str) -> bool:
    """Whether an override sets a key of the optimizer, which the arms differ in.

    Raises:
        UserError: if it chooses the optimizer.
    """
    key = parse_override(word).key_or_group
    if key == "optimizer":
        raise UserError(
            f"'{word}' chooses one optimizer, but a comparison needs several.",
            where="optimizer",
            hint=f"--optimizers {_with_another(word.partition('=')[2])}",
        )
    return key.startswith("optimizer.")


def _with_another(optimizer: str) -> str:
    """Return a list of an optimizer and another one: those that users know first."""
    return "sgd,adam" if optimizer in ("", "sgd", "adam") else f"sgd,{optimizer}"


def _check(config: CompareConfig, files: ConfigFiles) -> None:
    """Check what the types alone do not.

    Raises:
        UserError: for an unknown optimizer, or numbers that cannot be used.
    """
    options = files.options("optimizer")
    if not config.optimizers:
        raise UserError(
            "No optimizer is named, so there is nothing to compare.",
            where="optimizers",
            choices=options,
        )
    for name in config.optimizers:
        if name not in options:
            unknown = unknown_option("optimizer", name, options)
            likely = (unknown.hint or "").removeprefix("optimizer=")
            corrected = [likely if one == name else one for one in config.optimizers]
            raise UserError(
                unknown.problem,
                where="--optimizers",
                choices=unknown.choices,
                hint=f"--optimizers {','.join(corrected)}" if likely in options else unknown.hint,
            )
    lrs = config.lrs
    is_grid = isinstance(lrs, list) and lrs and all(0 < rate < math.inf for rate in lrs)
    if lrs != "auto" and not is_grid:
        raise UserError(
            f"lrs is {lrs!r}; it must be auto, or a list of finite numbers above 0.",
            where="--lrs",
            hint="--lrs auto, or --lrs 0.001,0.01,0.1",
        )
    for key in ("jobs", "workers"):
        jobs = config.engine.arguments.get(key)
        if jobs is not None and not jobs >= 1:
            raise UserError(
                f"engine.{key} is {jobs}; it must be 1 or more.", where="--jobs", hint="--jobs 1"
            )
    if not all(0 < rung < 1 for rung in config.protocol.rungs):
        raise UserError(
            f"protocol.rungs is {config.protocol.rungs}; each must be between 0 and 1, a fraction "
            "of a trial.",
            where="protocol.rungs",
            hint="protocol.rungs=[0.25,0.5]",
        )
    if config.protocol.tune and config.data.val == 0:
        raise UserError(
            "Learning rates are chosen on the validation split, and data.val=0 leaves it empty.",
            where="data.val",
            hint="data.val=null for the usual split, or protocol.tune=false",
        )


def _values(word: str, files: ConfigFiles) -> list[str]:
    """Return an override for each value of `KEY=V1,V2`.

    Raises:
        UserError: for a word without values, or a key that the arms of a comparison must share.
    """
    if "=" not in word:
        problem = f"'{word}' names no values; --vary takes a key and its values, KEY=A,B."
        likely = nearest(word, (group for group in GROUPS if group not in _NOT_VARIED))
        if not likely:
            raise _no_such_key(problem, word, ())
        options = ",".join(files.options(likely[0])[:2])
        raise UserError(
            problem, where="--vary", choices=likely, hint=f"--vary {likely[0]}={options}"
        )
    override = parse_override(word)
    key = override.key_or_group
    if key.partition(".")[0] in _NOT_VARIED and not key.startswith("optimizer."):
        instead = {"optimizer": "--optimizers sgd,adam", "seed": f"--seeds {word.count(',') + 1}"}
        raise UserError(
            f"'{key}' cannot be varied: it is the same for all arms, or set by the protocol.",
            where="--vary",
            hint=instead.get(key),
        )
    if not override.is_sweep_override():
        return [word]
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _in_vary(error: UserError, word: str, words: Sequence[str], config: CompareConfig) -> UserError:
    """Return the error for an override in `--vary`, with the whole `--vary` to type instead.

    Args:
        error: what composing an arm said of the override.
        word: the override.
        words: those of all values of its key.
        config: of the comparison.
    """
    try_instead = (error.hint or "").split(" ")
    if error.hint == SHOW_CONFIG:
        return _no_such_key(error.problem, word, error.choices)
    if not all(re.match(r"[\w.]+=", one) for one in try_instead):
        return UserError(
            error.problem, where=f"--vary {word}", choices=error.choices, hint=error.hint
        )
    *others, better = try_instead
    key, _, value = better.partition("=")
    values = [one.partition("=")[2] for one in words]
    if key == word.partition("=")[0].lstrip("+"):
        values = [value if one == word else was for one, was in zip(words, values, strict=True)]
    listed = ",".join(dict.fromkeys(values))
    if key == "optimizer.lr" and config.protocol.tune:
        hint = f"--lrs {listed}"
    else:
        others = [re.sub("^optimizer=", "--optimizers ", one) for one in others]
        hint = " ".join([*others, "--vary", shlex.quote(f"{key}={listed}")])
    return UserError(error.problem, where=f"--vary {word}", choices=error.choices, hint=hint)


def _no_such_key(problem: str, word: str, choices: Sequence[str]) -> UserError:
    """Return the error for a `--vary` that no key is near to."""
    often = [group for group in GROUPS if group not in _NOT_VARIED]
    return UserError(
        problem, where=f"--vary {word}", choices=choices or often, hint="--vary clip=none,norm"
    )


def _refuse_ambiguous_rates(
    config: CompareConfig, searched: Sequence[str], arguments: Sequence[str]
) -> None:
    """Refuse a fixed learning rate if one is searched for on a grid."""
    fixed = [word for word in arguments if word.partition("=")[0] == "optimizer.lr"]
    if fixed and config.protocol.tune and not searched:
        value = fixed[0].partition("=")[2]
        raise UserError(
            f"'{fixed[0]}' sets the learning rate, but the protocol chooses it by tuning.",
            where="optimizer.lr",
            hint=f"--lrs {value}, or protocol.tune=false",
        )


def _unique(names: list[str]) -> list[str]:
    """Number the second and later uses of a name: `adam`, `adam#2`."""
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return unique


def add_allowed_columns(allow_import: Sequence[str]) -> None:
    """Add the `COLUMNS` of the packages that the user allows by name.

    The process that shows a comparison imports these packages, so one that has columns should not
    import torch at its top level.

    Raises:
        UserError: if a package cannot be imported, its `COLUMNS` are not columns, or a key is
            taken.
    """
    # Here, because a training run composes its config too and has no use for SciPy.
    from gradcli.comparison.columns import ReportedColumn, add_column

    for column in members_of(allow_import, "COLUMNS", ReportedColumn):
        add_column(column)
