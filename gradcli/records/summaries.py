"""The result of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gradcli.records.measurements import FaultRecord
from gradcli.records.run_info import GroupInfo, RunInfo
from gradcli.records.scores import ACCURACY, Metric, MetricScores


@dataclass(frozen=True, slots=True)
class Finding:
    """What the diagnosis says of a run."""

    code: str
    severity: Literal["info", "warning", "error"]
    layer: str | None
    evidence: dict[str, float | int | str]
    threshold: str
    """The rule, with its constant."""
    message: str
    """What it means, in a sentence for a student."""
    override: str | None
    """A complete override that can be pasted; None if no override fixes it."""
    mend: str = ""
    """What to change in the code, in a sentence, if no override fixes it."""
    follows_from: str | None = None
    """The code of the finding that explains this one; None for a cause of its own."""
    certainty: float = math.nan
    """The probability, 0 to 1, that a finding of this code is right, as measured on the benchmark's
    trainings; of one that follows from another finding, that finding's. NaN if not measured."""


@dataclass(frozen=True, slots=True)
class NormSummary:
    """A column of norms over the whole run; NaN if no step was made."""

    first: float
    last: float
    mean: float
    max: float


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """One layer over the whole run."""

    name: str
    grad_norm_before_clip: NormSummary
    grad_norm_after_clip: NormSummary
    clipped_fraction: float
    """The fraction of steps in which clipping shrank this layer's gradient."""
    weight_norm: float
    update_ratio: float
    """This and `weight_norm` are the last ones measured; NaN if there are none."""


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """A parameter group over the whole run; what is not known is NaN."""

    info: GroupInfo
    first_learning_rate: float
    last_learning_rate: float
    grad_norm_before_clip: NormSummary


Status = Literal["running", "finished", "diverged", "interrupted", "failed", "lost"]


@dataclass(frozen=True, slots=True)
class ClipOutlook:
    """The global norm before clipping over the recorded steps, and what limits would clip of it.

    Steps whose norm is not finite are left out.
    """

    median: float
    percent_90: float
    """Nine steps of ten are not above it."""
    largest: float
    limits: tuple[float, ...]
    """Two of the series 1, 2, 5, 10, ... below the median, and two above; empty if that is 0."""
    would_clip: tuple[float, ...]
    """The fraction of steps whose norm is above each limit. A training with that limit would have
    taken another path: it says how tight a limit is, not what comes of it."""


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """The result of a run: what `--json`, the closing screen and `runs show` draw from.

    Unknown numbers are NaN: a score that was not measured, the times of a run that was killed
    before it noted any, all times of the user's own loop except for the total.
    """

    info: RunInfo
    path: str
    """The run directory, as the user would type it."""
    status: Status
    epochs: int
    """Epochs completed."""
    steps: int
    train_loss: float
    val_score: float
    test_score: float
    seconds_total: float
    seconds_first_step: float
    """From process start to the end of the first training step."""
    seconds_train: float
    steps_per_second: float
    phases: dict[str, float]
    """The fraction of `seconds_train` that each of `PHASES` took; all 0 if unknown."""
    clipped_fraction: float
    layers: tuple[LayerSummary, ...]
    findings: tuple[Finding, ...]
    fault: FaultRecord | None = None
    notes: tuple[str, ...] = ()
    """What a reader must know first: that damaged rows of the logs were left out, or that the
    metric never had a value."""
    steps_are_damaged: bool = False
    """Whether rows of the log of steps were left out."""
    groups: tuple[GroupSummary, ...] = ()
    """Those of `optimizer.groups`; empty if the config has none."""
    clip_outlook: ClipOutlook | None = None
    """None if no step with a finite norm is on record."""
    further: tuple[MetricScores, ...] = ()
    """The last scores by the further metrics, in the order of `info.further_metrics`."""
    tags: tuple[str, ...] = ()
    """What the user calls the run."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as the list of runs shows it."""

    run: str
    """The name of the run's directory."""
    name: str
    status: Status
    when: str
    """When it began, as text for the user."""
    data: str
    model: str
    optimizer: str
    epochs: int
    test_score: float
    """NaN if there is none."""
    findings: tuple[str, ...]
    """The codes of what the diagnosis found."""
    metric: Metric = ACCURACY
    tags: tuple[str, ...] = ()
    note: str = ""
    further: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """The values of further keys that were asked for; empty where a run has none."""


@dataclass(frozen=True, slots=True)
class PrunedRow:
    """A run or a comparison of which something can be removed, or was."""

    run: str
    """The name of its directory."""
    status: Status
    when: str
    """When it began, as text for the user."""
    size_bytes: int
    """Of what is removed of it."""
    outcome: Literal["announced", "removed", "left"]
    """`left`: it had changed, or was at work, when it was about to be removed."""


@dataclass(frozen=True, slots=True)
class PruningSummary:
    """What `runs prune` removes, and what it leaves alone although the conditions hold for it."""

    what: Literal["runs", "checkpoints"]
    rows: tuple[PrunedRow, ...]
    at_work: tuple[str, ...]
    """The names of those that a process is working on."""
    resumable: tuple[str, ...]
    """The names of those that need their checkpoints to be continued."""

    @property
    def size_bytes(self) -> int:
        """The size of all that was announced."""
        return sum(row.size_bytes for row in self.rows)

    @property
    def freed_bytes(self) -> int:
        """The size of all that was removed."""
        return sum(row.size_bytes for row in self.rows if row.outcome == "removed")
