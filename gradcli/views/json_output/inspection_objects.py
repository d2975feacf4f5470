"""An inspection as a JSON object: layers, probes, findings, and what came of trying the advice."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gradcli.probes.probe import plain
from gradcli.probes.registry import known_probes
from gradcli.records import Metric, ProbeRecord
from gradcli.views.json_output.json_values import SCHEMA, jsonable, scores_json
from gradcli.views.json_output.run_objects import finding_json

if TYPE_CHECKING:
    from gradcli.diagnosis.loss_trend import Convergence
    from gradcli.inspection.advice_trial import AdviceTrial, TrialScore
    from gradcli.inspection.inspection import (
        Inspection,
        LayerReport,
        ProbeResults,
        SideBySide,
    )


def inspection_json(inspection: Inspection | SideBySide) -> dict[str, Any]:
    """Return what an inspection found as a JSON object; several inspections as a list in one.

    `healthy` covers only what was tested; `not_tested` lists the rest.
    """
    from gradcli.inspection.inspection import SideBySide

    if isinstance(inspection, SideBySide):
        result = {
            "schema": SCHEMA,
            "target": inspection.target,
            "kind": inspection.kind,
            "inspections": [_inspection(one) for one in inspection.inspections],
            "notes": inspection.notes,
        }
    else:
        result = {"schema": SCHEMA, **_inspection(inspection)}
    written: dict[str, Any] = jsonable(result)
    return written


def _inspection(inspection: Inspection) -> dict[str, Any]:
    """Return one inspection, with the keys of the contract first."""
    return {
        "target": inspection.target,
        "model": inspection.model,
        "step": inspection.step,
        "verdict": inspection.verdict,
        "layers": [_inspected_layer(layer) for layer in inspection.layers],
        "probes": _probes(inspection.probes),
        "findings": [finding_json(finding) for finding in inspection.findings],
        "kind": inspection.kind,
        "label": inspection.label,
        "status": inspection.status,
        "data": inspection.data,
        "activation": inspection.activation,
        "optimizer": {"name": inspection.optimizer, "lr": inspection.learning_rate},
        "clip": inspection.clip,
        "batch_size": inspection.batch_size,
        "loss": inspection.loss,
        "examples": inspection.examples,
        "depth_slope": asdict(inspection.depth_slope),
        "input_depth_slope": asdict(inspection.input_depth_slope),
        "clipped_fraction": inspection.clipped_fraction,
        "convergence": _convergence(inspection.convergence) if inspection.convergence else None,
        "events": [asdict(event) for event in inspection.events],
        "event_counts": inspection.event_counts,
        "tested": inspection.tested,
        "not_tested": inspection.not_tested,
        "notes": inspection.notes,
        "probe_history": [_recorded_probe(record) for record in inspection.probe_history],
        "trial": _advice_trial(inspection.trial) if inspection.trial else None,
    }


def _advice_trial(trial: AdviceTrial) -> dict[str, Any]:
    """Return what came of trying the advice."""
    return {
        "outcome": trial.outcome,
        "code": trial.code,
        "try": trial.override,
        "reason": trial.reason or None,
        "seed": trial.seed,
        "steps": trial.steps,
        "without": _trial_score(trial.without, trial.metric) if trial.without else None,
        "with": _trial_score(trial.with_advice, trial.metric) if trial.with_advice else None,
        "difference": trial.difference,
        "margin": trial.margin,
        "examples": trial.examples,
        "metric": asdict(trial.metric),
        "command": shlex.join(trial.command) or None,
    }


def _trial_score(score: TrialScore, metric: Metric) -> dict[str, Any]:
    """Return what one of the two trainings has reached."""
    return {
        "steps": score.steps,
        "total_steps": score.total_steps,
        **scores_json(metric, val=score.score),
        "val_loss": score.loss,
        "diverged_at": score.diverged_at,
    }


def _convergence(convergence: Convergence) -> dict[str, Any]:
    """Return the convergence; the key of the trend is `course`, for compatibility."""
    values = asdict(convergence)
    return {"course": values.pop("trend"), **values}


def _inspected_layer(layer: LayerReport) -> dict[str, Any]:
    """Return everything known about a layer; its trends have the names of a run's columns."""
    values = asdict(layer)
    values["grad_norm_before_clip"] = values.pop("before_clip")
    values["grad_norm_after_clip"] = values.pop("after_clip")
    return values


def _probes(probes: ProbeResults) -> dict[str, Any]:
    """Return for each requested probe its result and its cost, or why it has no result."""
    results: dict[str, dict[str, Any]] = {name: {} for name in probes.costs}
    for probe in known_probes():
        found = probes.of(probe)
        if found is None or probe.told_by_layer:
            continue
        results.setdefault(probe.name, {})["result"] = plain(found)
        if probe.conclusions is not None:
            results[probe.name].update(probe.conclusions(found))
    for name, cost in probes.costs.items():
        results[name]["cost"] = asdict(cost)
    for name, reason in probes.refused.items():
        results[name] = {"refused": reason}
    return results


def _recorded_probe(record: ProbeRecord) -> dict[str, Any]:
    """Return a probe that a run recorded: its key numbers, its cost and its whole result."""
    values = asdict(record)
    values["refused"] = record.refused or None
    values["cost"] = {name: values.pop(name) for name in ("seconds", "passes")}
    values["result"] = values.pop("result")
    return values
