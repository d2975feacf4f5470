"""What an example is compared with: the training data, its nearest inputs and what is usual."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gradcli.records import Doubles, Floats, Integers

#: How many of the nearest inputs are asked for their labels.
NEAREST = 10
#: How far an input is from a class is the mean distance to so many of it, its nearest.
_OF_A_CLASS = 3
#: How far an input is from the data is how near this share of the others is: a few other bad ones
#: that look the same are then no company.
_COMPANY = 0.05
#: Of how many examples it is measured what is usual, at most and at least.
_SAMPLE, _FEWEST = 200, 20
#: Tukey's fence for what is far out, in interquartile ranges above the third quartile (Exploratory
#: Data Analysis, 1977). A quarter of the values can be bad without moving it far.
_FAR_OUT = 3.0


def far_out(values: Doubles) -> float:
    """Return the fence above which a value is far out; NaN if too few values or no spread."""
    values = values[np.isfinite(values)]
    if len(values) < _FEWEST:
        return float("nan")
    first, third = np.percentile(values, (25, 75))
    return float(third + _FAR_OUT * (third - first)) if third > first else float("nan")


class KnownExamples:
    """Examples of the training data; those that are not finite are left out.

    Args:
        inputs: (m, values)
        numbers: which examples of the training data they are, (m,).
        labels: (m,); None if the targets are not classes.
        are_columns: whether each value has a unit of its own, as in a table; distances are then in
            deviations of each column.
    """

    def __init__(
        self,
        inputs: Floats,
        numbers: Integers,
        labels: Integers | None = None,
        *,
        are_columns: bool = False,
    ) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            kept = np.isfinite(np.square(inputs).sum(axis=1))
        inputs = inputs[kept]
        self.numbers = numbers[kept]
        self.labels = None if labels is None else labels[kept]
        self._scale = np.ones(1, np.float32)
        if are_columns and len(inputs):
            spread = inputs.std(axis=0)
            self._scale = np.where(spread > 0, spread, 1).astype(np.float32)
        self._inputs = inputs / self._scale
        self._squares = np.square(self._inputs).sum(axis=1)

    def __len__(self) -> int:
        return len(self.numbers)

    def nearest_labels(self, values: Floats, number: int) -> Integers | None:
        """Return the labels of the ten nearest inputs; None if there are not so many, or none.

        Args:
            values: of an input, (values,).
            number: its example, which is left out.
        """
        if self.labels is None or len(self) <= NEAREST:
            return None
        return np.asarray(self.labels[_nearest(self._to_all(values, number))])

    def distance(self, values: Floats, number: int) -> float:
        """Return how near a twentieth of the other inputs is to some values; NaN without any."""
        return float(self._company(self._to_all(values, number)[None])[0])

    @cached_property
    def distances(self) -> Doubles:
        """The same of some examples, (at most 200,)."""
        return self._company(self._of_sample(_some(np.arange(len(self)))))

    def _company(self, distances: Doubles) -> Doubles:
        if len(self) < 2:
            return np.full(len(distances), np.nan)
        place = math.ceil(_COMPANY * (len(self) - 1)) - 1
        return np.asarray(np.partition(distances, place, axis=1)[:, place])

    def without_own(self, label: int) -> float:
        """Return which share of at most 200 examples with a label has no nearest one of the same.

        NaN if there are fewer than 20.
        """
        asked = self._labelled(label)
        if self.labels is None or not len(asked):
            return math.nan
        found = self.labels[_nearest(self._of_sample(asked))]
        return float((found != label).all(axis=1).mean())

    def times_as_far(self, values: Floats, number: int, label: int, other: int) -> float:
        """Return how many times as far an input is from those of a label as from those of another.

        NaN if there are fewer than three of either.
        """
        return float(self._ratios(self._to_all(values, number)[None], label, other)[0])

    def usual_times_as_far(self, label: int, other: int) -> Doubles:
        """Return the same of at most 200 examples labelled `other`; of fewer than 20, none."""
        return self._ratios(self._of_sample(self._labelled(other)), label, other)

    def _labelled(self, label: int) -> NDArray[np.intp]:
        found = _some(np.flatnonzero(self.labels == label))
        return found if len(found) >= _FEWEST else found[:0]

    def _ratios(self, distances: Doubles, label: int, other: int) -> Doubles:
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._from_class(distances, label) / self._from_class(distances, other)

    def _from_class(self, distances: Doubles, label: int) -> Doubles:
        assert self.labels is not None
        of_class = distances[:, self.labels == label]
        if of_class.shape[1] <= _OF_A_CLASS:
            return np.full(len(distances), np.nan)
        nearest = np.partition(of_class, _OF_A_CLASS - 1, axis=1)[:, :_OF_A_CLASS]
        return np.asarray(nearest.mean(axis=1))

    def _to_all(self, values: Floats, number: int) -> Doubles:
        return np.asarray(self._distances(values[None] / self._scale, np.array([number]))[0])

    def _of_sample(self, places: NDArray[np.intp]) -> Doubles:
        return self._distances(self._inputs[places], self.numbers[places])

    def _distances(self, scaled: Floats, numbers: Integers) -> Doubles:
        """Return the distances of scaled inputs to all; an example's to itself is infinite."""
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.square(scaled).sum(axis=1)[:, None] + self._squares
            squares = squares - 2 * (scaled @ self._inputs.T)
            found = np.asarray(np.sqrt(np.maximum(squares, 0)), dtype=np.float64)
        found[np.asarray(numbers)[:, None] == self.numbers] = np.inf
        return found


def roughness(images: Floats) -> Doubles:
    """Return how much neighbouring pixels differ: 1 if no more alike than any two, 0 if the same.

    Their mean squared difference over that of two independent ones (von Neumann's ratio, 1941, in
    both directions); NaN for an image of one value.

    Args:
        images: (n, channels, height, width)
    """
    images = images.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        spread = images.var(axis=(2, 3)).sum(axis=1)
        differences = [np.square(np.diff(images, axis=axis)) for axis in (2, 3)]
        both = sum(one.mean(axis=(2, 3)).sum(axis=1) for one in differences if one.size)
        # One of one row or one column has neighbours in one direction only.
        directions = sum(one.size > 0 for one in differences)
        return np.asarray(both / (2 * directions * spread), dtype=np.float64)


def _nearest(distances: Doubles) -> NDArray[np.intp]:
    """Return the places of the ten smallest of more distances, (..., 10)."""
    return np.asarray(np.argpartition(distances, NEAREST, axis=-1)[..., :NEAREST])


def _some(places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return at most 200 of some places, the same each time, spread evenly over them."""
    if len(places) <= _SAMPLE:
        return places
    return np.asarray(places[np.linspace(0, len(places) - 1, _SAMPLE).astype(int)])
