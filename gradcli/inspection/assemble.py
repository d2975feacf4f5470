"""From records and measures to an inspection. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from gradcli.diagnosis import Diagnosis, Evidence, examine
from gradcli.diagnosis.evidence import matrix_layers, nanmedian
from gradcli.diagnosis.loss_trend import describe_loss_trend
from gradcli.inspection.history import LayerTrend, norm_history
from gradcli.inspection.inspection import (
    NOT_TESTED,
    UNKNOWN_TREND,
    Event,
    EventKind,
    Inspection,
    LayerReport,
    ProbeResults,
)
from gradcli.inspection.measures import Measures
from gradcli.inspection.run_summary import gather_evidence, summarise_run
from gradcli.probes.measuring.slope import log_slope
from gradcli.records import LayerInfo, ParameterGroup, RunInfo, SetupRecord, TrainSummary
from gradcli.runs import Run

_MOST_EVENTS = 50
# The process that writes a live run may also truncate its log, so its steps are copied.
_MOST_STEPS_OF_A_LIVE_RUN = 200_000


def inspect_run(run: Run, target: str, measures: Measures | None = None) -> Inspection:
    """Inspect a run by its records, whatever its status, and by its probed checkpoint.

    Args:
        run: the run.
        target: as the user would type it.
        measures: of the model of its last checkpoint, if that was probed.

    Raises:
        UserError: if the process ended before the model was built.
    """
    info = run.info
    live = run.status == "running"
    steps = run.last_steps(_MOST_STEPS_OF_A_LIVE_RUN) if live else run.steps
    evidence = gather_evidence(run, steps)
    summary = summarise_run(run, evidence)
    if measures is not None:
        evidence = evidence.with_probed(measures.probed())
    history, trends = norm_history(steps, run.layers) if len(steps) else (None, ())
    events, counts = _events(evidence)
    convergence = evidence.convergence if len(steps) else None
    return _inspection(
        info,
        target,
        measures,
        examine(evidence),
        kind="run" if measures is None else "checkpoint",
        status=run.status,
        step=summary.steps,
        notes=(*_notes(run, summary), *(() if measures is None else measures.notes)),
        loss=evidence.convergence.last_loss if measures is None else measures.loss,
        layers=_layers_of_run(run, summary, trends, measures),
        history=history,
        convergence=convergence,
        events=events,
        event_counts=counts,
        clipped_fraction=summary.clipped_fraction if len(steps) else math.nan,
        probe_history=run.probe_records,
        has_weights=run.has_checkpoint,
    )


def inspect_model(info: RunInfo, target: str, measures: Measures) -> Inspection:
    """Inspect a model before its training, by what was measured."""
    layers = tuple(
        _with_signals(_bare(layer), measures, index, of_gradients=True)
        for index, layer in enumerate(info.layers)
    )
    return _inspection(
        info,
        target,
        measures,
        examine(_evidence_of_model(info, measures)),
        kind="fresh",
        status=None,
        step=0,
        notes=(),
        loss=measures.loss,
        layers=layers,
        history=None,
        convergence=None,
        events=(),
        event_counts={},
        clipped_fraction=math.nan,
    )


def _inspection(
    info: RunInfo,
    target: str,
    measures: Measures | None,
    diagnosis: Diagnosis,
    *,
    layers: tuple[LayerReport, ...],
    **rest: object,
) -> Inspection:
    """Fill in what runs and models share."""
    matrices = [layers[index] for index in matrix_layers(info.layers)]
    return Inspection(
        target=target,
        label="",
        model=info.model,
        activation=info.activation,
        optimizer=info.optimizer,
        learning_rate=info.learning_rate,
        learning_rates=info.learning_rates,
        clip=info.clip,
        data=info.data.name,
        batch_size=info.batch_size,
        is_own_loop=info.is_own_loop,
        verdict=verdict(diagnosis),
        tested=diagnosis.tested,
        not_tested=diagnosis.not_tested,
        examples=0 if measures is None else measures.signals.examples,
        layers=layers,
        depth_slope=log_slope([layer.weight_grad_norm for layer in matrices]),
        input_depth_slope=log_slope([layer.input_grad_norm for layer in matrices]),
        probes=ProbeResults() if measures is None else measures.probes,
        findings=diagnosis.findings,
        **rest,  # type: ignore[arg-type]
    )


def verdict(diagnosis: Diagnosis) -> str:
    """Return the code of the worst finding, `healthy` if that was tested, or `not-tested`."""
    serious = [finding for finding in diagnosis.findings if finding.severity != "info"]
    codes = [finding.code for finding in (*serious, *diagnosis.findings)]
    if not serious and "healthy" in codes:
        return "healthy"
    return codes[0] if codes else NOT_TESTED


def _evidence_of_model(info: RunInfo, measures: Measures) -> Evidence:
    """Return the evidence on a model: a single step whose update was not made."""
    chosen = matrix_layers(info.layers)
    signals = [measures.signals.layers[index] for index in chosen]
    gradients = np.array([[one.weight_grad_norm for one in signals]])
    finite = measures.fault is None
    rows = slice(0, 1 if finite else 0)
    loss = np.array([measures.loss])[rows]
    return Evidence(
        info=info,
        layers=tuple(info.layers[index] for index in chosen),
        # No parameter of a frozen layer has a gradient: that counts as zero, not as unknown.
        norms=np.nan_to_num(gradients)[rows],
        weights=np.array([measures.weight_norm[index] for index in chosen]),
        update_ratios=np.empty((0, len(chosen))),
        input_norms=np.array([[one.input_grad_norm for one in signals]])[rows],
        losses=loss,
        clip_coefficients=np.ones(len(loss)),
        steps=len(loss),
        convergence=describe_loss_trend(
            loss, np.linalg.norm(np.nan_to_num(gradients), axis=1)[rows]
        ),
        spikes=(),
        rate_changes=(),
        evals=(),
        fault=measures.fault,
        probed=measures.probed(),
        setup=_setup_of_model(info, measures),
    )


def _setup_of_model(info: RunInfo, measures: Measures) -> SetupRecord:
    """Return how a model would be trained: by an optimizer that holds all its parameters."""
    frozen = [
        still
        for layer, still in zip(info.layers, measures.frozen, strict=True)
        for _ in layer.parameters
    ]
    everything = ParameterGroup(tuple(range(len(frozen))), info.learning_rate)
    return SetupRecord(
        step=0,
        groups=(everything,),
        requires_grad=tuple(not still for still in frozen),
        inputs=measures.inputs,
    )


# Layers -------------------------------------------------------------------------------------


def _bare(layer: LayerInfo) -> LayerReport:
    """Return a report without any numbers yet."""
    return LayerReport(
        name=layer.name,
        kind=layer.kind,
        depth=layer.depth,
        shape=layer.shape,
        weight_grad_norm=math.nan,
        input_grad_norm=math.nan,
        weight_rms=math.nan,
        update_ratio=math.nan,
        dead_fraction=math.nan,
        saturated_fraction=math.nan,
    )


def _layers_of_run(
    run: Run,
    summary: TrainSummary,
    trends: tuple[LayerTrend, ...],
    measures: Measures | None,
) -> tuple[LayerReport, ...]:
    records = run.layer_records
    shape = (len(records), len(run.layers))
    ratios, inputs = (
        nanmedian(np.array([getattr(record, name) for record in records]).reshape(shape))
        for name in ("update_ratio", "input_grad_norm")
    )
    reports = []
    for index, layer in enumerate(run.layers):
        trend = trends[index] if trends else LayerTrend(UNKNOWN_TREND, UNKNOWN_TREND)
        size = sum(parameter.size for parameter in layer.parameters)
        report = replace(
            _bare(layer),
            weight_grad_norm=trend.before.last,
            input_grad_norm=float(inputs[index]),
            weight_rms=summary.layers[index].weight_norm / math.sqrt(size),
            update_ratio=float(ratios[index]),
            before_clip=trend.before,
            after_clip=trend.after,
            clipped_fraction=summary.layers[index].clipped_fraction if trends else math.nan,
        )
        if measures is not None:
            report = _with_signals(report, measures, index, of_gradients=False)
        reports.append(report)
    return tuple(reports)


def _with_signals(
    report: LayerReport, measures: Measures, index: int, *, of_gradients: bool
) -> LayerReport:
    """Add what a probe of the model saw; its gradients only if asked for."""
    signal = measures.signals.layers[index]
    report = replace(
        report,
        weight_rms=signal.weight_rms,
        dead_fraction=signal.dead_fraction,
        saturated_fraction=signal.saturated_fraction if signal.saturates else math.nan,
        output=signal.output,
        activation=signal.activation,
        output_grad=signal.output_grad,
        weight_std_over_lecun=signal.weight_std_over_lecun,
    )
    if not of_gradients:
        return report
    return replace(
        report,
        weight_grad_norm=signal.weight_grad_norm,
        input_grad_norm=signal.input_grad_norm,
        update_ratio=measures.update_ratio[index],
    )


# Runs ---------------------------------------------------------------------------------------


def _events(evidence: Evidence) -> tuple[tuple[Event, ...], dict[EventKind, int]]:
    """Return the first events in order of their steps, and the number of each kind."""
    events = [Event(one.step, "spike", one.layer, one.factor) for one in evidence.spikes]
    events += [Event(one.step, "lr-change", None, one.factor) for one in evidence.rate_changes]
    if evidence.fault is not None:
        fault = evidence.fault
        events.append(Event(fault.step, "non-finite", fault.layer, fault.loss))
    events.sort(key=lambda event: event.step)
    counts: dict[EventKind, int] = {}
    for event in events:
        counts[event.kind] = counts.get(event.kind, 0) + 1
    return tuple(events[:_MOST_EVENTS]), counts


def _notes(run: Run, summary: TrainSummary) -> tuple[str, ...]:
    """Say what a reader must know before the numbers."""
    steps = f"{summary.steps:,} step" + "s" * (summary.steps != 1)
    own_loop = run.info.is_own_loop
    notes = [*summary.notes]
    processes = run.state.get("processes", 1)
    if processes > 1:
        notes.append(
            f"The first of {processes} processes recorded the run: inputs are those of its part of "
            "each batch, and so is the loss unless the loop averaged it."
        )
    match run.status:
        case "running":
            notes.append(f"The run is still going: {steps} so far.")
        case "lost":
            notes.append(
                f"The run is lost: its process died after at least {steps}, leaving no message."
            )
        case "interrupted":
            notes.append(f"The run was interrupted after {steps}.")
        case "failed":
            notes.append(
                f"The run failed after {steps}: {run.state.get('error', 'the reason is unknown')}"
            )
        case "diverged":
            notes.append(
                f"The run diverged after {steps}."
                if own_loop
                else f"The run diverged after {steps}: the next one met a non-finite value, so its "
                "update was skipped."
            )
    if not len(run.steps):
        ended_well = own_loop and run.status == "finished"
        notes.append(
            "No step is on record, so there is no gradient to show."
            + (
                " A step is recorded when optimizer.step() follows monitor.step(loss)."
                if ended_well
                else ""
            )
        )
    elif not run.layer_records:
        setting = "every" if own_loop else "monitor.every"
        notes.append(f"Weights and updates were not measured: {setting} was 0.")
    return tuple(notes)
