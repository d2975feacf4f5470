"""The search of each arm of a comparison: its ranges, and the settings known from the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradcli.comparison.plan import StoredSearcher
from gradcli.comparison.protocol import Arm, ArmSearch, config_key, searched_keys
from gradcli.comparison.results import SearchInfo
from gradcli.comparison.search import Range, Scale, Searcher
from gradcli.config import ComposedArm, ComposedComparison
from gradcli.errors import UserError, nearest

#: The shares of the settings after which a search is also measured.
_EARLIER = (1 / 4, 1 / 2)
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


def _without_keys(arm: ComposedArm, searched: Sequence[str]) -> UserError:
    """Return the error for an arm that has none of the searched keys."""
    known = _numbers_of(arm)
    likely = [one for key in searched for one in nearest(key, known)]
    also = "lr," if "lr" in known else ""
    return UserError(
        f"{arm.name} has no {' or '.join(searched)}.",
        where="--search",
        choices=likely or known[:6],
        hint=f"--search {','.join(likely)}" if likely else f"--search {also}{','.join(searched)}",
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
    known = arm.composed.ranges.get(path)
    file = arm.composed.files[path.partition(".")[0]]
    where = f"--search {key}={typed}" if typed else f"search.{path.partition('.')[2]} in {file}"
    try:
        if typed:
            low, dots, high = typed.partition("..")
            if not dots:
                raise ValueError("a range is written LOW..HIGH")
            scale: Scale = "log" if float(low) > 0 else "linear"
            if known:
                scale = known.get("scale", scale)
            return Range(key, float(low), float(high), scale)
        if known is None:
            raise UserError(
                f"{file} gives no range for {key}.",
                where="--search",
                choices=_with_ranges(arm),
                hint=f"--search {key}=LOW..HIGH",
            )
        return Range(key, float(known["low"]), float(known["high"]), known.get("scale", "log"))
    except (ValueError, TypeError, KeyError) as error:
        told = f"it has no {error}" if isinstance(error, KeyError) else error
        raise UserError(
            f"{key} has no range that can be searched: {told}.",
            where=where,
            hint=f"--search {key}=0.001..0.1",
        ) from None


def _has(arm: ComposedArm, key: str) -> bool:
    """Whether an arm has a key, which holds a number."""
    return config_key(key) in [config_key(one) for one in _numbers_of(arm)]


def _numbers_of(arm: ComposedArm) -> list[str]:
    """Return the keys of an arm that hold numbers, and those for which its files give ranges."""
    found = _numbers_in(arm.composed.plain["optimizer"], "")
    for section in ("clip", "schedule"):
        found += _numbers_in(arm.composed.plain[section], f"{section}.")
    return list(dict.fromkeys([*_with_ranges(arm), *found]))


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
