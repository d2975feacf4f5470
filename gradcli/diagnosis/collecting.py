"""From a run's records to the evidence that the rules look at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradcli.diagnosis.evidence import Evidence, matrix_layers
from gradcli.diagnosis.layer_history import silent_since
from gradcli.diagnosis.loss_trend import (
    FEWEST_STEPS,
    describe_loss_trend,
    find_rate_changes,
    find_spikes,
    finite_rows,
)
from gradcli.records import (
    EvalRecord,
    FaultRecord,
    LayerRecord,
    RunInfo,
    SetupRecord,
    StepRecords,
    layers_in_call_order,
    norm_by_layer,
)

# Medians over the steps use at most this many of them, evenly spaced.
_SAMPLED_STEPS = 2000


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
    silent = silent_since(steps, rows, info.layers)[matrices]
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
        first_setup=first_setup or setup,
        order=tuple(order) if order != sorted(order) else (),
        record_steps=np.array([record.step for record in layer_records], dtype=np.int64),
        weight_norms=_rows(layer_records, "weight_norm", info)[:, matrices],
        last_step=int(steps.step[rows[-1]]) if count else 0,
        first_learning_rate=float(np.max(steps.learning_rate[rows[:FEWEST_STEPS]], initial=0.0)),
        rate_of_first_update=float(steps.learning_rate[rows[0]]) if count else float("nan"),
        silent_since=silent,
    )


def _rows(records: tuple[LayerRecord, ...], name: str, info: RunInfo) -> NDArray[np.float64]:
    """Return one measurement of each layer, (m, all layers)."""
    rows = [getattr(record, name) for record in records]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(info.layers))
