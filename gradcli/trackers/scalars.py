"""From records to the scalars that every tracker shows, by step and name.

Of each logged step:

    loss, learning_rate, grad_norm_before_clip, grad_norm_after_clip, clipped_fraction

`clipped_fraction` is the share of the logged steps up to this one whose gradient was clipped. Of
each step in which the layers were measured (`monitor.every`), over all layers:

    update_ratio_median, update_ratio_smallest, update_ratio_largest

Of each evaluation, with METRIC the run's metric and every further one:

    val_loss, val_METRIC, test_loss, test_METRIC

On request, of each layer:

    grad_norm_before_clip/LAYER, grad_norm_after_clip/LAYER, weight_norm/LAYER, update_ratio/LAYER

These names are promised: changing one is a change that the CHANGELOG lists. Those of steps are the
columns of `gradcli runs export`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gradcli.records import (
    EvalRecord,
    LayerInfo,
    LayerRecord,
    Record,
    RunInfo,
    StepRecords,
    layer_norm_columns,
    total_columns,
    was_clipped,
)
from gradcli.records.step_columns import Column

Scalars = tuple[int, dict[str, float]]
"""A step, and its numbers by name."""
_TOTALS = ("loss", "learning_rate", "grad_norm_before_clip", "grad_norm_after_clip")


class ScalarStream:
    """Turns the records of a run, as they come, into scalars whose steps do not fall.

    Args:
        info: of the run.
        layers: whether to include those of each layer.
    """

    def __init__(self, info: RunInfo, *, layers: bool) -> None:
        self._metric = info.metric.name
        self._layers = tuple(map(_named, info.layers)) if layers else ()
        self._measured: dict[int, dict[str, float]] = {}
        self._logged = self._clipped = 0

    def of(self, record: Record) -> Iterator[Scalars]:
        """Yield the scalars that a record adds.

        What is measured of the layers comes before the block of steps that it belongs to, and is
        held back until then.
        """
        match record:
            case LayerRecord():
                self._measured[record.step] = self._of_layers(record)
            case StepRecords():
                yield from self._of_steps(record)
            case EvalRecord():
                yield from self._with_measured({})
                yield record.step, evaluation_scalars(record, self._metric)

    def _of_layers(self, record: LayerRecord) -> dict[str, float]:
        ratios = [ratio for ratio in record.update_ratio if not math.isnan(ratio)]
        values = {}
        if ratios:
            values["update_ratio_median"] = statistics.median(ratios)
            values["update_ratio_smallest"] = min(ratios)
            values["update_ratio_largest"] = max(ratios)
        for index, layer in enumerate(self._layers):
            values[f"weight_norm/{layer.name}"] = record.weight_norm[index]
            values[f"update_ratio/{layer.name}"] = record.update_ratio[index]
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def _of_steps(self, steps: StepRecords) -> Iterator[Scalars]:
        columns = self._columns(steps)
        names = [*columns]
        numbers = zip(*(column.tolist() for column in columns.values()), strict=True)
        rows = {
            step: dict(zip(names, values, strict=True))
            for step, values in zip(steps.step.tolist(), numbers, strict=True)
        }
        yield from self._with_measured(rows)

    def _with_measured(self, rows: dict[int, dict[str, float]]) -> Iterator[Scalars]:
        """Yield rows, in the order of their steps, with what was held back."""
        for step, measured in self._measured.items():
            rows[step] = {**rows.get(step, {}), **measured}
        self._measured = {}
        yield from sorted(rows.items(), key=lambda row: row[0])

    def _columns(self, steps: StepRecords) -> dict[str, Column]:
        totals = total_columns(steps)
        clipped = self._clipped + np.cumsum(was_clipped(steps.clip_coefficient))
        logged = self._logged + np.arange(1, len(steps) + 1)
        if len(steps):
            self._logged, self._clipped = int(logged[-1]), int(clipped[-1])
        return {
            **{name: totals[name] for name in _TOTALS},
            "clipped_fraction": clipped / logged,
            **layer_norm_columns(steps, self._layers, "before"),
            **layer_norm_columns(steps, self._layers, "after"),
        }


def evaluation_scalars(record: EvalRecord, metric: str) -> dict[str, float]:
    """Return the scores and the loss of an evaluation; without what is NaN, which was no result.

    A metric with the name `loss` would hide the loss, and is called `loss_metric`.
    """
    scores = {metric: record.score, **record.further_scores}
    named = {"loss_metric" if name == "loss" else name: score for name, score in scores.items()}
    values = {"loss": record.loss, **named}
    return {
        f"{record.split}_{name}": value for name, value in values.items() if not math.isnan(value)
    }


def _named(layer: LayerInfo) -> LayerInfo:
    """Return a layer under its name; the model itself, which has none, under its kind."""
    return layer if layer.name else replace(layer, name=layer.kind)
