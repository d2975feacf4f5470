"""What models are scored by, and their evaluations."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What models are scored by, apart from the loss that they are trained on."""

    name: str
    direction: Direction
    """Whether a higher or a lower score is better."""

    def merit(self, score: float) -> float:
        """Return the score, negated if a lower one is better: what is to be maximised."""
        return score if self.direction == "maximize" else -score

    @property
    def is_accuracy(self) -> bool:
        """Whether it is a share of examples that are right, between 0 and 1."""
        return self.name == "accuracy"

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest score there can be; infinite where none is known."""
        return _BOUNDS.get((self.name, self.direction), (-math.inf, math.inf))


#: Of the metrics that are known by name; a metric of one's own may share the name alone.
_BOUNDS: dict[tuple[str, Direction], tuple[float, float]] = {
    ("accuracy", "maximize"): (0.0, 1.0),
    ("top5", "maximize"): (0.0, 1.0),
    ("r2", "maximize"): (-math.inf, 1.0),
    ("mse", "minimize"): (0.0, math.inf),
    ("mae", "minimize"): (0.0, math.inf),
    ("rmse", "minimize"): (0.0, math.inf),
    ("cross_entropy", "minimize"): (0.0, math.inf),
}

#: The metric of classification, and of every run from before there were others.
ACCURACY = Metric("accuracy", "maximize")


@dataclass(frozen=True, slots=True)
class EvalRecord:
    """An evaluation on all of one split."""

    step: int
    epoch: int
    split: Literal["val", "test"]
    loss: float
    score: float
    """By the run's metric."""
    train_loss: float
    """The mean loss of the training batches since the last evaluation on `val`."""
    seconds: float
    """Wall-clock seconds since the run began, including earlier parts of a resumed run."""
    seconds_train: float
    """Seconds in training steps alone."""
    example_scores: str = ""
    """What each test example adds to the score, in the order of the split, as `packed_scores`
    writes it; empty on `val`, if the score is no mean over examples, of a loop of your own, and in
    runs from before it was recorded."""
    further_scores: Mapping[str, float] = field(default_factory=dict)
    """By each further metric of the run, under its name; empty if it has none."""

    def scores_of_examples(self, size: int) -> ExampleScores | None:
        """Return the scores of the `size` examples of the split, (size,), if recorded."""
        return unpacked_scores(self.example_scores, size)


@dataclass(frozen=True, slots=True)
class ValidationRecord:
    """A score within an epoch, or on some of the validation examples: it times a target.

    It is no evaluation: nothing is chosen by it.
    """

    step: int
    examples: int
    """How many of the validation examples were scored."""
    score: float
    """By the run's metric; NaN if it is not finite."""
    seconds_train: float
    """Seconds in training steps alone, up to this one."""


@dataclass(frozen=True, slots=True)
class MetricScores:
    """What a run scored by one of its further metrics; NaN where it was not evaluated."""

    metric: Metric
    val: float
    test: float


def last_score(evaluations: Sequence[EvalRecord], split: str, metric: str = "") -> float:
    """Return the last score on a split; NaN without any.

    Args:
        evaluations: in the order in which they were made.
        split: `val` or `test`.
        metric: the name of a further metric; empty for the run's own.
    """
    last = next((one for one in reversed(evaluations) if one.split == split), None)
    if last is None:
        return math.nan
    return last.further_scores.get(metric, math.nan) if metric else last.score


#: The scores of n examples, (n,): whether each one is right, or numbers.
ExampleScores: TypeAlias = "NDArray[np.bool_] | NDArray[np.float32]"


def packed_scores(values: ExampleScores) -> str:
    """Write the scores of examples (n,) as text, in base64.

    Truth values take a bit each, the first in the highest bit of a byte; numbers are float32, the
    lowest byte first.
    """
    import numpy as np

    packed = np.packbits(values) if values.dtype == np.bool_ else values.astype("<f4")  # type: ignore[arg-type]
    return base64.b64encode(packed.tobytes()).decode("ascii")


def unpacked_scores(text: str, size: int) -> ExampleScores | None:
    """Read back the `size` scores that `packed_scores` wrote; None if the text has another size."""
    import numpy as np

    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except ValueError:
        return None
    if size and len(packed) == -(-size // 8):
        return np.unpackbits(packed, count=size).astype(bool)
    if size and len(packed) == 4 * size:
        return packed.view("<f4").astype(np.float32)
    return None
