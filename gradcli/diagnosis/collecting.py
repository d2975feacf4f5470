"""From a run's records to the evidence that the rules look at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradcli.diagnosis.evidence import Evidence, matrix_layers
from gradcli.diagnosis.limits import RATE_GONE
from gradcli.diagnosis.loss_trend import (
    FEWEST_STEPS,
    describe_loss_trend,
    find_rate_changes,
    find_spikes,
    finite_rows,
)
from gradcli.records import (
    Doubles,
    EvalRecord,
    FaultRecord,
    Integers,
    LayerInfo,
    LayerRecord,
    RunInfo,
    SetupRecord,
    StepRecords,
    layers_in_call_order,
    norm_by_layer,
)

# Medians over the steps use at most this many of them, evenly spaced.
_SAMPLED_STEPS = 2000
# A long run is read in blocks, from its end.
_ROWS_AT_ONCE = 5_000


def collect_evidence(
    info: RunInfo,
    steps: StepRecords,
    layer_records: tuple[LayerRecord, ...],
    evals: tuple[EvalRecord, ...],
    fault: FaultRecord | None,
    setup: SetupRecord | None = None,
    first_setup: SetupRecord | None = None,
) -> Evidence:
    """Gather what the rules need from a run's records, however long the run is."""
    registered = matrix_layers(info.layers)
    called = {layer: at for at, layer in enumerate(layers_in_call_order(info.layers, setup))}
    order = sorted(range(len(registered)), key=lambda place: called[registered[place]])
    matrices = [registered[place] for place in order]
    rows = finite_rows(steps)
    silent = _silent_since(steps, rows, info.layers)[matrices]
    count = len(rows)
    if count > _SAMPLED_STEPS:
        rows = rows[np.linspace(0, count - 1, _SAMPLED_STEPS).astype(np.intp)]
    norms = norm_by_layer(steps.parameter_grad_norm_before_clip[rows], info.layers)
    after = norm_by_layer(steps.parameter_grad_norm_after_clip[rows], info.layers)
    gone = ((norms > 0).any(axis=0) & (after == 0).all(axis=0))[matrices]
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
        first_setup=first_setup or setup,
        order=tuple(order) if order != sorted(order) else (),
        record_steps=np.array([record.step for record in layer_records], dtype=np.int64),
        weight_norms=_rows(layer_records, "weight_norm", info)[:, matrices],
        last_step=int(steps.step[rows[-1]]) if count else 0,
        first_learning_rate=float(np.max(steps.learning_rate[rows[:FEWEST_STEPS]], initial=0.0)),
        rate_of_first_update=float(steps.learning_rate[rows[0]]) if count else float("nan"),
        rate_gone_since=_rate_gone_since(steps, rows),
        still_elsewhere=_still_without_matrix(info, registered, norms, layer_records),
        gone_before_update=tuple(gone.tolist()),
        silent_since=silent,
        sampled_steps=np.asarray(steps.step[rows], dtype=np.int64),
        learning_rates=np.asarray(steps.learning_rate[rows], dtype=np.float64),
    )


def _rate_gone_since(steps: StepRecords, rows: Integers) -> int:
    """Return the step from which the learning rate is next to nothing, to the end; 0 if none."""
    rates = np.asarray(steps.learning_rate[rows], dtype=np.float64)
    at_work = np.flatnonzero(rates >= RATE_GONE.value * rates.max(initial=0.0))
    if not len(at_work) or at_work[-1] + 1 >= len(rows) or not rates.max() > 0:
        return 0
    return int(steps.step[rows[at_work[-1] + 1]])


def _silent_since(steps: StepRecords, rows: Integers, layers: tuple[LayerInfo, ...]) -> Integers:
    """Return the step from which each layer's gradient is exactly zero to the end, (L,).

    0 for a layer that gets a gradient in the last step. Only as much of the run is read, from its
    end, as it takes to find the last gradient of each layer.

    Args:
        steps: the run's.
        rows: of the steps that are finite, ascending.
        layers: the run's.
    """
    since = np.zeros(len(layers), dtype=np.int64)
    silent = np.ones(len(layers), dtype=bool)  # so far, from the end
    for stop in range(len(rows), 0, -_ROWS_AT_ONCE):
        block = rows[max(0, stop - _ROWS_AT_ONCE) : stop]
        zero = norm_by_layer(steps.parameter_grad_norm_before_clip[block], layers) == 0
        for layer in np.flatnonzero(silent):
            alive = np.flatnonzero(~zero[:, layer])
            first = int(alive[-1]) + 1 if len(alive) else 0
            if first < len(block):
                since[layer] = int(steps.step[block[first]])
            silent[layer] = not len(alive)
        if not silent.any():
            break
    return since


def _still_without_matrix(
    info: RunInfo, matrices: list[int], norms: Doubles, records: tuple[LayerRecord, ...]
) -> tuple[str, ...]:
    """Name the other layers that get a gradient, (n, all layers), but kept the same norm."""
    weights = _rows(records, "weight_norm", info)
    if len(weights) < 2 or not len(norms):
        return ()
    others = [index for index in range(len(info.layers)) if index not in set(matrices)]
    still = np.ptp(weights, axis=0) == 0  # NaN is not known to be still
    return tuple(
        info.layers[index].name for index in others if still[index] and norms[:, index].any()
    )


def _rows(records: tuple[LayerRecord, ...], name: str, info: RunInfo) -> NDArray[np.float64]:
    """Return one measurement of each layer, (m, all layers)."""
    rows = [getattr(record, name) for record in records]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(info.layers))
