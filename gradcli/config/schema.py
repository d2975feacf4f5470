"""The typed config: what a resolved config holds, and the limits of its values.

Plain dataclasses; nothing here knows Hydra. A test fails for a key that nothing reads.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from gradcli.errors import UserError
from gradcli.system.resources import cores
from gradcli.system.windows import NOT_IN_NAMES

#: The largest whole number in a config: 64 bits, as in the files of a run and in torch.
MOST = 2**63 - 1
#: More threads than any machine has cores. OpenMP dies if the system refuses it a thread.
MOST_THREADS = 1024
_THREADS = {"least": 1, "most": MOST_THREADS, "proposed": min(cores(), MOST_THREADS)}
#: File systems take 255 for a folder's name; the time and the digits in a run's take 25 of them.
_LONGEST_NAME_BYTES = 200


@dataclass(frozen=True)
class Section:
    """A part of the config that names a class and its keyword arguments.

    `option` is the file chosen from the group: `adam` for `configs/optimizer/adam.yaml`.
    """

    group: str
    option: str
    target: str
    arguments: dict[str, Any]
    parameter_groups: tuple[ParameterGroupConfig, ...] = ()
    """Those of `optimizer.groups`, in their order."""
    inside: str = ""
    """The key of the part that holds it, if that is not its group: `optimizer.groups.rest`."""

    @property
    def key(self) -> str:
        """The key under which an override sets its arguments."""
        return self.inside or self.group


@dataclass(frozen=True)
class ParameterGroupConfig:
    """A group of `optimizer.groups`: which parameters it takes, and how they are updated."""

    name: str
    rule: dict[str, list[int | str]]
    """What a parameter must be; empty for all that is left."""
    own: dict[str, Any]
    """The keyword arguments that the group itself has."""
    has_own_class: bool
    section: Section
    """The class and the arguments that hold for the group: without a class of its own, also those
    of the optimizer around it."""


@dataclass(frozen=True)
class DataConfig:
    """Which data, how it is split and how it is scaled."""

    name: str
    val: int | None = field(metadata={"least": 0})
    folder: str | None
    normalize: Literal["mean_std", "0-1", "none"]
    drop_last: bool
    target: str
    """The class that loads it, a `gradcli.data.DataSource`."""
    arguments: dict[str, Any] = field(hash=False)
    """The class's own keyword arguments."""
    source: type | None = field(default=None, compare=False)
    """The class itself, once it is imported: see `config.data_config.with_source`."""


@dataclass(frozen=True)
class MonitorConfig:
    """What is recorded, and how often."""

    every_step: int = field(metadata={"least": 0})
    every: int = field(metadata={"least": 0})
    probes: list[str]
    probes_at: list[str | int]


@dataclass(frozen=True)
class CheckpointConfig:
    """How often checkpoints are saved, in addition to each epoch, and which stay at the end."""

    seconds: float = field(metadata={"least": 0.0})
    keep: Literal["auto", "all", "last", "none"]
    """What stays once the training has ended. `auto`: all of a run; of the trials of a comparison
    the last of one, the best."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training run depends on, and who receives its records."""

    data: DataConfig
    augment: Section
    model: Section
    activation: Section
    init: Section
    optimizer: Section
    schedule: Section
    clip: Section
    name: str | None = field(metadata={"names_folder": True})
    epochs: int = field(metadata={"least": 1})
    max_steps: int | None = field(metadata={"least": 1})
    batch_size: int = field(metadata={"least": 1})
    seed: int = field(metadata={"least": 0})
    device: Literal["auto", "cpu", "cuda", "mps"]
    threads: int | None = field(metadata=_THREADS)
    precision: Literal["float32", "bfloat16", "float16"]
    accumulate: int = field(metadata={"least": 1})
    activation_checkpointing: bool
    compile: bool
    decay_biases_and_norms: bool
    monitor: MonitorConfig
    checkpoint: CheckpointConfig
    recorders: tuple[Section, ...] = ()
    track: tuple[Section, ...] = ()
    track_layers: bool = False

    @property
    def update_batch_size(self) -> int:
        """The examples of an update."""
        return self.batch_size * self.accumulate


@dataclass(frozen=True)
class ProtocolConfig:
    """How a comparison chooses learning rates, or settings of a search, and measures them."""

    tune: bool
    learning_rates: int = field(metadata={"least": 1})
    per_decade: int = field(metadata={"least": 1})
    tuning_seeds: int = field(metadata={"least": 1})
    seeds: int = field(metadata={"least": 1})
    widenings: int = field(metadata={"least": 0})
    widen_by: int = field(metadata={"least": 1})
    halving: bool
    rungs: list[float]
    epochs: int = field(metadata={"least": 1})
    epochs_of_sample: int = field(metadata={"least": 1})
    target: float | None = field(metadata={"least": 0.0})
    search_settings: int = field(metadata={"least": 2})
    search_batch: int = field(metadata={"least": 1})


@dataclass(frozen=True)
class CompareConfig:
    """What a comparison depends on, apart from the configs of its arms."""

    data: DataConfig
    protocol: ProtocolConfig
    engine: Section
    search: Section
    search_keys: list[str]
    optimizers: list[str]
    lrs: str | list[float]
    epochs: int | None = field(metadata={"least": 1})
    seed: int = field(metadata={"least": 0})
    threads: int = field(metadata=_THREADS)
    name: str | None = field(metadata={"names_folder": True})


@dataclass(frozen=True)
class InspectConfig:
    """How an inspection looks at a model. The config of a fresh model is a separate one."""

    probes: list[str]
    check: bool
    examples: int = field(metadata={"least": 1})


def check_limits(config: Any, prefix: str = "") -> None:
    """Check every number of a config dataclass against its field's `least` and `most`, and names.

    Raises:
        UserError: for the first number that is outside them or NaN, and for a name that no folder
            can have.
    """
    for item in fields(config):
        value, key = getattr(config, item.name), prefix + item.name
        if hasattr(value, "__dataclass_fields__") and not isinstance(value, Section):
            check_limits(value, key + ".")
        if "least" in item.metadata and value is not None:
            limits = item.metadata
            most, proposed = limits.get("most", MOST), limits.get("proposed")
            _check_limit(key, value, limits["least"], most, proposed)
        if "names_folder" in item.metadata and value is not None:
            _check_name(key, value)


def _check_limit(key: str, value: float, least: float, most: float, proposed: float | None) -> None:
    """Check one number. The default of `most` is so large that only its breach mentions it."""
    if value > most and isinstance(value, int):
        raise UserError(
            f"{key} is {value:,}; it must be from {least:,} to {most:,}.",
            where=key,
            hint=f"{key}={proposed or (most if most < MOST else least or 1)}",
        )
    if not value >= least:
        raise UserError(
            f"{key} is {value}; it must be {least} or more.", where=key, hint=f"{key}={least}"
        )


def _check_name(key: str, name: str) -> None:
    """Check the name that becomes part of a folder's, inside the runs directory."""
    plain = re.split(f"[{re.escape(NOT_IN_NAMES)}]", name)[-1]
    if plain != name:
        kept_out = "neither a slash nor a null" if NOT_IN_NAMES == "/\0" else 'none of <>:/\\|?*"'
        raise UserError(
            f"{key} is '{name}'; it names a folder, so it holds {kept_out}.",
            where="--name",
            hint=shlex.join(["--name", plain or "mine"]),
        )
    if len(name.encode("utf-8", "surrogateescape")) > _LONGEST_NAME_BYTES:
        raise UserError(
            f"{key} has {len(name)} characters; it names a folder, so it may have "
            f"{_LONGEST_NAME_BYTES} bytes.",
            where="--name",
            hint="--name with fewer characters",
        )
