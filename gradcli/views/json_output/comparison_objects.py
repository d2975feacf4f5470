"""A comparison as a JSON object: its ranking, the verdicts, the tuning and the trials."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gradcli.comparison.groups import tied_groups
from gradcli.records import Metric
from gradcli.views.json_output.json_values import (
    SCHEMA,
    data_json,
    further_json,
    jsonable,
    scores_json,
)

if TYPE_CHECKING:
    from gradcli.comparison.results import (
        ComparisonInfo,
        ComparisonSummary,
        GridResult,
        RankedArm,
        TargetSummary,
        TrialResult,
    )
    from gradcli.comparison.verdicts import BudgetResult, PairResult, Summary


def comparison_json(summary: ComparisonSummary) -> dict[str, Any]:
    """Return the result of a comparison as a JSON object.

    `arm` is unique; `optimizer` is the option that several arms may share.
    """
    info = summary.info
    result = {
        "schema": SCHEMA,
        "comparison": info.path,
        "tags": summary.tags,
        "note": summary.note,
        "status": summary.status,
        "data": data_json(info.data),
        "model": {"name": info.model, "parameters": info.model_size},
        "protocol": asdict(info.protocol),
        "search": _search(info),
        "metric": asdict(info.metric),
        **scores_json(info.metric, target=info.target_score),
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
        "target_ranking": None if summary.target is None else _target_ranking(summary.target),
        "tuning": [_grid_result(result, info.metric) for result in summary.tuning],
        "halving": asdict(summary.halving) if summary.halving else None,
        "trials": [_trial(trial, info.metric) for trial in summary.trials],
        "failed": summary.failed,
        "seconds": summary.seconds,
        "winner_command": summary.winner_command or None,
        "kept_trial": summary.kept_trial or None,
        "winner_at_edge": summary.winner_at_edge,
        "extend_command": summary.extend_command or None,
        "retry_command": summary.retry_command or None,
        "resume_command": summary.resume_command or None,
        "notes": summary.notes,
    }
    written: dict[str, Any] = jsonable(result)
    return written


def _ranked(arm: RankedArm, metric: Metric) -> dict[str, Any]:
    return {
        "rank": arm.rank,
        "places": arm.places,
        "arm": arm.name,
        "optimizer": arm.optimizer,
        "lr": arm.learning_rate,
        "setting": dict(arm.setting),
        "seeds": arm.seeds,
        **scores_json(
            metric,
            test=_over_seeds(arm.test_score),
            val=arm.val_score.mean,
        ),
        "metrics": {
            one.metric.name: {
                "direction": one.metric.direction,
                "val": one.val.mean,
                "test": _over_seeds(one.test),
            }
            for one in arm.further
        },
        **arm.measured,
        "diverged": arm.diverged,
        "missing": arm.missing,
        "lr_at_edge": arm.learning_rate_at_edge,
        "selection": _selection(arm),
        "lr_sensitivity": asdict(arm.sensitivity) if arm.sensitivity else None,
        "setting_at_edge": arm.setting_at_edge,
        "key_sensitivity": asdict(arm.search_sensitivity) if arm.search_sensitivity else None,
        "budgets": [_budget(one, metric) for one in arm.by_budget],
    }


def _search(info: ComparisonInfo) -> dict[str, Any] | None:
    """Return how settings are searched, and in which ranges; None without a search."""
    if info.search is None:
        return None
    return {
        **asdict(info.search),
        "ranges": {arm.name: [asdict(one) for one in arm.ranges] for arm in info.arms},
    }


def _budget(result: BudgetResult, metric: Metric) -> dict[str, Any]:
    """Return what a search gives an arm with a number of settings."""
    return {
        "settings": result.settings,
        "setting": dict(result.setting),
        **scores_json(metric, test=_over_seeds(result.test_score), val=result.val_score.mean),
        "places": result.places,
    }


def _over_seeds(scores: Summary) -> dict[str, Any]:
    return {"mean": scores.mean, "std": scores.std, "ci95": scores.ci95}


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


def _target_ranking(target: TargetSummary) -> dict[str, Any]:
    """Return which arms reach the target sooner than others."""
    steps = target.steps
    arms = [
        {"arm" if key == "name" else key: value for key, value in asdict(arm).items()}
        for arm in steps.arms
    ]
    return {
        "origin": target.origin or None,
        "examples": target.examples,
        "arms": arms,
        "pairs": [asdict(pair) for pair in steps.pairs],
        "seeds_needed": steps.seeds_needed,
    }


def _grid_result(result: GridResult, metric: Metric) -> dict[str, Any]:
    return {
        "arm": result.arm,
        "optimizer": result.optimizer,
        "lr": result.learning_rate,
        "setting": dict(result.setting),
        **scores_json(metric, val=result.val_score),
        "diverged": result.diverged,
        "status": result.status,
        "chosen": result.chosen,
    }


def _trial(trial: TrialResult, metric: Metric) -> dict[str, Any]:
    """Return everything known about a trial; its learning rate is `lr`, as everywhere."""
    values = asdict(trial)
    learning_rate, setting = values.pop("learning_rate"), dict(values.pop("setting"))
    for name in ("measured", "example_scores", "further", "timed_on"):
        del values[name]
    scores = scores_json(metric, val=values.pop("val_score"), test=values.pop("test_score"))
    return {
        "id": values.pop("id"),
        "arm": values.pop("arm"),
        "optimizer": values.pop("optimizer"),
        "lr": learning_rate,
        "setting": setting,
        **values,
        **scores,
        "metrics": further_json(trial.further),
        **trial.measured,
    }
