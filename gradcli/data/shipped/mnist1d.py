"""MNIST-1D, generated: ten one-dimensional digits that tell models apart (arXiv 2011.14439).

The recipe and its numbers are those of Greydanus and Kobak, Scaling Down Deep Learning with
MNIST-1D, section 2, and of the defaults in their repository (github.com/greydanus/mnist1d). The
random numbers are drawn in another order, so the examples are others of the same distribution.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from gradcli.data.data_source import DataRequest, DataSource
from gradcli.data.dataset import Dataset, Split
from gradcli.data.examples import dataset_of
from gradcli.data.sources import refuse_folder
from gradcli.errors import UserError
from gradcli.objectives import CROSS_ENTROPY

Array = npt.NDArray[np.float64]

#: Heights of the pen along each digit, 0 to 9; only the shape of a row matters.
_SHAPES: Final = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
CLASSES: Final = len(_SHAPES)
_TEMPLATE: Final = len(_SHAPES[0])
#: Zeros after a template, at least and at most: the more, the narrower the digit.
_PADDING: Final = (36, 60)
_WIDE: Final = _TEMPLATE + _PADDING[1]
#: Positions of an example.
LENGTH: Final = 40
#: A digit's height is 1 +- half of this.
_SCALE: Final = 0.4
#: A digit is moved by fewer positions than this, of the 72 before resampling.
_TRANSLATION: Final = 48
_CORRELATED_NOISE: Final = 0.25
_CORRELATION: Final = 2.0  # positions: the deviation of the Gaussian that smooths the noise
_WHITE_NOISE: Final = 0.02
_SHEAR: Final = 0.75
#: The last digits of a logarithm or an exponential differ between platforms; these do not.
_DECIMALS: Final = 4


class Mnist1d(DataSource):
    """Ten digits as curves of 40 points, of random width, height, place and slope, with noise.

    Args:
        train: the training examples, from which the validation examples are taken.
        test: the test examples.
        shuffled: put the positions into one random order, the same in all examples, which takes
            from a convolution what it knows of neighbours.
        seed: of the examples, apart from the run's.
    """

    target_score = 0.6

    def __init__(
        self, train: int = 4000, test: int = 1000, shuffled: bool = False, seed: int = 0
    ) -> None:
        self._train, self._test, self._shuffled, self._seed = train, test, shuffled, seed

    def load(self, request: DataRequest) -> Dataset:
        """Generate the examples: float32 (n, 1, 40), one channel of 40 positions."""
        refuse_folder(request)
        for key, count in (("train", self._train), ("test", self._test)):
            if count < 1:
                raise UserError(
                    f"data.{key} is {count}; it must be 1 or more.", where=f"data.{key}"
                )
        if not 0 <= self._seed < 2**32:
            raise UserError(
                f"data.seed is {self._seed}; it must be from 0 to {2**32 - 1:,}.",
                where="data.seed",
                hint="data.seed=0",
            )
        signals, labels = generate(self._train + self._test, self._seed, shuffled=self._shuffled)
        examples = Split(torch.from_numpy(signals)[:, None], torch.from_numpy(labels))
        return dataset_of(
            examples[: self._train],
            None,
            examples[self._train :],
            name=request.name,
            objective=CROSS_ENTROPY,
            target_score=self.target_score,
            held_out=request.val,
        )


def generate(
    count: int, seed: int, *, shuffled: bool = False
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Draw examples, in random order, as many of each class as can be.

    Returns:
        float32 (count, 40) of mean 0 and deviation 1 over all of them, and the classes, int64
        (count,).
    """
    random = np.random.RandomState(seed)  # NumPy promises never to change its stream
    labels = random.permutation(np.arange(count) % CLASSES)
    signals = _placed(_stretched(templates()[labels], random), random)
    signals += _WHITE_NOISE * random.randn(*signals.shape)
    signals -= _SHEAR * (random.rand(count, 1) - 0.5) * np.linspace(-0.5, 0.5, _WIDE)
    signals = resampled(signals, np.linspace(0, _WIDE - 1, LENGTH))
    if shuffled:
        signals = signals[:, random.permutation(LENGTH)]
    standard = (signals - signals.mean()) / signals.std()
    return np.round(standard, _DECIMALS).astype(np.float32), labels.astype(np.int64)


def templates() -> Array:
    """Return the digits as drawn, (10, 12): of deviation 1/6, each beginning with 0."""
    shapes = np.array(_SHAPES)
    shapes -= shapes[:, :1]
    return np.asarray(shapes / shapes.std(axis=1, keepdims=True) / 6)


def _stretched(digits: Array, random: np.random.RandomState) -> Array:
    """Return digits (n, 12) of random width and height at the left of (n, 72), NaN after them."""
    count = len(digits)
    padding = random.randint(_PADDING[0], _PADDING[1] + 1, size=(count, 1))
    height = 1 + _SCALE * (random.rand(count, 1) - 0.5)
    # Digit and padding, 48 to 72 samples together, are stretched to 72.
    places = np.linspace(0, 1, _WIDE) * (_TEMPLATE + padding - 1)
    followed_by_zero = np.pad(digits, ((0, 0), (0, 1)))
    heights = resampled(followed_by_zero, np.minimum(places, _TEMPLATE))
    return np.where(places < _TEMPLATE, height * heights, np.nan)


def _placed(digits: Array, random: np.random.RandomState) -> Array:
    """Move each row to the right, round the end, by a random distance; fill NaN with noise."""
    shift = random.randint(_TRANSLATION, size=(len(digits), 1))
    moved = np.take_along_axis(digits, (np.arange(_WIDE) - shift) % _WIDE, axis=1)
    noise = smoothed(_CORRELATED_NOISE * random.randn(*moved.shape))
    return np.where(np.isnan(moved), noise, moved)


def smoothed(rows: Array) -> Array:
    """Return rows convolved with a Gaussian, and mirrored beyond their ends."""
    reach = round(4 * _CORRELATION)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _CORRELATION) ** 2)
    mirrored = np.pad(rows, ((0, 0), (reach, reach)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, len(weights), axis=1)
    return np.asarray(windows @ (weights / weights.sum()))


def resampled(rows: Array, places: Array) -> Array:
    """Return what linear interpolation of rows (n, m) reads at `places`, (k,) or (n, k)."""
    below = np.minimum(places.astype(np.int64), rows.shape[1] - 2)
    below = np.broadcast_to(below, (len(rows), below.shape[-1]))
    left = np.take_along_axis(rows, below, axis=1)
    right = np.take_along_axis(rows, below + 1, axis=1)
    return np.asarray(left + (places - below) * (right - left))
