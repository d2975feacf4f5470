"""Which arms cannot be told apart: sets of arms in which every pair ties.

Ties are not transitive. A and B may tie, B and C may tie, and A may still be better than C: then A
and B are one group and B and C another, and B is in both. This is the compact letter display of
multiple comparisons (Piepho 2004, "An algorithm for a letter-based representation of all-pairwise
comparisons", Journal of Computational and Graphical Statistics 13(2)), without the letters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set

from gradcli.comparison.results import ArmInfo
from gradcli.comparison.verdicts import PairResult, TimePair


def tied_groups(pairs: Sequence[PairResult]) -> tuple[tuple[str, ...], ...]:
    """Return the largest sets of two or more arms in which every pair ties.

    Two arms are in one group if and only if their verdict is a tie. No group is part of another
    one. An arm without any score is in none: see `arms_without_scores`.

    Args:
        pairs: every pair of the arms, the better-ranked arm first, as a summary has them.

    Returns:
        The groups, and the arms within each, in the order of the ranking.
    """
    order = ranked_names(pairs)
    unscored = set(arms_without_scores(pairs))
    ties: dict[str, set[str]] = {name: set() for name in order if name not in unscored}
    for pair in pairs:
        if pair.verdict == "tie" and not {pair.a, pair.b} & unscored:
            ties[pair.a].add(pair.b)
            ties[pair.b].add(pair.a)
    place = {name: index for index, name in enumerate(order)}
    groups = [sorted(group, key=place.__getitem__) for group in _cliques(set(), set(ties), ties)]
    groups = [group for group in groups if len(group) > 1]
    return tuple(map(tuple, sorted(groups, key=lambda group: [place[name] for name in group])))


def arms_without_scores(pairs: Sequence[PairResult]) -> tuple[str, ...]:
    """Return the arms of which nothing is known: no pair of theirs could be tested."""
    known = {
        name
        for pair in pairs
        if pair.seeds or pair.evidence == "divergence"
        for name in (pair.a, pair.b)
    }
    return tuple(name for name in ranked_names(pairs) if name not in known)


def ranked_names(pairs: Iterable[PairResult]) -> list[str]:
    """Return the arms that the pairs are of, in the order of the ranking."""
    return list(dict.fromkeys(name for pair in pairs for name in (pair.a, pair.b)))


def places_of(
    names: Sequence[str], pairs: Iterable[PairResult | TimePair]
) -> dict[str, tuple[int, int]]:
    """Return for each arm the best and the worst place that the verdicts allow it.

    An arm is behind those that are better by a verdict, and ahead of those that are worse by one.

    Args:
        names: the arms that have a place.
        pairs: every pair of them; pairs with other arms do not count.
    """
    better, worse = Counter[str](), Counter[str]()
    for pair in pairs:
        if pair.verdict == "tie" or not {pair.a, pair.b} <= set(names):
            continue
        won, lost = (pair.a, pair.b) if pair.verdict == "a" else (pair.b, pair.a)
        better[lost] += 1
        worse[won] += 1
    return {name: (1 + better[name], len(names) - worse[name]) for name in names}


def answering_first(
    pairs: Sequence[PairResult], arms: Sequence[ArmInfo]
) -> tuple[list[PairResult], list[PairResult]]:
    """Split the pairs into those that answer what `--vary` asks, and the others.

    A pair answers it if its arms have the same optimizer and differ in one varied key.
    """
    by_name = {arm.name: arm for arm in arms}
    answering = [pair for pair in pairs if _differ_in_one(by_name[pair.a], by_name[pair.b])]
    return answering, [pair for pair in pairs if pair not in answering]


def _differ_in_one(a: ArmInfo, b: ArmInfo) -> bool:
    differing = sum(one != other for one, other in zip(a.overrides, b.overrides, strict=True))
    return a.optimizer == b.optimizer and differing == 1


def _cliques(
    group: Set[str], candidates: set[str], ties: dict[str, set[str]], done: Set[str] = frozenset()
) -> Iterator[Set[str]]:
    """Yield the maximal cliques of a graph (Bron and Kerbosch 1973, with pivoting)."""
    if not candidates and not done:
        yield group
        return
    pivot = max(candidates | done, key=lambda name: len(ties[name] & candidates))
    for name in sorted(candidates - ties[pivot]):
        yield from _cliques(group | {name}, candidates & ties[name], ties, done & ties[name])
        candidates = candidates - {name}
        done = done | {name}
