"""What a number of seeds can find: the power of the verdicts of `compare-optimizers`, tabled.

An effect is a true difference between two optimizers' mean scores, in units of the standard
deviation of that difference between seeds. With several pairs, the table is for the pair that
Holm's correction tests most strictly, at the level 0.05 / pairs.

    python benchmarks/power.py [--pairs 1 3 10]
    python benchmarks/power.py --simulate [--repetitions 4000]

Prints Markdown: the probability of the right verdict by seeds (rows) and effect (columns), and the
number of seeds at which it reaches 80%. Here nothing is simulated; the tests check the same numbers
against simulations and against the definition of the non-central t distribution.

`--simulate` draws whole comparisons, with new seeds *and* new test examples each time: whether arm
k with seed s is right at example e is a coin whose log odds are the sum of a common level, the
difficulty of e, a liking of k for e, and the luck of k with s. It tables how often equal arms get
any verdict (which must not be above 5%) and how often a better arm gets its verdict: by the test
over seeds and examples that verdicts rest on, and by the test over seeds alone, which takes these
examples for all there are.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from gradcli.comparison.statistics import (
    LEVEL,
    POWER,
    ScoreComparison,
    compare_arms,
    power,
    seeds_to_separate,
)

EFFECTS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
SEEDS = (2, 3, 4, 5, 6, 8, 10, 20)
ARMS = 3
DIFFICULTY = 2.0
"""The deviation of the log odds between examples: some are nearly always right, some rarely."""
BOUND = 0.99


@dataclass(frozen=True)
class Setting:
    """What the arms of a simulated comparison are like."""

    name: str
    examples: int
    accuracy: float
    liking: float
    """The deviation of the log odds between arms at one example."""
    luck: float
    """The deviation of the log odds between seeds of one arm."""
    better_by: float
    """The true difference in accuracy for the power."""


SETTINGS = (
    Setting("no example liked", 500, 0.92, 0.0, 0.05, 0.02),
    Setting("few test images", 500, 0.92, 1.0, 0.05, 0.02),
    Setting("few, seeds vary", 500, 0.92, 1.0, 0.3, 0.02),
    Setting("few, nearly all right", 500, 0.985, 1.0, 0.1, 0.008),
    Setting("few, arms differ much", 500, 0.85, 2.0, 0.1, 0.04),
    Setting("many test images", 5_000, 0.97, 1.0, 0.1, 0.005),
    Setting("many, seeds vary", 5_000, 0.97, 1.0, 0.3, 0.008),
)


def table(pairs: int) -> str:
    level = LEVEL / pairs
    needed = [seeds_to_separate(effect, level) for effect in EFFECTS]
    rows = [
        ["seeds", *(f"{effect:g}" for effect in EFFECTS)],
        ["---:"] * (len(EFFECTS) + 1),
        *([str(n), *(f"{power(effect, n, level):.2f}" for effect in EFFECTS)] for n in SEEDS),
        [f"for {POWER:.0%}", *map(str, needed)],
    ]
    return _markdown(rows)


def level_for(accuracy: float, deviation: float) -> float:
    """Return the mean log odds with which coins of normal log odds are right at this rate."""
    spread = deviation * np.sqrt(2) * special.erfinv(np.linspace(-0.9995, 0.9995, 2001))
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if special.expit(middle + spread).mean() < accuracy else (low, middle)
        )
    return low


def draw_comparison(
    setting: Setting, seeds: int, generator: np.random.Generator, better_by: float = 0.0
) -> NDArray[np.bool_]:
    """Draw which examples each arm and seed gets right (arms, seeds, examples).

    Args:
        setting: what the arms are like.
        seeds: of each arm.
        generator: draws everything.
        better_by: the true difference in accuracy between the first arm and each other.
    """
    deviation = math.hypot(DIFFICULTY, setting.liking, setting.luck)
    levels = np.full(ARMS, level_for(setting.accuracy, deviation))
    levels[0] = level_for(setting.accuracy + better_by, deviation)
    odds = (
        levels[:, None, None]
        + DIFFICULTY * generator.standard_normal(setting.examples)
        + setting.liking * generator.standard_normal((ARMS, 1, setting.examples))
        + setting.luck * generator.standard_normal((ARMS, seeds, 1))
    )
    return generator.random(odds.shape) < special.expit(odds)


def compared(right: NDArray[np.bool_]) -> tuple[ScoreComparison, ScoreComparison]:
    """Return the verdicts over seeds and examples, and those over seeds alone."""
    scores = {str(arm): table.mean(axis=1) for arm, table in enumerate(right)}
    correct = {str(arm): list(table) for arm, table in enumerate(right)}
    resolution = 1 / right.shape[2]
    return (
        compare_arms(scores, resolution=resolution, by_example=correct),
        compare_arms(scores, resolution=resolution),
    )


def simulated(setting: Setting, seeds: int, repetitions: int) -> list[str]:
    """Return a row: any false verdict and a true one, by either test."""
    generator = np.random.default_rng(seeds)
    false, true = np.zeros(2), np.zeros(2)
    for _ in range(repetitions):
        for index, found in enumerate(compared(draw_comparison(setting, seeds, generator))):
            false[index] += any(pair.verdict != "tie" for pair in found.pairs)
        better = draw_comparison(setting, seeds, generator, setting.better_by)
        for index, found in enumerate(compared(better)):
            true[index] += _is_better(found, "0", "1")
    bound = special.bdtrik(BOUND, repetitions, LEVEL) / repetitions
    new, old = false / repetitions
    return [
        setting.name,
        str(seeds),
        f"{new:.3f}" + (" (above)" if new > bound else ""),
        f"{old:.3f}",
        f"{100 * setting.better_by:g} points",
        *(f"{share:.2f}" for share in true / repetitions),
    ]


def _is_better(found: ScoreComparison, winner: str, loser: str) -> bool:
    pair = next(pair for pair in found.pairs if {pair.a, pair.b} == {winner, loser})
    return pair.verdict == ("a" if pair.a == winner else "b")


def simulation(repetitions: int) -> str:
    bound = special.bdtrik(BOUND, repetitions, LEVEL) / repetitions
    rows = [
        ["arms", "seeds", "false", "false, seeds alone", "better by", "found", "seeds alone"],
        ["---", "---:", "---:", "---:", "---:", "---:", "---:"],
        *(
            simulated(setting, seeds, repetitions)
            for setting in SETTINGS
            for seeds in ((3, 5, 10) if setting.examples < 1_000 else (3, 10))
        ),
    ]
    return (
        f"{repetitions} comparisons of {ARMS} arms per row; a true 5% is below {bound:.4f} with "
        f"{BOUND:.0%} probability.\n\n{_markdown(rows)}"
    )


def _markdown(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, nargs="+", default=[1, 3, 10])
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--repetitions", type=int, default=4_000)
    arguments = parser.parse_args()
    if arguments.simulate:
        print(simulation(arguments.repetitions))
        return
    for pairs in arguments.pairs:
        print(f"{pairs} pair{'s' if pairs > 1 else ''} (level {LEVEL / pairs:.2g})\n")
        print(table(pairs), end="\n\n")


if __name__ == "__main__":
    main()
