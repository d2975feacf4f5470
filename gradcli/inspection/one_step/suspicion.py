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
    Nearest,
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
#: Neighbours speak against a label if at most this share of others with it has none of its own.
_WITHOUT_OWN = 0.1


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
        found = self._saturated(place) or self._constant(values) or self._huge(place)
        if found := found or self._noise(values):
            return found
        if (known := self._batch.known) is None or not len(known):
            return NOT_SURE
        assert self._batch.originals is not None
        assert self._batch.numbers is not None
        original, number = self._batch.originals[place], int(self._batch.numbers[place])
        near = known.nearest(original, number)
        return self._unlike(original, number, near) or self._label(place, near) or NOT_SURE

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

    def _constant(self, values: Floats) -> Suspicion | None:
        low, high = float(values.min()), float(values.max())
        if low != high or len(values) < _FEWEST_VALUES or not self._usual_range > 0:
            return None
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

    def _unlike(self, values: Floats, number: int, near: Nearest) -> Suspicion | None:
        """Judge how far its nearest other is, and whether its negative is among the others."""
        known = self._batch.known
        assert known is not None
        distances = known.nearest_distances
        fence = far_out(distances)
        if not len(near.distances) or not near.distances[0] > fence:
            return None
        usual = float(np.median(distances))
        if self._batch.image_shape is not None:
            both = np.float32(self._lowest + self._greatest)
            negative = known.nearest(both - values, number).distances[0]
            if negative <= fence:
                return Suspicion(
                    "inverted",
                    f"its negative is {numbers.norm(negative / usual)} times as far from its "
                    "nearest other as the median example, it itself "
                    f"{numbers.norm(near.distances[0] / usual)} times",
                )
        return Suspicion(
            "unlike",
            f"its nearest other is {numbers.norm(near.distances[0] / usual)} times as far as that "
            "of the median example",
        )

    def _label(self, place: int, near: Nearest) -> Suspicion | None:
        """Ask two witnesses about the label: the model, and the nearest other inputs."""
        labels, probabilities, known = (
            self._batch.labels,
            self._batch.probabilities,
            self._batch.known,
        )
        if labels is None or probabilities is None or near.labels is None:
            return None
        assert known is not None
        label, predicted = int(labels[place]), int(np.argmax(probabilities[place]))
        probability = float(probabilities[place, predicted])
        if predicted == label or not np.isfinite(probability) or len(near.labels) < NEAREST:
            return None
        name, other = self._batch.name(label), self._batch.name(predicted)
        given = f"the model gives {other} {numbers.share(probability)}"
        own, others = int((near.labels == label).sum()), int((near.labels == predicted).sum())
        if own > NEAREST / 2:
            return Suspicion(
                "hard",
                f"{given}, but {own} of its {NEAREST} nearest others are labelled {name}, too",
            )
        without, asked = known.without_own(label)
        own_probabilities = np.delete(probabilities[np.arange(len(labels)), labels], place)
        is_confident = len(own_probabilities) and probability >= own_probabilities.mean()
        if own or others <= NEAREST / 2 or not is_confident or not without <= _WITHOUT_OWN:
            return None
        return Suspicion(
            "mislabelled",
            f"{given}, and {others} of its {NEAREST} nearest others are labelled {other}, none "
            f"{name}; of {numbers.count(asked)} examples labelled {name}, "
            f"{numbers.share(without)} have none",
        )
