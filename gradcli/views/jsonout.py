"""What `--json` prints: one object, its keys fixed by contract and in a fixed order.

JSON has no NaN and no infinity, and a missing number must not pass for a zero, so they are
the strings "nan", "inf" and "-inf".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gradcli.records import Finding, LayerSummary, TrainSummary

SCHEMA = 1


def train_json(summary: TrainSummary) -> dict[str, Any]:
    """Return the result of a run as a JSON object."""
    info = summary.info
    data = info.data
    result = {
        "schema": SCHEMA,
        "run": summary.path,
        "status": summary.status,
        "data": {
            "name": data.name,
            "train": data.train,
            "val": data.val,
            "test": data.test,
            "sha256": data.sha256,
        },
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
        "val_accuracy": summary.val_accuracy,
        "test_accuracy": summary.test_accuracy,
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
    }
    written: dict[str, Any] = jsonable(result)
    return written


def finding_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as a JSON object; its override is what to `try`."""
    return {
        "code": finding.code,
        "severity": finding.severity,
        "layer": finding.layer,
        "evidence": finding.evidence,
        "threshold": finding.threshold,
        "message": finding.message,
        "try": finding.override,
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


def jsonable(value: Any) -> Any:
    """Return the value with every NaN and infinity in it, however deep, as a string."""
    match value:
        case float() if not math.isfinite(value):
            return str(float(value))
        case Mapping():
            return {key: jsonable(item) for key, item in value.items()}
        case list() | tuple():
            return [jsonable(item) for item in value]
        case _:
            return value


def dumps(value: Any) -> str:
    """Write the value as JSON that every parser reads: no bare NaN ever leaves here."""
    return json.dumps(jsonable(value), indent=2, allow_nan=False)
