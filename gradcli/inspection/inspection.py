"""An inspection as plain values: what screens, pictures and JSON are drawn from.

Nothing here measures or judges, and nothing knows torch: `assemble` fills these in, the views
draw them. A number that was not measured is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from gradcli.diagnosis.loss_trend import Convergence
from gradcli.probes.measuring.slope import LogSlope
from gradcli.probes.probe import FAILED, Probe, Result
from gradcli.records import Finding, Floats, Integers, ProbeRecord, Status

if TYPE_CHECKING:
    from gradcli.inspection.advice_trial import AdviceTrial
    from gradcli.probes.measuring.activations import Moments

Kind = Literal["run", "checkpoint", "fresh"]
"""From records alone; from records and the last checkpoint; from a model not yet trained."""

EventKind = Literal["spike", "non-finite", "lr-change"]

__all__ = [
    "NOT_TESTED",
    "UNKNOWN_TREND",
    "Convergence",
    "Event",
    "EventKind",
    "Inspection",
    "Kind",
    "LayerReport",
    "NormHistory",
    "ProbeCost",
    "ProbeResults",
    "SideBySide",
    "Trend",
]

#: The verdict if no rule could be applied, as before the first step.
NOT_TESTED = "not-tested"


@dataclass(frozen=True, slots=True)
class Trend:
    """How a norm changed over a run."""

    first: float
    """The median over the first tenth of the steps."""
    last: float
    """The median over the last tenth of the steps."""
    slope: float
    """Powers of ten over the whole run, by a straight line through log10 of the norm."""


UNKNOWN_TREND = Trend(math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer. Gradients are those of the mean loss."""

    name: str
    kind: str
    depth: int
    shape: tuple[int, ...]
    weight_grad_norm: float
    """Of a run, the median over the last tenth of its steps, before clipping. Of a model, over the
    examples it was probed with."""
    input_grad_norm: float
    """The norm of the gradient w.r.t. the layer's input."""
    weight_rms: float
    """The root mean square of the layer's weights."""
    update_ratio: float
    """||new - old|| / ||old||: of a run, the median over its measured steps; of a fresh model,
    that of its first update."""
    dead_fraction: float
    """The share of units that were zero for every example probed."""
    saturated_fraction: float
    """The share of activations whose derivative is below a twentieth of its largest; NaN unless
    the activation is flat at both ends."""
    output: Moments | None = None
    """Of the layer's output, before its activation."""
    activation: Moments | None = None
    """Of the output of the activation that follows."""
    output_grad: Moments | None = None
    """Of the gradient w.r.t. the layer's output."""
    weight_std_over_lecun: float = math.nan
    """The weights' standard deviation times sqrt(fan_in): 1 keeps the size of a linear signal."""
    before_clip: Trend = UNKNOWN_TREND
    after_clip: Trend = UNKNOWN_TREND
    clipped_fraction: float = math.nan
    """The share of steps in which clipping made this layer's gradient smaller."""


@dataclass(frozen=True, slots=True)
class NormHistory:
    """Gradient norms over time, in t bins of consecutive steps: what a heat map shows.

    Each value is a median over the steps of its bin, so that one outlier does not set it.
    """

    first_step: Integers
    """The first step of each bin, (t,)."""
    last_step: Integers
    """The last step of each bin, (t,)."""
    log10_norm: Floats
    """Before clipping, one row per layer in the order of `Inspection.layers`, (L, t); -inf if the
    gradient was exactly zero, NaN if it was not finite."""
    log10_total_norm: Floats
    """Of all layers together, (t,)."""
    loss: Floats
    """(t,)"""
    learning_rate: Floats
    """(t,)"""
    clipped_fraction: Floats
    """The share of steps whose norm was clipped, (t,)."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at one step."""

    step: int
    kind: EventKind
    layer: str | None
    value: float
    """spike: the norm as a multiple of the median before it. lr-change: the new learning rate
    as a multiple of the old. non-finite: the loss."""


@dataclass(frozen=True, slots=True)
class ProbeCost:
    """What a probe cost."""

    seconds: float
    passes: float
    """In forward-backward passes of one training batch."""


@dataclass(frozen=True, slots=True)
class ProbeResults:
    """What the probes found, by probe. Those that were neither asked for nor run are absent."""

    found: dict[str, Any] = field(default_factory=dict)
    """The results."""
    costs: dict[str, ProbeCost] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    """Why the others have no result: they do not apply to the model, or they failed."""

    def of(self, probe: Probe[Result]) -> Result | None:
        """Return what a probe found; None if it was not run, or has no result."""
        return self.found.get(probe.name)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found of one run, checkpoint or fresh model."""

    target: str
    """What was inspected, as the user would type it: a run directory, or overrides."""
    kind: Kind
    label: str
    """What distinguishes it from those next to it; empty if there are none."""
    model: str
    activation: str
    optimizer: str
    learning_rate: float
    """Of the first parameter group, before the schedule; NaN if it is not known."""
    learning_rates: tuple[float, ...]
    """Of all groups, each once and rising; empty if none is known."""
    clip: str
    data: str
    batch_size: int
    status: Status | None
    """The run's; None for a fresh model."""
    step: int
    """The updates made so far: 0 for a fresh model."""
    verdict: str
    """The code of the worst finding; `healthy` only if that was tested; otherwise `not-tested`."""
    tested: tuple[str, ...]
    """The codes of the rules that could be applied."""
    not_tested: dict[str, str]
    """The codes of the others, each with what it takes to test it."""
    notes: tuple[str, ...]
    """What a reader must know first: that the run is lost, still going, or made no step."""
    loss: float
    """Of a run, the last loss of the history; of a model, that of the probed examples."""
    examples: int
    """How many examples the model was probed with; 0 if it was not."""
    layers: tuple[LayerReport, ...]
    depth_slope: LogSlope
    """Of the norm of the gradient w.r.t. the weights, along the layers with a matrix: powers of
    ten per layer; positive if it vanishes on its way back to the input."""
    input_depth_slope: LogSlope
    """The same of the gradient w.r.t. the layers' inputs."""
    history: NormHistory | None
    """None if no step was logged, and for a fresh model."""
    convergence: Convergence | None
    events: tuple[Event, ...]
    """The first ones, in order; `event_counts` has them all."""
    event_counts: dict[EventKind, int]
    clipped_fraction: float
    """The share of steps whose global norm was clipped."""
    probes: ProbeResults
    findings: tuple[Finding, ...]
    probe_history: tuple[ProbeRecord, ...] = ()
    """What a run's own probes found while it trained."""
    is_own_loop: bool = False
    """Whether the run was trained in the user's own loop, which gradcli cannot repeat."""
    has_weights: bool = True
    """Whether there are weights to probe; those of a run may not have been kept."""
    path_arguments: tuple[str, ...] = ()
    """The options that say where things are, for commands that continue from here."""
    trial: AdviceTrial | None = None
    """What came of trying the advice; None if that was not asked for."""

    def failed_probes(self) -> frozenset[str]:
        """Return the probes whose own code failed just now, not earlier in the run."""
        reasons = self.probes.refused.items()
        return frozenset(name for name, reason in reasons if reason.startswith(FAILED))


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Several inspections side by side: `--vary`, or the arms of a comparison."""

    target: str
    kind: Literal["variants", "comparison"]
    inspections: tuple[Inspection, ...]
    """Each has its own `label`."""
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    """What to type first: how to get the weights of those that were to be probed and have none."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Those of all inspections."""
        return tuple(finding for one in self.inspections for finding in one.findings)

    def failed_probes(self) -> frozenset[str]:
        """Return the probes whose own code failed in any of the inspections."""
        return frozenset().union(*(one.failed_probes() for one in self.inspections))
