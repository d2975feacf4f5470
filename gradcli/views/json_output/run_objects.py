"""Runs as JSON objects: one, a list of them, how two differ, and what a finding says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gradcli.records import (
    ClipOutlook,
    Finding,
    GroupSummary,
    LayerSummary,
    PruningSummary,
    RunRow,
    TrainSummary,
)
from gradcli.views.json_output.json_values import (
    SCHEMA,
    data_json,
    further_json,
    jsonable,
    scores_json,
)

if TYPE_CHECKING:
    from gradcli.inspection.parting.first_place import FirstPlace
    from gradcli.inspection.parting.growth import Growth
    from gradcli.inspection.parting.layer_courses import LayerCourse
    from gradcli.inspection.run_difference import RunDifference


def train_json(summary: TrainSummary) -> dict[str, Any]:
    """Return the result of a run as a JSON object."""
    info = summary.info
    result = {
        "schema": SCHEMA,
        "run": summary.path,
        "tags": summary.tags,
        "note": summary.note,
        "status": summary.status,
        "data": data_json(info.data),
        "model": {"name": info.model, "parameters": info.model_size},
        "optimizer": {
            "name": info.optimizer,
            "lr": info.learning_rate,
            "schedule": info.schedule,
        },
        "device": info.device,
        "epochs": summary.epochs,
        "steps": summary.steps,
        "train_loss": summary.train_loss,
        "metric": asdict(info.metric),
        **scores_json(info.metric, val=summary.val_score, test=summary.test_score),
        "metrics": further_json(summary.further),
        "seconds": {
            "total": summary.seconds_total,
            "first_step": summary.seconds_first_step,
            "train": summary.seconds_train,
        },
        "steps_per_second": summary.steps_per_second,
        "phases": summary.phases,
        "clipped_fraction": summary.clipped_fraction,
        "layers": [_layer(layer) for layer in summary.layers],
        "findings": [finding_json(finding) for finding in summary.findings],
        "notes": summary.notes,
        "parameter_groups": [_parameter_group(group) for group in summary.groups],
        "clip_outlook": _clip_outlook(summary.clip_outlook),
    }
    written: dict[str, Any] = jsonable(result)
    return written


def run_list_json(rows: Sequence[RunRow]) -> dict[str, Any]:
    """Return the list of runs as a JSON object."""
    listed = []
    for row in rows:
        values = {**asdict(row), "tags": row.tags, "further": _further_values(row)}
        listed.append({**values, **scores_json(row.metric, test=values.pop("test_score"))})
        del listed[-1]["test_score"]
    written: dict[str, Any] = jsonable({"schema": SCHEMA, "runs": listed})
    return written


def pruning_json(summary: PruningSummary) -> dict[str, Any]:
    """Return what `runs prune` removed, or would remove, as a JSON object."""
    written: dict[str, Any] = jsonable(
        {
            "schema": SCHEMA,
            "what": summary.what,
            "runs": [asdict(row) for row in summary.rows],
            "size_bytes": summary.size_bytes,
            "freed_bytes": summary.freed_bytes,
            "at_work": summary.at_work,
            "resumable": summary.resumable,
        }
    )
    return written


def _further_values(row: RunRow) -> dict[str, Any]:
    """Return each further key with its value, or with a list if it has several; null if none."""
    return {
        key: values[0] if len(values) == 1 else list(values) or None
        for key, values in row.further.items()
    }


def difference_json(difference: RunDifference) -> dict[str, Any]:
    """Return how two runs differ, as `runs diff --json` prints it."""
    return {
        "schema": SCHEMA,
        "a": train_json(difference.a),
        "b": train_json(difference.b),
        "settings": [asdict(one) for one in difference.settings],
        "origin": [asdict(one) for one in difference.origin],
        "steps_compared": difference.steps_compared,
        "first_different_step": difference.first_different_step,
        "norms_compared": difference.norms_compared,
        "causes": [{"quantity": name, "step": step} for name, step in difference.causes],
        "routing": [asdict(one) for one in difference.routing],
        "first_place": _first_place(difference.first_place),
        "growth": _growth(difference.growth),
        "layer_courses": [_layer_course(one) for one in difference.layer_courses],
    }


def _first_place(place: FirstPlace | None) -> dict[str, Any] | None:
    if place is None:
        return None
    written: dict[str, Any] = jsonable({**asdict(place), "layer": place.layer})
    return written


def _growth(growth: Growth | None) -> dict[str, Any] | None:
    if growth is None:
        return None
    points = [
        {"step": step, "loss": loss, "grad_norms": gradients}
        for step, loss, gradients in growth.points
    ]
    ends = {
        name: {"step": step, "apart": apart}
        for name, (step, apart) in (
            ("first", growth.first),
            ("lowest", growth.lowest),
            ("highest", growth.highest),
        )
    }
    written: dict[str, Any] = jsonable({**asdict(growth), "points": points, **ends})
    return written


def _layer_course(course: LayerCourse) -> dict[str, Any]:
    norms = [{"step": step, "apart": apart} for step, apart in course.gradients]
    written: dict[str, Any] = jsonable(
        {"name": course.name, "grad_norm": norms, "weights": course.weights}
    )
    return written


def finding_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as a JSON object; its override is under `try`."""
    return {
        "code": finding.code,
        "severity": finding.severity,
        "layer": finding.layer,
        "evidence": finding.evidence,
        "threshold": finding.threshold,
        "message": finding.message,
        "try": finding.override,
        "mend": finding.mend,
        "follows_from": finding.follows_from,
        "certainty": None if math.isnan(finding.certainty) else finding.certainty,
    }


def _layer(layer: LayerSummary) -> dict[str, Any]:
    return {
        "name": layer.name,
        "grad_norm_before_clip": asdict(layer.grad_norm_before_clip),
        "grad_norm_after_clip": asdict(layer.grad_norm_after_clip),
        "clipped_fraction": layer.clipped_fraction,
        "weight_norm": layer.weight_norm,
        "update_ratio": layer.update_ratio,
    }


def _clip_outlook(outlook: ClipOutlook | None) -> dict[str, Any] | None:
    if outlook is None:
        return None
    pairs = zip(outlook.limits, outlook.would_clip, strict=True)
    return {
        "median": outlook.median,
        "percent_90": outlook.percent_90,
        "largest": outlook.largest,
        "limits": [{"limit": limit, "would_clip": fraction} for limit, fraction in pairs],
    }


def _parameter_group(group: GroupSummary) -> dict[str, Any]:
    """Return a group of `optimizer.groups`: what it took, its settings and its measurements."""
    return {
        "name": group.info.name,
        "optimizer": group.info.optimizer,
        "keywords": group.info.keywords,
        "parameters": group.info.parameters,
        "lr": {"first": group.first_learning_rate, "last": group.last_learning_rate},
        "grad_norm_before_clip": asdict(group.grad_norm_before_clip),
    }
