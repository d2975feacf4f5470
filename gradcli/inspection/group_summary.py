"""The parameter groups of a run, from its records: their learning rates and gradient norms.

A step's record has the learning rate of the first group and the norm of each parameter's gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradcli.records import Floats, GroupInfo, ParameterGroup
from gradcli.runs import Run

#: By how much a rate that is derived may differ from an observed one: rounding.
_ROUNDING = 1e-9


def places_of_groups(run: Run) -> list[list[int]]:
    """Return for each group the columns of its parameters in the run's records."""
    names = [parameter.name for layer in run.layers for parameter in layer.parameters]
    at = {name: index for index, name in enumerate(names)}
    return [[at[name] for name in group.parameters if name in at] for group in run.info.groups]


def norm_by_group(parameter_norms: Floats, places: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Derive the norms (n, G) of groups from those of the parameters (n, P), in float64."""
    squares = np.square(parameter_norms.astype(np.float64))
    columns = [squares[:, list(group)].sum(axis=1) for group in places]
    return np.sqrt(np.stack(columns, axis=1)) if columns else np.empty((len(squares), 0))


def rates_of_groups(run: Run) -> list[tuple[float, float]]:
    """Return the learning rate of each group at the first and the last logged step.

    gradcli's schedules multiply the rates of all groups by one factor, which the recorded rate of
    the first group shows. Where another schedule does otherwise, as the set-ups that were observed
    show, the rates are those of the first and the last of these. NaN if nothing is on record.
    """
    logged, first = run.steps.learning_rate, run.info.learning_rate
    rates = []
    for group, place in zip(run.info.groups, places_of_groups(run), strict=True):
        observed = [
            (setup.groups[0].learning_rate, rate)
            for setup in run.setups
            for rate in [_rate_of(setup.groups, place)]
            if setup.groups and not math.isnan(rate)
        ]
        if len(logged) and first > 0 and all(_keeps_proportion(group, first, *o) for o in observed):
            ends = float(logged[0]), float(logged[-1])
            rates.append(
                (ends[0] / first * group.learning_rate, ends[1] / first * group.learning_rate)
            )
        elif observed:
            rates.append((observed[0][1], observed[-1][1]))
        else:
            rates.append((math.nan, math.nan))
    return rates


def _rate_of(groups: Sequence[ParameterGroup], place: Sequence[int]) -> float:
    """Return the observed rate of the group with these parameters; NaN if it was not observed."""
    held = (one.learning_rate for one in groups if not set(place).isdisjoint(one.parameters))
    return next(held, math.nan)


def _keeps_proportion(group: GroupInfo, first: float, rate_of_first: float, rate: float) -> bool:
    expected = rate_of_first / first * group.learning_rate
    return math.isclose(rate, expected, rel_tol=_ROUNDING, abs_tol=_ROUNDING * first)
