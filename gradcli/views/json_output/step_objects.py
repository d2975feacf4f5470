"""One step of a run as a JSON object: its examples, its neighbours, and how it was made again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gradcli.views.json_output.json_values import SCHEMA, jsonable

if TYPE_CHECKING:
    from gradcli.inspection.one_step.neighbours import Neighbours
    from gradcli.inspection.one_step.step_inspection import StepExample, StepInspection


def step_json(inspection: StepInspection) -> dict[str, Any]:
    """Return what was found of a step as a JSON object; its examples as they are ranked."""
    written: dict[str, Any] = jsonable(
        {
            "schema": SCHEMA,
            "target": inspection.target,
            "run": inspection.run,
            "kind": "step",
            "step": inspection.step,
            "epoch": inspection.epoch,
            "batch_in_epoch": inspection.batch_in_epoch,
            "standing": inspection.neighbours.standing,
            "loss": inspection.loss,
            "grad_norm": inspection.grad_norm,
            "examples": [_example(one) for one in inspection.examples],
            "median_grad_norm": inspection.median_norm,
            "leading": asdict(inspection.leading),
            "neighbours": _neighbours(inspection.neighbours),
            "replay": {
                "is_exact": inspection.replay.is_exact,
                **asdict(inspection.replay),
                "differs_in": inspection.replay.differs_in or None,
                "possible_cause": inspection.replay.possible_cause or None,
            },
            "measured": inspection.measured or None,
            "model": inspection.model,
            "data": inspection.data,
            "examples_are": inspection.kind_of_data,
            "notes": inspection.notes,
        }
    )
    return written


def _example(example: StepExample) -> dict[str, Any]:
    return {
        "example": example.index,
        "place_in_batch": example.place,
        "row": example.row,
        "file": example.file or None,
        "loss": example.loss,
        "grad_norm": example.grad_norm,
        "share": example.share,
        "label": example.label or None,
        "prediction": example.prediction or None,
        "probability": example.probability,
        "content": example.content or None,
        "looks": example.suspicion.kind,
        "evidence": example.suspicion.evidence or None,
    }


def _neighbours(found: Neighbours) -> dict[str, Any]:
    return {
        "loss": found.loss,
        "grad_norm": found.grad_norm,
        "steps": found.steps,
        "median_loss": found.median_loss,
        "median_grad_norm": found.median_norm,
        "loss_factor": found.loss_factor,
        "grad_norm_factor": found.norm_factor,
        "largest_spike": found.largest_spike,
    }
