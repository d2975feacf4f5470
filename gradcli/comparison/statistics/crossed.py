"""How sure a mean difference is if both its seeds and its test examples are a sample.

Two arms are scored on the same n seeds and the same N examples: a table of differences, right minus
right, of -1, 0 or 1. Another training has other seeds, and another test set other examples, so the
difference of seed s at example e is taken to be mean + seed(s) + example(e) + rest(s, e): two-way
crossed random effects (Searle, Casella and McCulloch 1992, "Variance components", chapter 4). The
mean over the table then has the variance

    V = (variance between seeds' means) / n  +  (variance of example(e)) / N

More seeds make the first part smaller, and only more examples the second. A test over seeds alone
(the first part) says nothing of other examples; one over examples alone nothing of other seeds
(Bouthillier et al. 2021, "Accounting for variance in machine learning benchmarks",
arXiv 2103.03098; Dietterich 1998 on tests of one trained model).

The first part is estimated with n - 1 degrees of freedom, which are few, and the second with so
many that it counts as known. Satterthwaite's degrees of freedom are too optimistic then: with two
to five seeds they turn a level of 0.005 into up to 0.044. Cochran's critical value, the mean of
those of t(n - 1) and of the normal distribution with the parts of V as weights, is conservative
instead (Cochran and Cox 1957, "Experimental designs", section 4.14): 0.005 stays below 0.005 from
three seeds on, and with two is at most 0.007. `benchmarks/power.py --simulate` draws seeds and
examples anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special


@dataclass(frozen=True, slots=True)
class DifferenceVariance:
    """The variance of a mean difference between two arms, by its source."""

    seeds: int
    """n, at least 2."""
    from_seeds: float
    """The part that falls with the number of seeds."""
    from_examples: float
    """The part that does not; 0 if only seeds are tested."""

    @property
    def error(self) -> float:
        """The standard error of the mean difference."""
        return math.sqrt(self.from_seeds + self.from_examples)

    def critical(self, level: float) -> float:
        """Return the value that |mean| / error of equal arms exceeds with probability `level`."""
        t = float(special.stdtrit(self.seeds - 1, 1 - level / 2))
        total = self.from_seeds + self.from_examples
        if not self.from_examples or not total:
            return t
        z = float(special.ndtri(1 - level / 2))
        return (self.from_seeds * t + self.from_examples * z) / total

    def p_value(self, mean: float) -> float:
        """Return the two-sided p-value of a true mean of 0; 0 or 1 if nothing varies."""
        if mean == 0:
            return 1.0
        if self.error == 0:
            return 0.0
        ratio = abs(mean) / self.error
        high = 2 * float(special.stdtr(self.seeds - 1, -ratio))
        if not self.from_examples:
            return high
        # The level at which `critical` is `ratio`: between those of the two distributions.
        low = max(2 * float(special.ndtr(-ratio)), 1e-300)
        while high > low * (1 + 1e-12):
            middle = math.sqrt(low * high)
            if not low < middle < high:
                break
            low, high = (middle, high) if self.critical(middle) > ratio else (low, middle)
        return high

    def with_seeds(self, seeds: int) -> DifferenceVariance:
        """Return the variance that another number of seeds would have."""
        from_seeds = self.from_seeds * self.seeds / seeds
        return DifferenceVariance(seeds, from_seeds, self.from_examples)

    def power(self, mean: float, level: float) -> float:
        """Return about the chance that a true mean is detected, in its direction.

        The ratio is taken to have a non-central t distribution with Satterthwaite's degrees of
        freedom; without examples this is exact.
        """
        if self.error == 0:
            return 1.0
        share = self.from_seeds / (self.from_seeds + self.from_examples)
        freedom = (self.seeds - 1) / max(share, 1e-3) ** 2
        ratio = abs(mean) / self.error
        return 1 - float(special.nctdtr(freedom, ratio, self.critical(level)))


def variance_from_examples(differences: NDArray[np.floating]) -> float:
    """Return the part of the mean's variance that is due to the examples.

    It is estimated by the analysis of variance: (mean square of examples - mean square of the rest)
    / (n N), and not below 0.

    Args:
        differences: of two arms, seeds by examples (n, N), at least two of each.
    """
    seeds, examples = differences.shape
    by_example = differences.mean(axis=0)
    by_seed = differences.mean(axis=1)
    mean = float(by_seed.mean())
    between_examples = seeds * float(np.sum((by_example - mean) ** 2))
    between_seeds = examples * float(np.sum((by_seed - mean) ** 2))
    total = float(np.sum((differences - mean) ** 2))
    rest = max(total - between_examples - between_seeds, 0.0)
    of_examples = between_examples / (examples - 1)
    of_rest = rest / ((seeds - 1) * (examples - 1))
    return float(max(of_examples - of_rest, 0.0) / (seeds * examples))
