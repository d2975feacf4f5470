"""Whether a search is fair: the protocol of `compare-optimizers --search` on simulated objectives.

    python benchmarks/search_simulation.py [--comparisons 1000] [--tpe-comparisons 300]

The accuracy of a setting is that of the best one less a parabola over the position of each key. A
trial adds the luck of its seed, which all arms share, and its own. All arms are equal at their
best. They are tuned with 16 settings, 4 at a time, and measured with 5 fresh seeds, by the code
that runs real comparisons. The landscapes:

- `flat`: no key decides anything, so that whatever is chosen is equal.
- `one bowl`: the arms have the same optimum.
- `own bowls`: each has an optimum of its own, new in each comparison.
- `cliffs`: the same, and all trials diverge with a learning rate a little above the optimum.
- `more keys`: own bowls, and one key that decides nothing for the second arm, two for the third.

Two limits hold for each row, and luck exceeds either in 1% of simulations at most. A verdict is
false if the setting that it calls better is not: at most 5% of comparisons may have any. And each
arm comes first equally often, by a chi-squared test; not with `more keys`, where the budgets are
equal and the tasks are not: TPE finds less among keys that decide nothing.

A true verdict may still be the luck of the search, which found a better setting for one of two arms
that are equal at their best: the share of comparisons with any verdict is higher where keys decide
much. A verdict is about what a search of this budget finds. More settings bring the arms nearer to
their best; more seeds do not.

Exits with 1 if a row exceeds a limit.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from gradcli.comparison.protocol import Arm, ArmSearch, ArmState, Outcome, Protocol, Trial, advance
from gradcli.comparison.results import ArmInfo
from gradcli.comparison.search import TPE, Range, Searcher, Setting, Sobol
from gradcli.comparison.statistics import DIVERGED, LEVEL, compare_arms

ARMS = ("a", "b", "c")
SETTINGS, BATCH, STEPS = 16, 4, 100
SEEDS = (1, 2, 3, 4, 5)
RUNGS = (0.25, 0.5)
BEST = 0.95
CURVATURES = (0.4, 0.1)
"""The accuracy lost a whole range away from the optimum: of the learning rate, of weight decay."""
SHARED_LUCK, OWN_LUCK = 0.003, 0.004
"""The deviations of the accuracy between seeds: of all arms alike, and of each."""
CERTAINTY = 0.99
EQUAL_TASKS = ("flat", "one bowl", "own bowls", "cliffs")
LANDSCAPES = (*EQUAL_TASKS, "more keys")


@dataclass(frozen=True)
class Objective:
    """What an arm's keys do to its accuracy."""

    ranges: tuple[Range, ...]
    optimum: tuple[float, ...]
    """The best position of each key."""
    curvatures: tuple[float, ...]
    cliff: float = math.inf
    """The position of the first key above which all trials diverge."""

    def accuracy(self, setting: Setting) -> float:
        """Return the mean over seeds; `DIVERGED` beyond the cliff."""
        at = [one.position(value) for one, (_, value) in zip(self.ranges, setting, strict=True)]
        if at[0] > self.cliff:
            return DIVERGED
        distances = zip(self.curvatures, at, self.optimum, strict=True)
        return BEST - sum(bend * (place - best) ** 2 for bend, place, best in distances)


@dataclass(frozen=True)
class Result:
    """What one comparison said of arms that are equal at their best."""

    verdicts: int
    false_verdicts: int
    first: int
    """The place of the arm with the best mean."""


def objectives(landscape: str, generator: np.random.Generator) -> tuple[Objective, ...]:
    """Return the arms' objectives in a landscape."""
    ranges = (Range("lr", 1e-4, 1e-2), Range("weight_decay", 1e-3, 1.0))
    idle = (Range("eps", 1e-8, 1e-2), Range("clip.max_norm", 0.1, 10.0))
    one = Objective(ranges, (0.45, 0.6), CURVATURES)
    if landscape == "flat":
        return (replace(one, curvatures=(0.0, 0.0)),) * len(ARMS)
    if landscape == "one bowl":
        return (one,) * len(ARMS)
    optima = generator.uniform(0.2, 0.8, (len(ARMS), 2)).tolist()
    if landscape == "more keys":
        return tuple(
            Objective((*ranges, *idle[:more]), (*best, *[0.5] * more), (*CURVATURES, *[0.0] * more))
            for more, best in enumerate(optima)
        )
    cliff = 0.1 if landscape == "cliffs" else math.inf
    return tuple(replace(one, optimum=tuple(best), cliff=best[0] + cliff) for best in optima)


def arm_of(name: str, objective: Objective, searcher: Searcher, settings: int, seed: int) -> Arm:
    """Return an arm with the settings that are known from the start."""
    count = BATCH if searcher.looks_at_results else settings
    known = searcher.propose(objective.ranges, (), count=count, total=settings, seed=seed)
    batches = tuple(tuple(known[at : at + BATCH]) for at in range(0, len(known), BATCH))
    return Arm(
        info=ArmInfo(name, name, (), (0.01,), objective.ranges),
        config={
            "data": {"name": "simulated", "folder": None},
            "optimizer": {"kind": name, "lr": 0.01, "weight_decay": 0.01, "eps": 1e-8},
            "clip": {"max_norm": 1.0},
        },
        grid=None,
        steps=STEPS,
        search=ArmSearch(objective.ranges, settings, BATCH, batches),
    )


def searched(
    arms: Sequence[Arm],
    truths: Mapping[str, Objective],
    searcher: Searcher,
    protocol: Protocol,
    seed: int,
) -> tuple[dict[str, Outcome], tuple[ArmState, ...]]:
    """Run the protocol to its end; return the outcomes and the last states."""
    outcomes: dict[str, Outcome] = {}
    while True:
        states = advance(arms, protocol, "simulated", outcomes)
        if all(state.is_over for state in states):
            return outcomes, states
        for state in states:
            for trial, until in state.wanted:
                before = outcomes.get(trial.id, Outcome("waiting"))
                outcomes[trial.id] = outcome(trial, truths[trial.arm], until, before, seed)
        arms = [proposed(state, searcher, seed) for state in states]


def proposed(state: ArmState, searcher: Searcher, seed: int) -> Arm:
    """Return an arm with the settings that it lacks."""
    arm, search = state.arm, state.arm.search
    if not state.lacks or search is None:
        return arm
    batch = searcher.propose(
        search.ranges, state.tried, count=state.lacks, total=search.settings, seed=seed
    )
    return replace(arm, search=replace(search, batches=(*search.batches, tuple(batch))))


def outcome(
    trial: Trial, truth: Objective, until: int | None, before: Outcome, seed: int
) -> Outcome:
    """Return what becomes of a trial that runs until a step, or to its end."""
    accuracy = truth.accuracy(trial.setting)
    if accuracy == DIVERGED:
        return Outcome("diverged")
    shared = np.random.default_rng([seed, trial.seed]).normal(0, SHARED_LUCK)
    own = np.random.default_rng([seed, int(trial.id, 16), until or STEPS]).normal(0, OWN_LUCK)
    score = float(accuracy + shared + own)
    if until is None:
        return Outcome("finished", score, before.rungs)
    lag = 0.1 * (1 - until / STEPS)
    return Outcome("waiting", rungs={**before.rungs, until: score - lag})


def compared(
    landscape: str, searcher: Searcher, seed: int, *, halving: bool, settings: Sequence[int]
) -> Result:
    """Simulate one comparison.

    Args:
        landscape: one of `LANDSCAPES`.
        searcher: of every arm.
        seed: of everything.
        halving: whether the worse half of each batch is stopped early.
        settings: how many each arm tries.
    """
    # Rows are draws of their own, so that one lucky series of optima is not seen in several.
    generator = np.random.default_rng([seed, LANDSCAPES.index(landscape), halving])
    truths = dict(zip(ARMS, objectives(landscape, generator), strict=True))
    arms = [
        arm_of(name, truths[name], searcher, count, seed)
        for name, count in zip(ARMS, settings, strict=True)
    ]
    protocol = Protocol((0,), SEEDS, 0, 0, RUNGS if halving else ())
    outcomes, states = searched(arms, truths, searcher, protocol, seed)
    scores = {
        state.arm.name: [outcomes[trial.id].merit for trial in state.measuring]
        or [DIVERGED] * len(SEEDS)
        for state in states
    }
    chosen = {
        state.arm.name: truths[state.arm.name].accuracy(state.chosen.setting)
        if state.chosen
        else DIVERGED
        for state in states
    }
    found = compare_arms(scores)
    winners = {"a": lambda pair: (pair.a, pair.b), "b": lambda pair: (pair.b, pair.a)}
    won = [winners[pair.verdict](pair) for pair in found.pairs if pair.verdict != "tie"]
    return Result(
        verdicts=len(won),
        false_verdicts=sum(chosen[better] <= chosen[worse] for better, worse in won),
        first=ARMS.index(found.arms[0].name),
    )


def most_by_luck(comparisons: int) -> float:
    """Return the share of comparisons that a chance of 5% exceeds in 1% of simulations at most."""
    return float(np.ceil(special.bdtrik(CERTAINTY, comparisons, LEVEL)) / comparisons)


def p_of_equal_chances(firsts: Sequence[int]) -> float:
    """Return the p-value of Pearson's test that each arm comes first equally often."""
    expected = sum(firsts) / len(firsts)
    statistic = sum((count - expected) ** 2 / expected for count in firsts)
    return float(special.chdtrc(len(firsts) - 1, statistic))


def row(landscape: str, searcher: Searcher, halving: bool, comparisons: int) -> tuple[str, bool]:
    """Return a row of the table, and whether it is within the limits."""
    results = [
        compared(landscape, searcher, seed, halving=halving, settings=[SETTINGS] * len(ARMS))
        for seed in range(comparisons)
    ]
    false = float(np.mean([one.false_verdicts > 0 for one in results]))
    verdicts = float(np.mean([one.verdicts > 0 for one in results]))
    firsts = [sum(one.first == place for one in results) for place in range(len(ARMS))]
    p_value = p_of_equal_chances(firsts)
    fair = false <= most_by_luck(comparisons)
    fair &= p_value >= 1 - CERTAINTY or landscape not in EQUAL_TASKS
    cells = [
        landscape,
        type(searcher).__name__.lower() + (", halving" if halving else ""),
        str(comparisons),
        f"{false:.3f}",
        f"{most_by_luck(comparisons):.3f}",
        " ".join(f"{count / comparisons:.2f}" for count in firsts),
        f"{p_value:.2f}",
        f"{verdicts:.3f}",
        "yes" if fair else "NO",
    ]
    return f"| {' | '.join(cells)} |", fair


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comparisons", type=int, default=1_000)
    parser.add_argument("--tpe-comparisons", type=int, default=300)
    arguments = parser.parse_args()
    print(
        "| landscape | search | comparisons | false | at most | first | p | any verdict | fair |\n"
        "| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | --- |"
    )
    all_fair = True
    for searcher, comparisons in (
        (Sobol(), arguments.comparisons),
        (TPE(), arguments.tpe_comparisons),
    ):
        for halving in (False, True):
            for landscape in LANDSCAPES:
                line, fair = row(landscape, searcher, halving, comparisons)
                all_fair &= fair
                print(line, flush=True)
    raise SystemExit(not all_fair)


if __name__ == "__main__":
    main()
