"""What is known of a run when it starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gradcli.records.layer_info import LayerInfo
from gradcli.records.loss_levels import UNKNOWN_LEVELS, LossLevels
from gradcli.records.scores import ACCURACY, Metric

#: Data with fewer examples to train and validate on is small: an epoch with the default batch size
#: of 128 has fewer than 80 steps.
SMALL_DATA = 10_000


@dataclass(frozen=True, slots=True)
class DataInfo:
    """Which data a run used.

    The data of the user's own loop are unknown: they are named `own`, and sizes, shape and
    classes are 0.
    """

    name: str
    train: int
    val: int
    test: int
    sha256: str
    shape: tuple[int, ...]
    """The shape of one example, of an image (channels, height, width)."""
    classes: int
    """0 if the targets are not classes."""
    note: str = ""
    """What the user must know about the choice (why the sample is used); usually empty."""
    file: str = ""
    """The Python file of a problem of the user's own; else empty."""
    file_sha256: str = ""
    """A hash of that file, or of the code of a problem that no file has."""

    @property
    def identity(self) -> str:
        """A hash of all that the data, and a model that belongs to them, depend on."""
        return f"{self.sha256}{self.file_sha256}"

    @property
    def is_problem(self) -> bool:
        """Whether it is a problem of the user's own, which brings its model and its loss."""
        return bool(self.file_sha256)

    @property
    def is_small(self) -> bool:
        """Whether an epoch is so short that a comparison needs more of them, as of `mnist5k`.

        The split into training and validation examples does not matter.
        """
        return self.train + self.val < SMALL_DATA


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group of `optimizer.groups`: which parameters it took, and how they are updated."""

    name: str
    optimizer: str
    """The class, as `_target_` names it."""
    keywords: dict[str, Any]
    """The class's keyword arguments that the config sets for the group."""
    learning_rate: float
    """Before the schedule; NaN if the class has none."""
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What is known of a run when it starts: the header of every screen.

    The user's own loop (`GradientMonitor`) does not provide everything. What is not known is
    0 or empty, and NaN for a learning rate.
    """

    run: str
    """The name of the run's directory."""
    name: str
    data: DataInfo
    model: str
    model_size: int
    """The number of trained parameters."""
    optimizer: str
    learning_rate: float
    schedule: str
    clip: str
    activation: str
    device: str
    threads: int
    batch_size: int
    """The examples of an update."""
    epochs: int
    total_steps: int
    start_step: int
    """Steps already done when this process began (0 unless resumed)."""
    layers: tuple[LayerInfo, ...]
    metric: Metric = ACCURACY
    loss: str = "cross_entropy"
    """The name of the loss that is minimised; empty if it is not known."""
    accumulate: int = 1
    """The passes that the batch of an update is divided into."""
    groups: tuple[GroupInfo, ...] = ()
    """Those of `optimizer.groups`, of which the first has the run's learning rate; empty if the
    config has none."""
    levels: LossLevels = UNKNOWN_LEVELS
    """What the loss can be compared with."""
    further_metrics: tuple[Metric, ...] = ()
    """What models are scored by as well: nothing is chosen by these."""
    augment: str = ""
    """The option that changes training images at random; empty without any."""
    input_scaling: str = ""
    """The override that scales the inputs; empty if they are scaled, or if none can."""
    loop_rates: tuple[float, ...] = ()
    """The learning rate of each parameter group of the user's own loop, if they are not the same;
    else empty."""

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The learning rates before the schedule, each once and rising; empty if none is known."""
        of_groups = self.loop_rates or tuple(group.learning_rate for group in self.groups)
        rates = of_groups or (self.learning_rate,)
        return tuple(sorted({rate for rate in rates if not math.isnan(rate)}))

    @property
    def is_own_loop(self) -> bool:
        """Whether the user's own loop trained it (`GradientMonitor`)."""
        return self.total_steps == 0

    @property
    def has_own_model(self) -> bool:
        """Whether the user's own loop or problem makes the model, which no override changes."""
        return self.is_own_loop or self.data.is_problem
