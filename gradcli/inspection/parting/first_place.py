"""The first place in which two runs differ: in which step, at which stage of it, in which layer.

A step is computed in a fixed order: the batch and the weights are given, the layers are called one
after another, the loss follows, then the gradients from the last layer to the first, clipping and
the update. What differs first in this order is where two runs part; all that comes after it differs
because of it. The fingerprints of the observed steps show what differed there, to the bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gradcli.inspection.parting.contrast import Contrast
from gradcli.inspection.parting.growth import ROUNDING
from gradcli.inspection.parting.observed_steps import ObservedStep, observed_steps, other_layers
from gradcli.inspection.parting.setting_contrasts import setting_contrasts
from gradcli.inspection.parting.step_gaps import StepGaps, equal
from gradcli.records import norm_by_layer
from gradcli.runs import Run

Stage = Literal[
    "layers",
    "weights",
    "batch",
    "order",
    "input",
    "output",
    "loss",
    "gradient",
    "clip",
    "update",
    "unobserved",
]
Scope = Literal["one", "several", "all", "none", "unknown"]


@dataclass(frozen=True, slots=True)
class FirstPlace:
    """Where two runs part first."""

    step: int
    """The update, from 1; 0 if the models have other layers."""
    stage: Stage
    """What differs first in that step. `layers`: the model has others. `weights`: those before the
    first update. `update`: those before this update, although the gradients of the update before
    were the same. `batch`: what the model is given. `order`: which layers are called. `input`: what
    a layer is given, although the layers before it returned the same. `output`: what a layer
    returns, although its weights and what it is given are the same. `gradient`: the gradients of a
    layer, although the loss is the same. `unobserved`: it cannot be told."""
    scope: Scope
    """In how many layers they part at once; `none` if no layer is to blame."""
    layers: tuple[str, ...]
    """These layers; for the scopes `none` and `unknown` those in which it is seen first."""
    sure: bool
    """Whether the records prove it; otherwise it is what they make likely."""
    equal_at: int
    """The last observed update before at which all was equal; 0 if there is none."""
    apart: float
    """How far apart the runs are at once: the largest of the relative distances of the outputs,
    the loss and the gradient norms of that step; NaN if none is known."""
    reasons: tuple[Contrast, ...] = ()
    """The settings of these layers that differ."""
    other_batch: bool = False
    """Whether the batch differs, too."""
    non_finite: Literal["", "a", "b"] = ""
    """The run whose loss or gradient norms in that step are not finite, if it is one alone."""

    @property
    def layer(self) -> str | None:
        """The layer in which they part; None unless it is one."""
        return self.layers[0] if self.scope == "one" else None

    @property
    def is_rounding(self) -> bool:
        """Whether they are no further apart at once than rounding makes them."""
        return self.apart <= ROUNDING


def first_place(a: Run, b: Run, gaps: StepGaps, *, same_machine: bool) -> FirstPlace | None:
    """Find where two runs part first; None if nothing that is recorded differs.

    Args:
        a: a run.
        b: another one.
        gaps: of their logged steps.
        same_machine: whether nothing differs that changes the rounding of sums: the number of
            threads, the device, the version of torch, the host.
    """
    others = other_layers(a.layers, b.layers)
    if others:
        scope: Scope = "one" if len(others) == 1 else "several"
        return FirstPlace(0, "layers", scope, others, sure=True, equal_at=0, apart=math.nan)
    place = _Search(a, b, gaps).place()
    if place is None:
        return None
    on_cpu = a.info.device.startswith("cpu")
    by_chance = not same_machine or not (on_cpu or place.stage == "weights")
    if place.is_rounding and by_chance and place.stage != "unobserved":
        return replace(place, scope="none", reasons=())
    return place


class _Search:
    """Goes through the steps of two runs with the same layers until one differs."""

    def __init__(self, a: Run, b: Run, gaps: StepGaps) -> None:
        self._a, self._b, self._gaps = a, b, gaps
        self._names = tuple(layer.name for layer in a.layers)
        self._equal_at = 0

    def place(self) -> FirstPlace | None:
        for seen in observed_steps(self._a, self._b):
            found = self._place_at(seen)
            if found is not None:
                return found
            self._equal_at = seen.step
        if self._gaps.first is None:
            return None
        return self._unobserved(self._gaps.first)

    def _place_at(self, seen: ObservedStep) -> FirstPlace | None:
        """Return where the runs part at an observed step, or before it; None if all is equal."""
        first = self._gaps.first
        differed_before = first is not None and first < seen.step
        if seen.weights:
            return self._of_weights(seen)
        if differed_before:
            return self._unobserved(first or 0)
        if seen.other_batch:
            return self._found(seen.step, "batch", "none", (), sure=seen.exact)
        if seen.place is not None:
            stage, layers = seen.place
            found = self._found(seen.step, stage, "one", layers, sure=True, apart=seen.apart)
            return replace(found, scope="one" if len(layers) == 1 else "several")
        if first == seen.step:
            return self._after_the_outputs(seen)
        row = self._gaps.row_of(seen.step)
        if row is not None and self._gaps.clip_differs[row]:
            layers = self._layers_that_differ(seen.step, "parameter_grad_norm_after_clip")
            return self._found(seen.step, "clip", _scope(layers, self._names), layers, sure=True)
        return None

    def _of_weights(self, seen: ObservedStep) -> FirstPlace:
        """Say what it means that weights differ."""
        layers, step = seen.weights, seen.step
        scope = _scope(layers, self._names)
        if step == 1:
            found = self._found(1, "weights", scope, layers, sure=seen.exact)
            return replace(found, other_batch=seen.other_batch)
        if self._known_equal_before(step):
            reasons = self._reasons(step - 1, layers)
            # A difference may be too small to show in the numbers of the steps in between.
            sure = seen.exact and (len(layers) == 1 or self._equal_at == step - 1)
            return replace(self._found(step, "update", scope, layers, sure=sure), reasons=reasons)
        # Between two observations other layers may have been first, and one whose weights alone
        # moved is the only one that could.
        trained = self._trained_layers(step)
        if len(layers) == 1 and len(trained) > 1:
            found = self._found(step, "update", "one", layers, sure=False)
            return replace(found, reasons=self._reasons(step, layers))
        first = self._gaps.first
        return self._unobserved(step if first is None else min(first, step), until=step)

    def _after_the_outputs(self, seen: ObservedStep) -> FirstPlace:
        """Say what it means that a step differs although all outputs are the same."""
        step = seen.step
        row = self._gaps.row_of(step)
        assert row is not None
        if not seen.outputs_known:
            return self._unobserved(step)
        if self._gaps.loss[row] != 0:
            return self._found(step, "loss", "none", (), sure=True)
        layers = self._layers_that_differ(step, "parameter_grad_norm_before_clip")
        reasons = self._reasons(step, layers)
        frozen = tuple(
            name for name in layers if any(one.key == f"{name} trained" for one in reasons)
        )
        if frozen:
            return replace(
                self._found(step, "gradient", _scope(frozen, self._names), frozen, sure=True),
                reasons=tuple(one for one in reasons if one.key.rpartition(" ")[0] in frozen),
            )
        # Gradients are computed from the last layer to the first.
        order = [self._names[index] for index in seen.order] or list(self._names)
        last = max(layers, key=lambda name: order.index(name) if name in order else -1)
        return self._found(step, "gradient", "one", (last,), sure=bool(seen.order))

    def _unobserved(self, first: int, until: int | None = None) -> FirstPlace:
        """Say that it cannot be told, unless the settings of a single layer differ."""
        contrasts = setting_contrasts(self._a, self._b, first if until is None else until)
        layers = tuple(self._names[index] for index in contrasts)
        if len(layers) == 1:
            found = self._found(first, "unobserved", "one", layers, sure=False)
            (reasons,) = contrasts.values()
            return replace(found, reasons=reasons)
        return self._found(first, "unobserved", "unknown", (), sure=False)

    def _found(
        self,
        step: int,
        stage: Stage,
        scope: Scope,
        layers: tuple[str, ...],
        *,
        sure: bool,
        apart: float = math.nan,
    ) -> FirstPlace:
        row = self._gaps.row_of(step)
        distances = [apart]
        if row is not None:
            distances += [float(self._gaps.loss[row]), float(self._gaps.gradients[row])]
        known = [one for one in distances if not math.isnan(one)]
        return FirstPlace(
            step,
            stage,
            scope,
            layers,
            sure=sure,
            equal_at=self._equal_at,
            apart=max(known, default=math.nan),
            reasons=self._reasons(step, layers),
            non_finite=self._non_finite(step),
        )

    def _non_finite(self, step: int) -> Literal["", "a", "b"]:
        finite = []
        for run in (self._a, self._b):
            row = int(np.searchsorted(run.steps.step, step))
            if row == len(run.steps) or run.steps.step[row] != step:
                return ""
            norm = run.steps.grad_norm_before_clip[row]
            finite.append(bool(np.isfinite(run.steps.loss[row]) and np.isfinite(norm)))
        if finite[0] == finite[1]:
            return ""
        return "b" if finite[0] else "a"

    def _reasons(self, step: int, layers: tuple[str, ...]) -> tuple[Contrast, ...]:
        contrasts = setting_contrasts(self._a, self._b, step)
        return tuple(
            one
            for index, found in contrasts.items()
            if self._names[index] in layers
            for one in found
        )

    def _known_equal_before(self, step: int) -> bool:
        """Whether each step from the last observed one up to the one before is logged and equal."""
        rows = [self._gaps.row_of(one) for one in range(max(1, self._equal_at), step)]
        return all(row is not None and not self._gaps.differs[row] for row in rows)

    def _trained_layers(self, step: int) -> set[str]:
        """Return the layers whose weights moved in a run until a step, as their gradients tell."""
        steps = self._a.steps
        rows = steps.step < step
        norms = norm_by_layer(steps.parameter_grad_norm_before_clip[rows], self._a.layers)
        moved: list[bool] = np.any(np.nan_to_num(norms), axis=0).tolist()
        return {name for name, one in zip(self._names, moved, strict=True) if one}

    def _layers_that_differ(self, step: int, column: str) -> tuple[str, ...]:
        norms = []
        for run in (self._a, self._b):
            row = int(np.searchsorted(run.steps.step, step))
            norms.append(getattr(run.steps, column)[row])
        differs = ~equal(*norms)
        names = [layer.name for layer in self._a.layers for _ in layer.parameters]
        return tuple(dict.fromkeys(np.array(names)[differs].tolist()))


def _scope(layers: tuple[str, ...], names: tuple[str, ...]) -> Scope:
    if len(layers) == len(names) > 1:
        return "all"
    return "one" if len(layers) == 1 else "several"
