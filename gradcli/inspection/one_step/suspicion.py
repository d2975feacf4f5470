"""What an example of a batch looks like, judged against the training data and the batch.

These are hints, not proofs: each comes with the numbers that it rests on, and an example that none
of them fits is `not-sure`. docs/decisions.md has how the limits were chosen, and docs/spikes.md how
often the words are right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from gradcli.inspection.one_step.known_examples import (
    NEAREST,
    KnownExamples,
    far_out,
    roughness,
)
from gradcli.notation import numbers
from gradcli.records import Doubles, Floats, Integers

Kind = Literal[
    "not-finite",
    "saturated",
    "constant",
    "huge",
    "noise",
    "inverted",
    "unlike",
    "mislabelled",
    "hard",
    "not-sure",
]

#: Of a saturated image, this share of the values is within a fiftieth of the range of the greatest
#: value; of half of the others, at most half of the values are.
_SATURATED, _NEAR, _USUAL = 0.9, 0.02, 0.5
#: An image has at least this many values; a row of a table is not said to be saturated.
_FEWEST_VALUES = 16
#: "Huge" means this many times the median input norm of the batch, and far out.
_HUGE = 5.0
#: Of n independent pixels the roughness is 1 with a deviation of at most 1 / sqrt(n).
_DEVIATIONS = 3.0
#: Neighbours speak against a label if at most this share of others with it has none of its own,
_WITHOUT_OWN = 0.1
#: and if it is as far from the label as all but this share of those that they speak for.
_ATYPICAL = 0.25


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What an example looks like, and the numbers that say so."""

    kind: Kind
    evidence: str = ""
    """A clause; empty if nothing tells."""

    @property
    def is_bad(self) -> bool:
        """Whether the example itself may be bad."""
        return self.kind not in ("hard", "not-sure")


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
    image_shape: tuple[int, ...] | None = None
    """(channels, height, width); None if they are no images."""
    known: KnownExamples | None = None
    """What they are compared with; None likewise as `inputs`."""
    originals: Floats | None = None
    """(n, values) as in the training data; `inputs` may be augmented."""
    numbers: Integers | None = None
    """Which examples of the training data they are, (n,)."""

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
        finite = values[np.isfinite(values).all(axis=1)]
        if not len(finite):
            finite = np.zeros_like(values)
        with np.errstate(over="ignore"):
            self._norms = np.sqrt(np.square(values, dtype=np.float64).sum(axis=1))
            lows, highs = finite.min(axis=1), finite.max(axis=1)
        self._usual_range = float(np.median(highs - lows))
        self._lowest = float(np.median(lows))
        # Of one huge example the greatest value would say nothing about the others.
        highest = float(np.median(highs))
        self._greatest = highest if batch.greatest is None else batch.greatest
        room = _NEAR * (self._greatest - self._lowest)
        self._at_top = (np.abs(values - self._greatest) <= room).mean(axis=1)

    def of(self, place: int) -> Suspicion:
        """Return what the example at a place of the batch looks like."""
        if self._batch.inputs is None:
            return NOT_SURE
        values = self._batch.inputs[place]
        if bad := int((~np.isfinite(values)).sum()):
            return Suspicion("not-finite", f"{numbers.count(bad, 'input value')} not finite")
        found = (
            self._constant(place)
            or self._huge(place)
            or self._noise(values)
            or self._inverted(place)
            or self._saturated(place)
            or self._unlike(place)
            or self._label(place)
        )
        return found or NOT_SURE

    def _original(self, place: int) -> tuple[KnownExamples, Floats, int] | None:
        """Return what an example is compared with, and what it is there; None if with nothing."""
        batch = self._batch
        if batch.known is None or batch.originals is None or batch.numbers is None:
            return None
        return batch.known, batch.originals[place], int(batch.numbers[place])

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

    def _constant(self, place: int) -> Suspicion | None:
        assert self._batch.inputs is not None
        values = self._batch.inputs[place]
        low, high = float(values.min()), float(values.max())
        if low != high or len(values) < _FEWEST_VALUES or not self._usual_range > 0:
            return None
        if low == self._greatest and (saturated := self._saturated(place)):
            return saturated
        return Suspicion("constant", f"all of its {numbers.count(len(values))} values are {low:g}")

    def _huge(self, place: int) -> Suspicion | None:
        norms = self._norms[np.isfinite(self._norms)]
        usual, norm = float(np.median(norms)), float(self._norms[place])
        if not (usual > 0 and norm > _HUGE * usual):
            return None
        # If norms differ by such factors as a rule, as those of incomes do, this one is no news.
        if math.log(norm) <= far_out(np.log(norms[norms > 0])):
            return None
        return Suspicion(
            "huge", f"its input norm is {numbers.norm(norm / usual)} times the batch's median"
        )

    @cached_property
    def _usual_roughness(self) -> Doubles:
        assert self._batch.inputs is not None
        assert self._batch.image_shape is not None
        return roughness(self._batch.inputs.reshape(-1, *self._batch.image_shape))

    def _noise(self, values: Floats) -> Suspicion | None:
        shape = self._batch.image_shape
        if shape is None:
            return None
        found = float(roughness(values.reshape(1, *shape))[0])
        independent = 1 - _DEVIATIONS / math.sqrt(shape[1] * shape[2])
        if not (found >= independent and found > far_out(self._usual_roughness)):
            return None
        usual = float(np.nanmedian(self._usual_roughness))
        return Suspicion(
            "noise",
            f"its neighbouring pixels differ {found:.2f} times as much as any two of it; those of "
            f"the median example {usual:.2f} times",
        )

    def _inverted(self, place: int) -> Suspicion | None:
        """Find an image that is far from the others, and whose negative is not."""
        if self._batch.image_shape is None or (original := self._original(place)) is None:
            return None
        known, values, number = original
        fence, distance = far_out(known.distances), known.distance(values, number)
        negative = known.distance(np.float32(self._lowest + self._greatest) - values, number)
        if not negative <= fence < distance:
            return None
        usual = float(np.median(known.distances))
        return Suspicion(
            "inverted",
            f"it is {numbers.norm(distance / usual)} times as far from the training data as the "
            f"median example, its negative {numbers.norm(negative / usual)} times",
        )

    def _unlike(self, place: int) -> Suspicion | None:
        if (original := self._original(place)) is None:
            return None
        known, values, number = original
        distance = known.distance(values, number)
        if not distance > far_out(known.distances):
            return None
        usual = distance / float(np.median(known.distances))
        return Suspicion(
            "unlike",
            f"it is {numbers.norm(usual)} times as far from the training data as the median "
            "example",
        )

    def _label(self, place: int) -> Suspicion | None:
        """Ask two witnesses about the label: the model, and the nearest other inputs."""
        labels, probabilities = self._batch.labels, self._batch.probabilities
        original = self._original(place)
        if labels is None or probabilities is None or original is None:
            return None
        known, values, number = original
        if (near := known.nearest_labels(values, number)) is None:
            return None
        label, predicted = int(labels[place]), int(np.argmax(probabilities[place]))
        probability = float(probabilities[place, predicted])
        if predicted == label or not np.isfinite(probability):
            return None
        name, other = self._batch.name(label), self._batch.name(predicted)
        given = f"the model gives {other} {numbers.share(probability)}"
        own, others = int((near == label).sum()), int((near == predicted).sum())
        if own > NEAREST / 2:
            return Suspicion(
                "hard",
                f"{given}, but {_of_nearest(own)} are labelled {name}, too",
            )
        if own or others <= NEAREST / 2 or not self._is_confident(place, probability):
            return None
        far = known.times_as_far(values, number, label, predicted)
        usual = known.usual_times_as_far(label, predicted)
        if not len(usual) or not far >= np.quantile(usual, _ATYPICAL):
            return None
        if not known.without_own(label) <= _WITHOUT_OWN:
            return None
        return Suspicion(
            "mislabelled",
            f"{given}, and {_of_nearest(others)} are labelled {other}, none {name}; those labelled "
            f"{name} are {numbers.norm(far)} times as far away, as from the median example "
            f"labelled {other} {numbers.norm(float(np.median(usual)))} times",
        )

    def _is_confident(self, place: int, probability: float) -> bool:
        """Whether a probability is at least the mean that the others' labels have.

        That is how confident learning tells a doubt (Northcutt et al. 2021, arXiv 1911.00068,
        section 3.1), with one mean for all classes: a batch has few examples of each.
        """
        labels, probabilities = self._batch.labels, self._batch.probabilities
        assert labels is not None
        assert probabilities is not None
        of_labels = np.delete(probabilities[np.arange(len(labels)), labels], place)
        return len(of_labels) > 0 and probability >= of_labels.mean()


def _of_nearest(count: int) -> str:
    return f"{'all of' if count == NEAREST else f'{count} of'} its {NEAREST} nearest others"
