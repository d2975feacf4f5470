"""What a search says about its keys, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from gradcli.comparison.results import ComparisonInfo, RankedArm
from gradcli.comparison.verdicts import KeySensitivity, SearchSensitivity
from gradcli.notation import numbers
from gradcli.views.compare.verdict_sentences import LEVEL


def what_keys_decide(sensitivity: SearchSensitivity) -> str:
    """Say how much of the ranking of an arm's settings each key decides, the most first."""
    settings = numbers.count(sensitivity.settings, "setting")
    keys = [one.key for one in sensitivity.keys]
    match sensitivity.unknown:
        case "few-settings":
            are = "is" if sensitivity.settings == 1 else "are"
            which = keys[0] if len(keys) == 1 else f"each of {numbers.count(len(keys), 'key')}"
            return f"{settings} {are} too few to say what {which} decides."
        case "all-failed":
            return f"None of the {settings} has a score."
        case "all-alike":
            listed = " and ".join([*([", ".join(keys[:-1])] if keys[1:] else []), keys[-1]])
            return f"All {settings} did equally well: there is nothing for {listed} to decide."
    told = [one for one in sensitivity.keys if one.p_adjusted < LEVEL]
    told.sort(key=lambda one: -one.share)
    others = [one for one in sensitivity.keys if one.p_adjusted >= LEVEL]
    clauses = [
        f"{one.key} decides {numbers.share(max(one.share, 0.0))}"
        f"{' of how settings rank' if at == 0 else ''} ({_p(one)})"
        for at, one in enumerate(told)
    ]
    clauses += [
        f"{one.key} {'' if told or at else 'decides '}nothing"
        f"{f' that {settings} can show' if at == 0 else ''} ({_p(one)})"
        for at, one in enumerate(others)
    ]
    return f"{', '.join(clauses)}."


def how_it_searched(info: ComparisonInfo) -> list[str]:
    """Say what each arm tried, and which keys it lacks; [] without a search."""
    if info.search is None:
        return []
    every = dict.fromkeys(one.key for arm in info.arms for one in arm.ranges)
    said = [f"{numbers.count(info.search.settings, 'setting')} per arm by {info.search.method}."]
    for arm in info.arms:
        lacking = [key for key in every if key not in [one.key for one in arm.ranges]]
        if lacking:
            said.append(f"{arm.name} has no {' nor '.join(lacking)}.")
    return [" ".join(said)]


def what_budgets_say(ranking: Sequence[RankedArm]) -> list[str]:
    """Say whether the number of settings decides which arms lead; [] if only one is known.

    Arms lead if the verdicts leave them the first place.
    """
    budgets = [arm.by_budget for arm in ranking if arm.by_budget]
    if len(ranking) < 2 or not budgets or len(budgets[0]) < 2:
        return []
    leaders: dict[int, tuple[str, ...]] = {}
    for place, one in enumerate(budgets[0]):
        at = [(arm.name, arm.by_budget[place].places) for arm in ranking]
        leaders[one.settings] = tuple(name for name, found in at if found and found[0] == 1)
    if len(set(leaders.values())) == 1:
        (names,) = set(leaders.values())
        settings = ", ".join(map(str, [*leaders][:-1])) + f" and {[*leaders][-1]}"
        return [f"The same with {settings} settings: {_lead(names, len(ranking))}."]
    counts: dict[tuple[str, ...], list[str]] = {}
    for count, names in leaders.items():
        counts.setdefault(names, []).append(str(count))
    told = [
        f"with {' or '.join(some)}, {_lead(names, len(ranking))}" for names, some in counts.items()
    ]
    return [f"The number of settings decides: {'; '.join(told)}."]


def _lead(names: Sequence[str], arms: int) -> str:
    if not names:
        return "no arm has a score"
    if len(names) == arms:
        return "no arm can be told from all others"
    if len(names) == 1:
        return f"{names[0]} leads"
    return f"{', '.join(names[:-1])} and {names[-1]} lead and tie"


def ends_to_widen(arm: RankedArm) -> list[str]:
    """Say which keys did best near an end of their range, which may end too early."""
    keys = arm.search_sensitivity.keys if arm.search_sensitivity else ()
    return [
        f"The best {one.key} of {arm.name}, {one.best:g}, is near the "
        f"{'lower' if one.best_position < 1 / 2 else 'upper'} end of its range: a better one may "
        "lie beyond."
        for one in keys
        if one.key in arm.setting_at_edge
    ]


def _p(key: KeySensitivity) -> str:
    # A multiple of a thousandth, so three digits never round it to the other side of the level.
    return "p<0.01" if key.p_adjusted < 0.01 else f"p={key.p_adjusted:.3g}"
