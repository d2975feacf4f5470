"""What `--json` prints: one object whose keys are a contract, in a fixed order.

JSON has neither NaN nor infinity, and a missing number must not look like a zero: they are the
strings "nan", "inf" and "-inf".
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from gradcli.comparison.groups import tied_groups
from gradcli.notation.visible import in_json
from gradcli.probes.probe import plain
from gradcli.probes.registry import known_probes
from gradcli.records import (
    ClipOutlook,
    DataInfo,
    Finding,
    GroupSummary,
    LayerSummary,
    Metric,
    ProbeRecord,
    RunRow,
    TrainSummary,
)

if TYPE_CHECKING:
    from gradcli.comparison.results import ComparisonSummary, GridResult, RankedArm, TrialResult
    from gradcli.comparison.verdicts import PairResult
    from gradcli.diagnosis.loss_trend import Convergence
    from gradcli.inspection.advice_trial import AdviceTrial, TrialScore
    from gradcli.inspection.inspection import (
        Inspection,
        LayerReport,
        ProbeResults,
        SideBySide,
    )
    from gradcli.inspection.run_difference import RunDifference

SCHEMA = 2


def train_json(summary: TrainSummary) -> dict[str, Any]:
    """Return the result of a run as a JSON object."""
    info = summary.info
    result = {
        "schema": SCHEMA,
        "run": summary.path,
        "status": summary.status,
        "data": _data(info.data),
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
        **_scores(info.metric, val=summary.val_score, test=summary.test_score),
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
        values = asdict(row)
        listed.append({**values, **_scores(row.metric, test=values.pop("test_score"))})
        del listed[-1]["test_score"]
    written: dict[str, Any] = jsonable({"schema": SCHEMA, "runs": listed})
    return written


def comparison_json(summary: ComparisonSummary) -> dict[str, Any]:
    """Return the result of a comparison as a JSON object.

    `arm` is unique; `optimizer` is the option that several arms may share.
    """
    info = summary.info
    result = {
        "schema": SCHEMA,
        "comparison": info.path,
        "status": summary.status,
        "data": _data(info.data),
        "model": {"name": info.model, "parameters": info.model_size},
        "protocol": asdict(info.protocol),
        "metric": asdict(info.metric),
        **_scores(info.metric, target=info.target_score),
        "test_example_worth": (
            1 / info.data.test if info.data.test and info.metric.is_accuracy else math.nan
        ),
        "epochs": info.epochs,
        "steps": info.steps,
        "device": info.device,
        "jobs": info.jobs,
        "threads": info.threads,
        "ranking": [_ranked(arm, info.metric) for arm in summary.ranking],
        "pairs": [_pair(pair) for pair in summary.pairs],
        "groups": tied_groups(summary.pairs),
        "cautions": [asdict(warning) for warning in summary.warnings],
        "tuning": [_grid_result(result, info.metric) for result in summary.tuning],
        "halving": asdict(summary.halving) if summary.halving else None,
        "trials": [_trial(trial, info.metric) for trial in summary.trials],
        "failed": summary.failed,
        "seconds": summary.seconds,
        "winner_command": summary.winner_command or None,
        "winner_at_edge": summary.winner_at_edge,
        "extend_command": summary.extend_command or None,
        "retry_command": summary.retry_command or None,
        "resume_command": summary.resume_command or None,
    }
    written: dict[str, Any] = jsonable(result)
    return written


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
    }


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
        **_scores(metric, val=score.score),
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


def _ranked(arm: RankedArm, metric: Metric) -> dict[str, Any]:
    scores = arm.test_score
    return {
        "rank": arm.rank,
        "places": arm.places,
        "arm": arm.name,
        "optimizer": arm.optimizer,
        "lr": arm.learning_rate,
        "seeds": arm.seeds,
        **_scores(
            metric,
            test={"mean": scores.mean, "std": scores.std, "ci95": scores.ci95},
            val=arm.val_score.mean,
        ),
        **arm.measured,
        "diverged": arm.diverged,
        "missing": arm.missing,
        "lr_at_edge": arm.learning_rate_at_edge,
        "selection": _selection(arm),
        "lr_sensitivity": asdict(arm.sensitivity) if arm.sensitivity else None,
    }


def _selection(arm: RankedArm) -> dict[str, Any] | None:
    """Return the validation score that chose the learning rate, and that of fresh seeds."""
    if arm.selection is None:
        return None
    return {
        "selected": arm.selection.selected_score,
        "fresh": arm.selection.fresh.mean,
        "optimism": arm.selection.optimism,
        "ci95": arm.selection.ci95,
    }


def _pair(pair: PairResult) -> dict[str, Any]:
    return {
        "a": pair.a,
        "b": pair.b,
        "difference": pair.difference,
        "ci95": pair.ci95,
        "p_adjusted": pair.p_adjusted,
        "verdict": pair.verdict,
        "seeds_needed": pair.seeds_needed,
        "seeds": pair.seeds,
        "deviation": pair.deviation,
        "holm_interval": pair.holm_interval,
        "evidence": pair.evidence,
        "tested_on": pair.tested_on,
        "examples": pair.examples,
        "example_deviation": pair.example_deviation,
    }


def _grid_result(result: GridResult, metric: Metric) -> dict[str, Any]:
    return {
        "arm": result.arm,
        "optimizer": result.optimizer,
        "lr": result.learning_rate,
        **_scores(metric, val=result.val_score),
        "diverged": result.diverged,
        "status": result.status,
        "chosen": result.chosen,
    }


def _trial(trial: TrialResult, metric: Metric) -> dict[str, Any]:
    """Return everything known about a trial; its learning rate is `lr`, as everywhere."""
    values = asdict(trial)
    learning_rate = values.pop("learning_rate")
    del values["measured"], values["example_scores"]
    scores = _scores(metric, val=values.pop("val_score"), test=values.pop("test_score"))
    return {
        "id": values.pop("id"),
        "arm": values.pop("arm"),
        "optimizer": values.pop("optimizer"),
        "lr": learning_rate,
        **values,
        **scores,
        **trial.measured,
    }


def _scores(metric: Metric, **values: Any) -> dict[str, Any]:
    """Return scores under `val`, `test` or `target`; accuracies also as `val_accuracy` and so on.

    Those were the keys of schema 1.
    """
    named = {f"{key}_accuracy": value for key, value in values.items()}
    return {**values, **(named if metric.is_accuracy else {})}


def _data(data: DataInfo) -> dict[str, Any]:
    return {
        "name": data.name,
        "train": data.train,
        "val": data.val,
        "test": data.test,
        "sha256": data.sha256,
    }


def jsonable(value: Any) -> Any:
    """Return the value with every NaN and infinity in it, at any depth, as a string.

    NumPy arrays become lists, and NumPy numbers plain ones.
    """
    match value:
        case float() if not math.isfinite(value):
            return str(float(value))
        case Mapping():
            return {key: jsonable(item) for key, item in value.items()}
        case list() | tuple():
            return [jsonable(item) for item in value]
        case np.ndarray() | np.generic():
            return jsonable(value.tolist())
        case _:
            return value


def dumps(value: Any) -> str:
    """Write the value as strict JSON, without bare NaN or Infinity."""
    return in_json(json.dumps(jsonable(value), indent=2, allow_nan=False))
