"""What a number of seeds can find: the power of the verdicts of `compare-optimizers`, tabled.

An effect is a true difference between two optimizers' mean scores, in units of the standard
deviation of that difference between seeds. With several pairs, the table is for the pair that
Holm's correction tests most strictly, at the level 0.05 / pairs.

    python benchmarks/power.py [--pairs 1 3 10]

Prints Markdown: the probability of the right verdict by seeds (rows) and effect (columns), and the
number of seeds at which it reaches 80%. Nothing is simulated; the tests check the same numbers
against simulations and against the definition of the non-central t distribution.
"""

from __future__ import annotations

import argparse

from gradcli.comparison.statistics import LEVEL, POWER, power, seeds_to_separate

EFFECTS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
SEEDS = (2, 3, 4, 5, 6, 8, 10, 20)


def table(pairs: int) -> str:
    level = LEVEL / pairs
    needed = [seeds_to_separate(effect, level) for effect in EFFECTS]
    rows = [
        ["seeds", *(f"{effect:g}" for effect in EFFECTS)],
        ["---:"] * (len(EFFECTS) + 1),
        *([str(n), *(f"{power(effect, n, level):.2f}" for effect in EFFECTS)] for n in SEEDS),
        [f"for {POWER:.0%}", *map(str, needed)],
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, nargs="+", default=[1, 3, 10])
    for pairs in parser.parse_args().pairs:
        print(f"{pairs} pair{'s' if pairs > 1 else ''} (level {LEVEL / pairs:.2g})\n")
        print(table(pairs), end="\n\n")


if __name__ == "__main__":
    main()
