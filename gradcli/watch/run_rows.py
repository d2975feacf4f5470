"""The rows of the table of runs: which are shown, in which order, and as which columns."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from gradcli.errors import UserError
from gradcli.notation import numbers
from gradcli.records import Status
from gradcli.runs import Condition, Order, conditions
from gradcli.runs.choosing.conditions import is_condition, refuse_meaningless
from gradcli.runs.choosing.facts import Facts
from gradcli.runs.choosing.listing import ordered
from gradcli.views.heading import STATUS_STYLES
from gradcli.views.table import Column, total_width

#: Beside the colours, so that a glance is enough without them.
STATUS_SYMBOLS: dict[Status, str] = {
    "running": "▶",
    "finished": "✓",
    "diverged": "✗",
    "failed": "✗",
    "interrupted": "‖",
    "lost": "?",
}
#: The keys by which the table can be sorted; the first lists what is live first, then the newest.
ORDERS = ("", "run", "status", "test", "model", "optimizer", "findings")
MARK = "*"
_FINDINGS = "findings"
_NARROW_FINDINGS = 12


@dataclass(frozen=True, slots=True)
class Filter:
    """What the rows must fulfil: conditions, and words in their names."""

    conditions: tuple[Condition, ...] = ()
    words: tuple[str, ...] = ()

    def holds(self, facts: Facts) -> bool:
        """Whether a run or a comparison fulfils all of it."""
        names = f"{facts.row.run} {facts.row.name}".casefold()
        return all(one.holds(facts) for one in self.conditions) and all(
            word in names for word in self.words
        )


def read_filter(text: str, known: Sequence[Facts]) -> Filter:
    """Return what a typed filter asks for: `optimizer=adam test>0.9 night`.

    Args:
        text: conditions as `gradcli runs list --where` takes them; other words match names.
        known: of what is there, to refuse a condition that nothing could fulfil.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"{text!r} cannot be read: {error}.", where="filter") from None
    stated = [shlex.quote(word) for word in words if is_condition(shlex.quote(word))]
    plain = [word for word in words if not is_condition(shlex.quote(word))]
    wanted = conditions(stated, where="filter")
    refuse_meaningless(wanted, known, where="filter")
    return Filter(wanted, tuple(word.casefold() for word in plain))


def shown_rows(
    known: Sequence[Facts], chosen: Filter, key: str = "", *, is_reversed: bool = False
) -> list[Facts]:
    """Return those that are shown, in their order.

    Args:
        known: all, newest first.
        chosen: what they must fulfil.
        key: one of `ORDERS`.
        is_reversed: whether the order is turned round.
    """
    kept = [facts for facts in known if chosen.holds(facts)]
    if key:
        return ordered(kept, Order(key, is_reversed))
    live_first = sorted(kept, key=lambda facts: facts.row.status != "running")
    return live_first[::-1] if is_reversed else live_first


def short_name(name: str) -> str:
    """Return the name of a run's directory without the time that it begins with."""
    time, _, rest = name.partition("-")
    return rest if rest and len(time) == 16 and time.endswith("Z") else name


def row_columns(
    rows: Sequence[Facts],
    marked: Collection[str],
    width: int,
    order: str = "",
    today: str = "",
) -> list[Column]:
    """Lay the rows out as the columns for which there is room.

    Args:
        rows: what is shown, in its order.
        marked: the names of the directories that are marked.
        width: of the table, in cells.
        order: the key by which they are sorted; its title says so.
        today: the date, as `RunRow.when` begins with it.
    """
    shown = [facts.row for facts in rows]
    codes = [" ".join(row.findings) for row in shown]
    columns = [
        Column("", [MARK if row.run in marked else " " for row in shown]),
        Column(
            "status",
            [f"{STATUS_SYMBOLS[row.status]} {row.status}" for row in shown],
            styles=[STATUS_STYLES[row.status] for row in shown],
            least_width=len("▶ running"),
        ),
        Column("run", [short_name(row.run) for row in shown], styles="bold"),
        Column("when", [_when(row.when, today) for row in shown], 4, styles="dim"),
        Column("model", [_cut(row.model) for row in shown], 5),
        Column("optimizer", [_cut(row.optimizer) for row in shown], 3),
        Column("lr", [_value(facts, "lr") for facts in rows], 6, "right"),
        Column("seed", [_value(facts, "seed") for facts in rows], 7, "right"),
        Column("epochs", [numbers.count(row.epochs) for row in shown], 8, "right"),
        Column("test", [numbers.score(row.test_score) for row in shown], 1, "right"),
        Column("metric", [row.metric.name for row in shown], 9),
        Column(_FINDINGS, [_cut(text, _NARROW_FINDINGS) for text in codes], 2),
        Column("tags", [" ".join(row.tags) for row in shown], 10),
    ]
    kept = _fitting([one for one in columns if one.title != "tags" or any(one.cells)], width)
    room = _NARROW_FINDINGS + width - total_width(kept)
    whole = Column(_FINDINGS, [_cut(text, room) for text in codes], 2)
    kept = [whole if one.title == _FINDINGS else one for one in kept]
    return [_pointed(one, order) for one in kept]


def _fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """Return the columns that fit: those of the lowest ranks first, and of the others what does."""
    kept: list[Column] = []
    for one in sorted(columns, key=lambda column: column.rank):
        if not one.rank or total_width([*kept, one]) <= width:
            kept.append(one)
    return [one for one in columns if one in kept]


def _when(when: str, today: str) -> str:
    """Return the time of a run of today, and the date of any other."""
    date, _, time = when.partition(" ")
    return time if date == today else date[len("2026-") :]


def _pointed(column: Column, order: str) -> Column:
    """Point at the column by which the rows are sorted."""
    if not order or column.title.partition(" ")[0] != order:
        return column
    return Column(f"{column.title} ↓", column.cells, column.rank, column.align, column.styles)


def _value(facts: Facts, key: str) -> str:
    values = [f"{one:g}" if isinstance(one, int | float) else f"{one}" for one in facts.of(key)]
    return values[0] if len(values) == 1 else ", ".join(values) or numbers.ABSENT


def _cut(text: str, most: int = 12) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def next_order(key: str) -> str:
    """Return the key that follows in `ORDERS`."""
    return ORDERS[(ORDERS.index(key) + 1) % len(ORDERS)]


def count_phrase(known: int, rows: Sequence[Facts], refused: int, order: str) -> str:
    """Say how many there are, how many of them are shown and live, and how they are sorted."""
    live = sum(facts.row.status == "running" for facts in rows)
    parts = [numbers.count(known, "run") if len(rows) == known else f"{len(rows)} of {known} runs"]
    parts += [f"{live} live"] if live else []
    parts += [f"{refused} unreadable"] if refused else []
    parts.append(f"by {order}" if order else "live first, then the newest")
    return ", ".join(parts)


def names_of(rows: Iterable[Facts]) -> list[str]:
    """Return the names of the directories."""
    return [facts.row.run for facts in rows]
