"""What every JSON object of `--json` is made of: plain values, scores, the data.

JSON has neither NaN nor infinity, and a missing number must not look like a zero: they are the
strings "nan", "inf" and "-inf".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradcli.notation.visible import in_json
from gradcli.records import DataInfo, Metric, MetricScores

SCHEMA = 2


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


def scores_json(metric: Metric, **values: Any) -> dict[str, Any]:
    """Return scores under `val`, `test` or `target`; accuracies also as `val_accuracy` and so on.

    Those were the keys of schema 1.
    """
    named = {f"{key}_accuracy": value for key, value in values.items()}
    return {**values, **(named if metric.is_accuracy else {})}


def further_json(scores: Sequence[MetricScores]) -> dict[str, Any]:
    """Return the scores by the further metrics, by their names."""
    return {
        one.metric.name: {"direction": one.metric.direction, "val": one.val, "test": one.test}
        for one in scores
    }


def data_json(data: DataInfo) -> dict[str, Any]:
    """Return the name of a data set, the sizes of its splits and its checksum."""
    return {
        "name": data.name,
        "train": data.train,
        "val": data.val,
        "test": data.test,
        "sha256": data.sha256,
    }
