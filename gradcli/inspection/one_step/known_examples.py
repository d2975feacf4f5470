"""What an example is compared with: the training data, its nearest inputs and what is usual."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gradcli.records import Doubles, Floats, Integers

#: How many of the nearest inputs are asked for their labels.
NEAREST = 10
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


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest other inputs of an example, the nearest first."""

    distances: Doubles
    labels: Integers | None


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

    def sample(self) -> Floats:
        """Return the inputs of some examples, (at most 200, values)."""
        return self._inputs[_some(np.arange(len(self)))] * self._scale

    def nearest(self, values: Floats, number: int) -> Nearest:
        """Return the nearest inputs of some values, example `number` itself left out."""
        distances = self._distances(values[None] / self._scale, np.array([number]))[0]
        count = min(NEAREST, max(0, len(self) - 1))
        first = np.argpartition(distances, count)[:count] if count else np.array([], int)
        first = first[np.argsort(distances[first], kind="stable")]
        return Nearest(distances[first], None if self.labels is None else self.labels[first])

    @cached_property
    def nearest_distances(self) -> Doubles:
        """The distance from some examples to their nearest other, (at most 200,)."""
        found = self._of_sample(_some(np.arange(len(self))))
        return np.asarray(found.min(axis=1, initial=np.inf))

    def without_own(self, label: int) -> tuple[float, int]:
        """Return which share of some examples has no nearest one of its own label, and of how many.

        Args:
            label: that of the examples; at most 200 of them are asked.
        """
        if self.labels is None:
            return float("nan"), 0
        asked = _some(np.flatnonzero(self.labels == label))
        if len(asked) < _FEWEST:
            return float("nan"), len(asked)
        first = np.argpartition(self._of_sample(asked), NEAREST, axis=1)[:, :NEAREST]
        have_none = (self.labels[first] != label).all(axis=1)
        return float(have_none.mean()), len(asked)

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


def _some(places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return at most 200 of some places, the same each time, spread evenly over them."""
    if len(places) <= _SAMPLE:
        return places
    return np.asarray(places[np.linspace(0, len(places) - 1, _SAMPLE).astype(int)])
