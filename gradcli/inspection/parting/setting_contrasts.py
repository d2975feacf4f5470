"""The settings of single layers that differ: learning rates, decay, freezing, their classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from gradcli.inspection.parting.contrast import Contrast
from gradcli.records import LayerInfo, SetupRecord
from gradcli.runs import Run

_OF_A_GROUP = (
    *("learning_rate", "weight_decay", "momentum", "second_momentum"),
    *("epsilon", "decoupled"),
)
_TRAINED = "trained"


def setting_contrasts(a: Run, b: Run, step: int) -> dict[int, tuple[Contrast, ...]]:
    """Return how each layer's settings differ at the update `step`, of those layers that differ.

    They are those that were observed at the update or last before it, in both runs.

    Args:
        a: a run.
        b: another one with the same layers.
        step: the number of the update, from 1.
    """
    setups = _last_common(a.setups, b.setups, step - 1)
    found = {}
    for index, (one, other) in enumerate(zip(a.layers, b.layers, strict=True)):
        contrasts = [] if one.kind == other.kind else [("class", one.kind, other.kind)]
        if setups is not None:
            names = [parameter.name.rpartition(".")[2] for parameter in one.parameters]
            of_a, of_b = (_by_parameter(setup, index, a.layers) for setup in setups)
            contrasts += _of_layer(of_a, of_b, names)
        if contrasts:
            found[index] = tuple(Contrast(f"{one.name} {key}", *pair) for key, *pair in contrasts)
    return found


def _last_common(
    a: Iterable[SetupRecord], b: Iterable[SetupRecord], updates_before: int
) -> tuple[SetupRecord, SetupRecord] | None:
    others = {one.step: one for one in b}
    pairs = [(one, others[one.step]) for one in a if one.step in others]
    until = [pair for pair in pairs if pair[0].step <= updates_before]
    return until[-1] if until else None


def _by_parameter(
    setup: SetupRecord, layer: int, layers: tuple[LayerInfo, ...]
) -> list[Mapping[str, Any]]:
    """Return the settings of each parameter of a layer; what it has not is left out."""
    first = sum(len(one.parameters) for one in layers[:layer])
    places = range(first, first + len(layers[layer].parameters))
    group_of = {place: group for group in setup.groups for place in group.parameters}
    found: list[Mapping[str, Any]] = []
    for place in places:
        trained = place in group_of and (
            place >= len(setup.requires_grad) or setup.requires_grad[place]
        )
        values = {name: getattr(group_of[place], name) for name in _OF_A_GROUP} if trained else {}
        known = {name: value for name, value in values.items() if not _is_nan(value)}
        found.append({_TRAINED: trained, **known})
    return found


def _of_layer(
    a: list[Mapping[str, Any]], b: list[Mapping[str, Any]], names: list[str]
) -> list[tuple[str, Any, Any]]:
    """Return the settings of a layer that differ, with the values of both runs.

    Those of some of its parameters alone name these: the `learning rate of bias`. What one of the
    runs does not train has no other settings there.
    """
    found: dict[tuple[str, Any, Any], list[str]] = {}
    for name, one, other in zip(names, a, b, strict=True):
        keys = (_TRAINED,) if one[_TRAINED] != other[_TRAINED] else (_TRAINED, *_OF_A_GROUP)
        for key in keys:
            if one.get(key) != other.get(key):
                found.setdefault((key, one.get(key), other.get(key)), []).append(name)
    return [
        (_key(key, [] if key == _TRAINED or owners == names else owners), *pair)
        for (key, *pair), owners in found.items()
    ]


def _key(key: str, parameters: list[str]) -> str:
    words = key.replace("_", " ")
    return f"{words} of {' and '.join(parameters)}" if parameters else words


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
