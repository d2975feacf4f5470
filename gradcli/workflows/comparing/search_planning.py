"""The search of each arm of a comparison: its ranges, and the settings known from the start."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gradcli.comparison.plan import StoredSearcher
from gradcli.comparison.protocol import LEARNING_RATE, Arm, ArmSearch, config_key, searched_keys
from gradcli.comparison.results import SearchInfo
from gradcli.comparison.search import Range, Scale, Searcher
from gradcli.config import ComposedArm, ComposedComparison
from gradcli.errors import UserError, nearest

#: The shares of the settings after which a search is also measured.
_EARLIER = (1 / 4, 1 / 2)
_RANGE_KEYS = {"low", "high", "scale"}
_UNEQUAL_KEYS = (
    "The arms search different numbers of keys. A search that follows results finds less among "
    "keys that decide nothing, which costs the arms that have them; search=sobol does not."
)


def plan_searches(
    arms: Sequence[ComposedArm], composed: ComposedComparison
) -> tuple[list[ArmSearch], list[str]]:
    """Return the search of each arm, and what the user should know of them.

    Raises:
        UserError: if an arm has none of the keys, a key has no range, or the arms would not try
            the same number of settings.
    """
    protocol = composed.config.protocol
    searcher: Searcher = composed.search_class(**composed.config.search.arguments)
    _refuse_unknown_keys(arms, composed.searched)
    searches, remarks = [], []
    for arm in arms:
        searched = searched_keys(composed.searched, arm.optimizer)
        ranges = tuple(_range(arm, key, typed) for key, typed in searched.items() if _has(arm, key))
        if not ranges:
            raise _without_keys(arm, list(searched))
        lacking = [key for key in searched if not _has(arm, key)]
        if lacking:
            names = ", ".join(one.key for one in ranges)
            remarks.append(f"{arm.name} has no {' nor '.join(lacking)}: it searches {names} alone.")
        searches.append(_search(searcher, ranges, protocol.search_settings, composed))
    if searcher.looks_at_results and len({len(search.ranges) for search in searches}) > 1:
        remarks.append(_UNEQUAL_KEYS)
    numbers = {search.settings for search in searches}
    if len(numbers) > 1:
        raise UserError(
            f"The arms would try {' or '.join(map(str, sorted(numbers)))} settings: a grid of "
            "another number of keys has another size.",
            where="search",
            hint="search=sobol, which has as many for each",
        )
    return searches, remarks


def search_info(composed: ComposedComparison, arms: Sequence[Arm]) -> SearchInfo | None:
    """Describe the search of a comparison; None without one."""
    search = arms[0].search
    if search is None:
        return None
    earlier = {round(share * search.settings) for share in _EARLIER} - {0, search.settings}
    return SearchInfo(
        method=composed.config.search.option,
        keys=composed.searched,
        settings=search.settings,
        budgets=(*sorted(earlier), search.settings),
    )


def stored_searcher(composed: ComposedComparison) -> StoredSearcher:
    """Return what a plan keeps of the searcher."""
    section = composed.config.search
    return StoredSearcher(section.option, section.target, section.arguments, composed.config.seed)


def _refuse_unknown_keys(arms: Sequence[ComposedArm], words: Sequence[str]) -> None:
    """Refuse a key that no arm has, or one that is asked of an optimizer that lacks it.

    Raises:
        UserError: for the first one.
    """
    for word in words:
        name, _, rest = word.partition("=")[0].rpartition(":")
        asked = [arm for arm in arms if name in ("", arm.optimizer)]
        if any(_has(arm, rest) for arm in asked):
            continue
        known = list(dict.fromkeys(key for arm in asked for key in _numbers_of(arm)))
        likely = nearest(rest, known)
        usual = "lr" if "lr" in known else known[0] if known else "KEY"
        better = f"{name}:{likely[0]}" if name and likely else next(iter(likely), usual)
        typed = [better if one == word else one for one in words]
        raise UserError(
            f"{name or 'No arm'} has {'no' if name else 'a key'} {rest}.",
            where="--search",
            choices=likely or known[:6],
            hint=f"--search {','.join(dict.fromkeys(typed))}",
        )


def _without_keys(arm: ComposedArm, searched: Sequence[str]) -> UserError:
    """Return the error for an arm that has none of the searched keys, unlike others."""
    known = _numbers_of(arm)
    also = "lr," if "lr" in known else ""
    return UserError(
        f"{arm.name} has no {' or '.join(searched)}: there is nothing to search.",
        where="--search",
        choices=known[:6],
        hint=f"--search {also}{','.join(searched)}",
    )


def _search(
    searcher: Searcher, ranges: tuple[Range, ...], settings: int, composed: ComposedComparison
) -> ArmSearch:
    """Propose what is known from the start: the first batch, or all of them."""
    batch = min(composed.config.protocol.search_batch, settings)
    first = batch if searcher.looks_at_results else settings
    try:
        total = searcher.count_of(ranges, settings)
        known = searcher.propose(
            ranges, (), count=min(first, total), total=total, seed=composed.config.seed
        )
    except ValueError as error:
        raise UserError(f"{error}.", where="--search", hint="protocol.search_settings=8") from None
    batches = tuple(tuple(known[start : start + batch]) for start in range(0, len(known), batch))
    return ArmSearch(ranges, total, batch, batches)


def _range(arm: ComposedArm, key: str, typed: str) -> Range:
    """Return the range of a key: as typed, or as the file of the arm's option gives it.

    Raises:
        UserError: if there is none, or it is no range.
    """
    path = config_key(key)
    section, _, inner = path.partition(".")
    known, file = arm.composed.ranges.get(path), arm.composed.files[section]
    if not typed and known is None:
        raise UserError(
            f"{file} gives no range for {key}.",
            where="--search",
            choices=_with_ranges(arm),
            hint=f"--search {arm.optimizer}:{key}={_around(key, _value(arm, path))}",
        )
    try:
        if typed:
            low, high = _ends(typed)
            return _checked(Range(key, low, high, _scale(known, low, high)))
        if not isinstance(known, Mapping) or not {"low", "high"} <= known.keys() <= _RANGE_KEYS:
            raise ValueError("it is written {low: 0.001, high: 0.1, scale: log}")
        low, high = _number(str(known["low"])), _number(str(known["high"]))
        return _checked(Range(key, low, high, known.get("scale", "log")))
    except ValueError as error:
        raise UserError(
            f"{key} has no range that can be searched: {error}.",
            where=f"--search {key}={typed}" if typed else f"search.{inner} in {file}",
            hint=f"--search {key}={_around(key, _value(arm, path))}"
            if typed
            else f"{inner}: {{low: 0.001, high: 0.1, scale: log}}, below `search:` in {file}",
        ) from None


def _ends(typed: str) -> tuple[float, float]:
    low, dots, high = typed.partition("..")
    if not dots:
        raise ValueError("a range is written LOW..HIGH")
    return _number(low), _number(high)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a number") from None


def _scale(known: Any, low: float, high: float) -> Scale:
    """Return how a typed range is spread: as that of the file if it can be."""
    usual: Scale = "log" if low > 0 else "linear"
    scale: Scale = known.get("scale", usual) if isinstance(known, Mapping) else usual
    return usual if scale == "log_from_one" and high >= 1 else scale


def _checked(found: Range) -> Range:
    """Return a range unless it has values that no key of a section takes."""
    if found.low < 0:
        raise ValueError(f"{found.low:g} is below 0")
    return found


def _value(arm: ComposedArm, path: str) -> float:
    """Return the number that a key has in an arm's config; NaN if there is none."""
    value: Any = arm.composed.plain
    for part in path.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, Sequence) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return math.nan
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else math.nan


def _around(key: str, value: float) -> str:
    """Return a range to type for a key: a decade each way, or up to 1 from one."""
    if not value > 0:
        return "0.0001..0.1"
    if 0.5 <= value < 1 and not key.endswith(LEARNING_RATE):  # a momentum, for instance
        return f"{max(1 - 10 * (1 - value), 0.1):.3g}..{1 - (1 - value) / 10:.4g}"
    return f"{value / 10:.3g}..{value * 10:.3g}"


def _has(arm: ComposedArm, key: str) -> bool:
    """Whether an arm has a key, which holds a number."""
    return config_key(key) in [config_key(one) for one in _numbers_of(arm)]


def _numbers_of(arm: ComposedArm) -> list[str]:
    """Return the keys of an arm that hold numbers, those with a range in its files first."""
    found = _numbers_in(arm.composed.plain["optimizer"], "")
    for section in ("clip", "schedule"):
        found += _numbers_in(arm.composed.plain[section], f"{section}.")
    return list(dict.fromkeys([*(one for one in _with_ranges(arm) if one in found), *found]))


def _with_ranges(arm: ComposedArm) -> list[str]:
    return [key.removeprefix("optimizer.") for key in arm.composed.ranges]


def _numbers_in(values: Any, prefix: str) -> list[str]:
    """Return the keys of nested values that hold a number."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(values, Mapping):
        pairs = list(values.items())
    elif isinstance(values, Sequence) and not isinstance(values, str):
        pairs = list(enumerate(values))
    found = []
    for key, value in pairs:
        if isinstance(value, int | float) and not isinstance(value, bool):
            found.append(f"{prefix}{key}")
        else:
            found += _numbers_in(value, f"{prefix}{key}.")
    return found
