"""What an example of a batch looks like, judged against the others of the batch.

These are hints, not proofs: each comes with the numbers that it rests on, and an example that none
of them fits is `not-sure`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradcli.notation import numbers
from gradcli.records import Floats, Integers

Kind = Literal["not-finite", "saturated", "huge", "mislabelled", "not-sure"]

#: Of a saturated image, this share of the values is within a fiftieth of the range of the greatest
#: value; of half of the others, at most half of the values are.
_SATURATED, _NEAR, _USUAL = 0.9, 0.02, 0.5
#: An image has at least this many values; a row of a table is not said to be saturated.
_FEWEST_VALUES = 16
#: The norm of a huge input is this many times the median of the batch.
_HUGE = 5.0
#: A label is doubted if the model gives another class this probability,
_CONFIDENT = 0.9
#: and is right on at least half of the others with this label, of which there are at least three.
_RIGHT, _FEWEST_OTHERS = 0.5, 3


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What an example looks like, and the numbers that say so."""

    kind: Kind
    evidence: str = ""
    """A clause; empty if nothing tells."""


NOT_SURE = Suspicion("not-sure")


@dataclass(frozen=True, slots=True)
class BatchValues:
    """The examples of a batch as they are before they are normalised."""

    inputs: Floats | None
    """(n, values); None if they are tokens, which have no size."""
    greatest: float | None
    """The greatest value there can be, as of a byte; None if that is not known."""
    labels: Integers | None
    """(n,); None if the targets are not classes."""
    probabilities: Floats | None
    """What the model gives each class, (n, classes); None likewise."""
    class_names: tuple[str, ...] = ()

    def name(self, label: int) -> str:
        """Return the name of a class; its number if it has none."""
        return self.class_names[label] if label < len(self.class_names) else str(label)


class Suspicions:
    """Judges examples of a batch, one at a time."""

    def __init__(self, batch: BatchValues) -> None:
        self._batch = batch
        if batch.inputs is None:
            return
        values = batch.inputs
        with np.errstate(invalid="ignore", over="ignore"):
            self._norms = np.sqrt(np.square(values, dtype=np.float64).sum(axis=1))
            self._lowest = float(np.median(values.min(axis=1)))
            # Of one huge example the greatest value would say nothing about the others.
            greatest = float(np.median(values.max(axis=1)))
        self._greatest = greatest if batch.greatest is None else batch.greatest
        self._at_top = self._share_at_top(values)

    def of(self, place: int) -> Suspicion:
        """Return what the example at a place of the batch looks like."""
        if self._batch.inputs is not None:
            values = self._batch.inputs[place]
            if bad := int((~np.isfinite(values)).sum()):
                return Suspicion("not-finite", f"{numbers.count(bad, 'input value')} not finite")
            if found := self._saturated(place) or self._huge(place):
                return found
        return self._mislabelled(place) or NOT_SURE

    def _share_at_top(self, values: Floats) -> NDArray[np.float64]:
        """Return the share of each example's values that are at the greatest value, (n,)."""
        room = _NEAR * (self._greatest - self._lowest)
        near = np.abs(values - self._greatest) <= room
        return np.asarray(near.mean(axis=1), dtype=np.float64)

    def _saturated(self, place: int) -> Suspicion | None:
        assert self._batch.inputs is not None
        share, usual = self._at_top[place], float(np.median(self._at_top))
        if self._batch.inputs.shape[1] < _FEWEST_VALUES or share < _SATURATED or usual > _USUAL:
            return None
        return Suspicion(
            "saturated",
            f"{numbers.share(share)} of its values are {self._greatest:g}, the greatest; of the "
            f"median example {numbers.share(usual)}",
        )

    def _huge(self, place: int) -> Suspicion | None:
        usual = float(np.median(self._norms))
        norm = float(self._norms[place])
        if not (usual > 0 and norm > _HUGE * usual):
            return None
        return Suspicion(
            "huge", f"its input norm is {numbers.norm(norm / usual)} times the batch's median"
        )

    def _mislabelled(self, place: int) -> Suspicion | None:
        labels, probabilities = self._batch.labels, self._batch.probabilities
        if labels is None or probabilities is None:
            return None
        label, predicted = int(labels[place]), int(np.argmax(probabilities[place]))
        confidence = float(probabilities[place, predicted])
        if predicted == label or not confidence >= _CONFIDENT:
            return None
        others = np.flatnonzero(labels == label)
        others = others[others != place]
        right = int((probabilities[others].argmax(axis=1) == label).sum())
        if len(others) < _FEWEST_OTHERS or right < _RIGHT * len(others):
            return None
        return Suspicion(
            "mislabelled",
            f"the model gives {self._batch.name(predicted)} {numbers.share(confidence)}, and is "
            f"right on {right} of {len(others)} others labelled {self._batch.name(label)}",
        )
