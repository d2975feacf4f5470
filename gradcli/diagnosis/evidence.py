"""What the rules look at: a run's records and a model's probes, in one form."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gradcli.diagnosis.limits import (
    SILENT_STEPS,
)
from gradcli.diagnosis.loss_trend import (
    Convergence,
    RateChange,
    Spike,
)
from gradcli.records import (
    Doubles,
    EvalRecord,
    FaultRecord,
    Floats,
    Integers,
    LayerInfo,
    RunInfo,
    SetupRecord,
)

# Layers whose matrix multiplies a signal; of a lookup table, no scale is the right one.
_MULTIPLYING = ("Linear", "Conv", "LazyLinear", "LazyConv", "NonDynamicallyQuantizableLinear")


@dataclass(frozen=True, slots=True)
class ThroughTime:
    """How much of the gradient arrives at each time step of a recurrent layer."""

    layer: str
    norms: Floats
    """||dL/dh_t||, (T,)."""
    gated: bool
    """Whether the cell has gates that can learn to keep a state (GRU, LSTM)."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What only probes of the model see. Arrays have one value per layer of the evidence, (L,)."""

    dead_fraction: Floats
    """The share of units that were zero for every example; NaN without an activation."""
    saturated_fraction: Floats
    """NaN unless the activation is flat at both ends."""
    frozen: tuple[bool, ...]
    through_time: tuple[ThroughTime, ...] | None = None
    noise_scale: tuple[float, float, float] | None = None
    """The estimate and its interval, in examples."""
    wrong_gradients: tuple[tuple[str, float], ...] | None = None
    """The modules whose derivative differs from finite differences, with the relative error."""


@dataclass(frozen=True)
class Evidence:
    """What is known about n sampled steps and m probed ones, for the L layers that have a matrix.

    A fresh model counts as a run of one step without an update.
    """

    info: RunInfo
    layers: tuple[LayerInfo, ...]
    """Those with a matrix, in the order in which the forward pass calls them if that was seen:
    the scales of norm layers are not a measure of depth."""
    norms: Floats
    """Gradient norms before clipping, (n, L)."""
    weights: Floats
    """Weight norms, (L,); NaN if none was measured."""
    update_ratios: Floats
    """At the probed steps, (m, L)."""
    input_norms: Floats
    """Norms of the gradient w.r.t. the layers' inputs at the probed steps, (m, L)."""
    losses: Floats
    """(n,)"""
    clip_coefficients: Floats
    """(n,)"""
    steps: int
    """How many steps there are, sampled or not."""
    convergence: Convergence
    spikes: tuple[Spike, ...]
    rate_changes: tuple[RateChange, ...]
    evals: tuple[EvalRecord, ...]
    fault: FaultRecord | None
    probed: Probed | None = None
    setup: SetupRecord | None = None
    first_setup: SetupRecord | None = None
    """As `setup`, but observed at the first step: before anything has gone wrong."""
    processes: int = 1
    """How many processes trained, each on its part of a batch; `setup` is of one of them."""
    order: tuple[int, ...] = ()
    """For each of `layers`, its place among those with a matrix as registered; empty if these
    orders are the same."""
    record_steps: Integers = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """The steps of `update_ratios`, (m,)."""
    weight_norms: Floats = field(default_factory=lambda: np.empty((0, 0)))
    """The weight norms before each of these steps, (m, L)."""
    last_step: int = 0
    """The last step on record."""
    first_learning_rate: float = math.nan
    """The largest learning rate of the first steps."""
    rate_of_first_update: float = math.nan
    """The learning rate of the first step on record."""
    rate_gone_since: int = 0
    """The step from which the learning rate is less than a thousandth of its largest value, to the
    end; 0 if there is none."""
    still_elsewhere: tuple[str, ...] = ()
    """The layers without a matrix, such as norm layers, that get a gradient, but whose weights had
    the same norm whenever it was measured."""
    gone_before_update: tuple[bool, ...] = ()
    """Which layers have a gradient after the backward pass, but none, or 0, in every update."""
    silent_since: Integers = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """The step from which each layer's gradient is exactly zero to the end, (L,); 0 if none."""
    sampled_steps: Integers = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """The steps of `losses` and `norms`, (n,)."""
    learning_rates: Doubles = field(default_factory=lambda: np.empty(0))
    """(n,)"""
    setups: tuple[SetupRecord, ...] = ()
    """All of the course, `first_setup` and `setup` among them."""
    is_whole: bool = True
    """Whether all that was written of the steps can be read: a damaged log is not."""
    calls_since_update: int = 0
    """How often an own loop has reported a loss since its optimizer's last update."""
    calls_per_update: int = 1
    """The largest such number before an update: above 1 if parts of an accumulation report."""

    def with_probed(self, probed: Probed | None) -> Evidence:
        """Add what was probed, given in the order in which the layers were registered."""
        if probed is None or not self.order:
            return replace(self, probed=probed)
        order = list(self.order)
        return replace(
            self,
            probed=replace(
                probed,
                dead_fraction=probed.dead_fraction[order],
                saturated_fraction=probed.saturated_fraction[order],
                frozen=tuple(probed.frozen[index] for index in order),
            ),
        )

    @property
    def relative_norms(self) -> NDArray[np.float64]:
        """The median over the steps of ||gradient|| / ||weights||, (L,)."""
        return np.median(self.norms, axis=0) / np.where(self.weights > 0, self.weights, np.nan)

    @cached_property
    def usual_update_ratios(self) -> NDArray[np.float64]:
        """The median update ratio of each layer, (L,); NaN if none was measured."""
        return nanmedian(self.update_ratios)

    @property
    def frozen(self) -> tuple[bool, ...]:
        """Which layers are not trained on purpose: no parameter requires a gradient."""
        if self.probed is not None:
            return self.probed.frozen
        if self.setup is not None:
            return tuple(self.is_frozen(layer.name) for layer in self.layers)
        if not len(self.norms) or not len(self.update_ratios):
            return (False,) * len(self.layers)
        still = np.isnan(self.update_ratios).all(axis=0) & (self.weights > 0)
        return tuple((still & (self.norms.max(axis=0) == 0)).tolist())

    def is_frozen(self, name: str) -> bool:
        """Whether no parameter of the layer requires a gradient; False if that is not known."""
        if self.setup is None:
            return False
        layer = next(layer for layer in self.info.layers if layer.name == name)
        return not any(self.setup.requires_grad[index] for index in self.parameters_of(layer))

    @property
    def moved_by_updates(self) -> NDArray[np.bool_]:
        """Which layers any measured update has moved, (L,); True if none was measured."""
        ratios = self.update_ratios
        known = np.isfinite(ratios)
        moved = (known & (ratios > 0)).any(axis=0) | ~known.any(axis=0)
        return np.asarray(moved)

    @cached_property
    def still_since(self) -> Integers:
        """The step from which no measured update moved each layer, to the end, (L,); 0 if none.

        Only if there are two measurements or more, over the last tenth of the steps or more, and
        the optimizer no longer holds the layer, or at a rate of 0: an update may also round to
        nothing. The layer may have stood still before, back to the measurement before this step.
        """
        measured = len(self.update_ratios)
        if not measured or self.setup is None:
            return np.zeros(len(self.layers), dtype=np.int64)
        still = np.cumprod((self.update_ratios == 0)[::-1], axis=0).sum(axis=0).astype(np.int64)
        since = self.record_steps[np.minimum(measured - still, measured - 1)]
        longest = max(SILENT_STEPS.value, self.steps / 10)
        lasts = (still >= 2) & (self.last_step - since + 1 >= longest)
        return np.where(lasts & ~np.array(self._held_at_a_rate), since, 0)

    @property
    def first_rates(self) -> dict[str, float]:
        """The first learning rate of each layer, by its name; without those that are not held."""
        groups = () if self.first_setup is None else self.first_setup.groups
        rates: dict[int, float] = {}
        for group in groups:
            rates.update(dict.fromkeys(group.parameters, group.learning_rate))
        return {
            layer.name: rates[index]
            for layer in self.layers
            for index in self.parameters_of(layer)
            if index in rates
        }

    @property
    def _held_at_a_rate(self) -> list[bool]:
        """Whether the optimizer holds a parameter of each layer, at a rate above 0, in the end."""
        groups = () if self.setup is None else self.setup.groups
        held = {index for group in groups if group.learning_rate for index in group.parameters}
        return [not held.isdisjoint(self.parameters_of(layer)) for layer in self.layers]

    @property
    def batch_size(self) -> int:
        """How many examples the forward passes of all processes take; 0 if that is not known."""
        if self.info.batch_size or self.setup is None or self.setup.inputs is None:
            return self.info.batch_size
        shape = self.setup.inputs.shape
        return shape[0] * self.processes if len(shape) > 1 else 0

    @property
    def first_called(self) -> LayerInfo | None:
        """The layer that the forward pass calls first, with a matrix or not; None if unknown."""
        if self.setup is None or not self.setup.call_order:
            return None
        return self.info.layers[self.setup.call_order[0]]

    def called_first(self, count: int) -> list[LayerInfo]:
        """Return the first layers that the forward pass calls, with a matrix or not."""
        order = () if self.setup is None else self.setup.call_order[:count]
        return [self.info.layers[index] for index in order]

    @property
    def fell_silent(self) -> tuple[int, ...]:
        """The trained layers that got a gradient once, but none in the last steps."""
        if not len(self.silent_since) or not len(self.norms):
            return ()
        got_some = self.norms.max(axis=0) > 0
        steps_silent = np.where(self.silent_since > 0, self.last_step - self.silent_since + 1, 0)
        silent = got_some & (steps_silent >= SILENT_STEPS.value) & ~np.array(self.frozen)
        # Without a gradient at all, not one of zero, a layer is not used any more.
        return tuple(
            at
            for at in np.flatnonzero(silent).tolist()
            if self.setup is None or self.has_flat_units(at)
        )

    @property
    def is_adaptive(self) -> bool:
        """Whether the optimizer divides gradients by their size, as Adam and RMSprop do."""
        groups = () if self.setup is None else self.setup.groups
        return any(group.second_momentum > 0 for group in groups)

    @property
    def not_held(self) -> tuple[bool, ...]:
        """Which layers the watched optimizer does not hold, or holds at a rate of zero.

        False for those that something else moves, such as a second optimizer.
        """
        if self.setup is None:
            return (False,) * len(self.layers)
        rates: dict[int, float] = {}
        for group in self.setup.groups:
            rates.update(dict.fromkeys(group.parameters, group.learning_rate))
        found = []
        for at, layer in enumerate(self.layers):
            trained = [i for i in self.parameters_of(layer) if self.setup.requires_grad[i]]
            unheld = bool(trained) and not any(rates.get(index, 0.0) for index in trained)
            found.append(unheld and not self.is_moved(at))
        return tuple(found)

    @property
    def still_without_matrix(self) -> tuple[str, ...]:
        """Those of `still_elsewhere` that no rate above zero holds, although they are trained."""
        if self.setup is None:
            return ()
        named = {layer.name: layer for layer in self.info.layers}
        rates: dict[int, float] = {}
        for group in self.setup.groups:
            rates.update(dict.fromkeys(group.parameters, group.learning_rate))
        return tuple(
            name
            for name in self.still_elsewhere
            if not self.is_frozen(name)
            and not any(rates.get(index, 0.0) for index in self.parameters_of(named[name]))
        )

    @property
    def not_this_optimizers(self) -> tuple[bool, ...]:
        """Which layers have no parameter that the watched optimizer holds: not its business."""
        if self.setup is None:
            return (False,) * len(self.layers)
        held = {index for group in self.setup.groups for index in group.parameters}
        return tuple(held.isdisjoint(self.parameters_of(layer)) for layer in self.layers)

    @cached_property
    def initial_gains(self) -> Floats:
        """Rms * sqrt(fan_in) of each layer's first weights, (L,); NaN for lookup tables.

        1 keeps the size of a linear signal (LeCun et al. 1998, section 4.6).
        """
        gains = np.full(len(self.layers), math.nan)
        if self.first_setup is not None and self.first_setup.weight_gains:
            places = {layer.name: at for at, layer in enumerate(self.info.layers)}
            seen = self.first_setup.weight_gains
            return np.array([seen[places[layer.name]] for layer in self.layers])
        for at, layer in enumerate(self.layers):
            if not layer.kind.startswith(_MULTIPLYING) or len(layer.shape) < 2:
                continue
            size = sum(parameter.size for parameter in layer.parameters)
            fan_in = math.prod(layer.shape[1:])
            gains[at] = float(self.weights[at]) * math.sqrt(fan_in / size)
        return gains

    def has_flat_units(self, layer: int) -> bool:
        """Whether the gradients of a layer exist, so that zeros mean that its units are flat."""
        if self.setup is None or not self.setup.requires_grad:
            return False
        missing = set(self.setup.without_gradient)
        return missing.isdisjoint(self.parameters_of(self.layers[layer]))

    def is_moved(self, layer: int) -> bool:
        """Whether a layer's weights changed between two measurements, by whatever means."""
        norms = self.weight_norms[:, layer] if self.weight_norms.size else self.weight_norms
        return len(norms) > 1 and bool(np.ptp(norms) > 0)

    def parameters_of(self, layer: LayerInfo) -> range:
        """Return the indices of a layer's parameters among the run's."""
        start = 0
        for one in self.info.layers:
            if one is layer or one.name == layer.name:
                return range(start, start + len(one.parameters))
            start += len(one.parameters)
        raise KeyError(layer.name)


def matrix_layers(layers: tuple[LayerInfo, ...]) -> list[int]:
    """Return the indices of the layers that have a matrix."""
    return [index for index, layer in enumerate(layers) if len(layer.shape) >= 2]


def nanmedian(values: Floats) -> NDArray[np.float64]:
    """Return the median of each column, (m, L) to (L,), ignoring NaN; NaN if all are NaN."""
    medians = np.full(values.shape[1], np.nan)
    known = ~np.isnan(values).all(axis=0) if len(values) else np.zeros(values.shape[1], dtype=bool)
    medians[known] = np.nanmedian(values[:, known], axis=0)
    return medians
