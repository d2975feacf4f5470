"""What a search says about its keys, in sentences."""

from __future__ import annotations

from gradcli.comparison.verdicts import KeySensitivity, SearchSensitivity
from gradcli.notation import numbers
from gradcli.views.compare.verdict_sentences import LEVEL

#: A best value in the outer tenth of a range is near its end.
_NEAR_AN_END = 0.1


def what_keys_decide(sensitivity: SearchSensitivity) -> str:
    """Say how much of the ranking of an arm's settings each key decides, the most first."""
    settings = numbers.count(sensitivity.settings, "setting")
    keys = [one.key for one in sensitivity.keys]
    match sensitivity.unknown:
        case "few-settings":
            are = "is" if sensitivity.settings == 1 else "are"
            which = keys[0] if len(keys) == 1 else f"each of {numbers.count(len(keys), 'key')}"
            return f"{settings} {are} too few to say what {which} decides."
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


def ends_to_widen(sensitivity: SearchSensitivity) -> list[str]:
    """Say of each key that decides something whether its range may end too early."""
    return [
        f"The best {one.key}, {one.best:g}, is near the {'lower' if low else 'upper'} end of its "
        "range: a better one may lie beyond."
        for one in sensitivity.keys
        if one.p_adjusted < LEVEL
        and ((low := one.best_position < _NEAR_AN_END) or one.best_position > 1 - _NEAR_AN_END)
    ]


def _p(key: KeySensitivity) -> str:
    # A multiple of a thousandth, so three digits never round it to the other side of the level.
    return "p<0.01" if key.p_adjusted < 0.01 else f"p={key.p_adjusted:.3g}"
