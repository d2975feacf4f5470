"""What the rules look at: a run's records and a model's probes, in one form."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from gradcli.diagnosis.limits import LOSS_BLOWN_UP, LOSS_KEPT, LOSS_OF_GUESSING
from gradcli.diagnosis.loss_trend import (
    FEWEST_STEPS,
    Convergence,
    RateChange,
    Spike,
    describe_loss_trend,
    find_rate_changes,
    find_spikes,
    finite_rows,
)
from gradcli.records import (
    EvalRecord,
    FaultRecord,
    Floats,
    LayerInfo,
    LayerRecord,
    RunInfo,
    SetupRecord,
    StepRecords,
    norm_by_layer,
)

# Medians over the steps use at most this many of them, evenly spaced.
_SAMPLED_STEPS = 2000


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
    """Those with a matrix: the scales of norm layers are not a measure of depth."""
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
        """Which layers are not trained: they have neither gradient nor update."""
        if self.probed is not None:
            return self.probed.frozen
        if not len(self.norms) or not len(self.update_ratios):
            return (False,) * len(self.layers)
        still = np.isnan(self.update_ratios).all(axis=0) & (self.weights > 0)
        return tuple((still & (self.norms.max(axis=0) == 0)).tolist())

    @property
    def loss_of_guessing(self) -> float:
        """ln(classes); NaN if they are not known, as in the user's own loop."""
        return math.log(self.info.data.classes) if self.info.data.classes > 1 else math.nan

    @property
    def reference_loss(self) -> float:
        """The first loss, or that of guessing if it is lower."""
        return float(np.fmin(self.convergence.first_loss, self.loss_of_guessing))

    @property
    def loss_kept(self) -> float:
        """The last loss as a share of the reference."""
        return self.convergence.last_loss / self.reference_loss

    @property
    def loss_left(self) -> float:
        """The mean loss of the second half as a share of the reference.

        The mean, because with tiny batches the median is the loss of an easy example, and what
        is left to learn is in the hard ones.
        """
        half = self.losses[len(self.losses) // 2 :]
        return float(half.mean()) / self.reference_loss if len(half) else math.nan

    @property
    def highest_loss(self) -> float:
        """The highest loss that lasted: the largest median of five consecutive steps."""
        windows = sliding_window_view(self.losses, min(5, len(self.losses)))
        return float(np.median(windows, axis=1).max())

    @property
    def blown_up(self) -> bool:
        """Whether training has driven the loss far above the first one, and it stayed high."""
        if self.steps < FEWEST_STEPS or self.loss_kept <= LOSS_KEPT.value:
            return False
        return self.highest_loss > LOSS_BLOWN_UP.value * self.convergence.first_loss

    @property
    def began_exploded(self) -> bool:
        """Whether the loss of the initial weights is far above that of guessing."""
        return self.convergence.first_loss > LOSS_OF_GUESSING.value * self.loss_of_guessing

    @property
    def of_the_flow(self) -> Evidence:
        """The evidence on how gradients flow: of the first step alone if training broke the model.

        Gradients in a broken model add no information, and no single layer causes them.
        """
        if not self.blown_up and self.fault is None:
            return self
        return replace(self, norms=self.norms[:1], input_norms=self.input_norms[:1])


def collect_evidence(
    info: RunInfo,
    steps: StepRecords,
    layer_records: tuple[LayerRecord, ...],
    evals: tuple[EvalRecord, ...],
    fault: FaultRecord | None,
    setup: SetupRecord | None = None,
) -> Evidence:
    """Gather what the rules need from a run's records, however long the run is."""
    matrices = matrix_layers(info.layers)
    rows = finite_rows(steps)
    count = len(rows)
    if count > _SAMPLED_STEPS:
        rows = rows[np.linspace(0, count - 1, _SAMPLED_STEPS).astype(np.intp)]
    norms = norm_by_layer(steps.parameter_grad_norm_before_clip[rows], info.layers)
    losses = np.asarray(steps.loss[rows], dtype=np.float64)
    total = np.asarray(steps.grad_norm_before_clip[rows], dtype=np.float64)
    return Evidence(
        info=info,
        layers=tuple(info.layers[index] for index in matrices),
        norms=norms[:, matrices],
        weights=_rows(layer_records[:1], "weight_norm", info)[:, matrices].sum(axis=0)
        if layer_records
        else np.full(len(matrices), np.nan),
        update_ratios=_rows(layer_records, "update_ratio", info)[:, matrices],
        input_norms=_rows(layer_records, "input_grad_norm", info)[:, matrices],
        losses=losses,
        clip_coefficients=np.asarray(steps.clip_coefficient[rows], dtype=np.float64),
        steps=count,
        convergence=describe_loss_trend(losses, total),
        spikes=find_spikes(steps, info.layers),
        rate_changes=find_rate_changes(steps),
        evals=evals,
        fault=fault,
        setup=setup,
    )


def matrix_layers(layers: tuple[LayerInfo, ...]) -> list[int]:
    """Return the indices of the layers that have a matrix."""
    return [index for index, layer in enumerate(layers) if len(layer.shape) >= 2]


def nanmedian(values: Floats) -> NDArray[np.float64]:
    """Return the median of each column, (m, L) to (L,), ignoring NaN; NaN if all are NaN."""
    medians = np.full(values.shape[1], np.nan)
    known = ~np.isnan(values).all(axis=0) if len(values) else np.zeros(values.shape[1], dtype=bool)
    medians[known] = np.nanmedian(values[:, known], axis=0)
    return medians


def _rows(records: tuple[LayerRecord, ...], name: str, info: RunInfo) -> NDArray[np.float64]:
    """Return one measurement of each layer, (m, all layers)."""
    rows = [getattr(record, name) for record in records]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(info.layers))
