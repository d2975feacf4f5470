"""What a run's own probes found while it trained: a table over its steps, and a line for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gradcli.inspection.inspection import Inspection, ProbeCost
from gradcli.records import ProbeRecord
from gradcli.views import numbers
from gradcli.views.inspect.probe_sentences import cost_phrase, count_examples, signed
from gradcli.views.table import STRONG, TITLE, Column, Line, fitting, piece, table, total_width
from gradcli.views.train.training_screen import evenly_between

MOST_MOMENTS = 9
"""Of more moments for one probe, the first, the last and some evenly between are shown."""


class Reading(NamedTuple):
    """What a probe's value is, and how it is written."""

    meaning: str
    write: Callable[[float], str]


def _with_sign(value: float) -> str:
    return numbers.ABSENT if math.isnan(value) else f"{value:+.2f}"


READINGS = {
    "signals": Reading("dead units", numbers.share),
    "histograms": Reading("zeros in the gradient", numbers.share),
    "noise": Reading("noise scale", count_examples),
    "sharpness": Reading("sharpness", signed),
    "descent": Reading("best step downhill", numbers.norm),
    "hidden-states": Reading("decades a time step", _with_sign),
    "cosine": Reading("gradient cosine", _with_sign),
    "alpha": Reading("alpha", _with_sign),
}


def history_lines(inspection: Inspection, width: int | None) -> list[Line]:
    """Lay out a run's probes, one below the other, each over the steps.

    Args:
        inspection: of the run.
        width: of the terminal, in cells; None keeps all columns.
    """
    lines: list[Line] = [[piece("probes made during the run", TITLE)]]
    shown = [record for name in READINGS for record in _moments(inspection, name)]
    if shown:
        columns = _columns(shown, inspection.batch_size)
        wide = total_width(columns) if width is None else width
        lines += table(fitting(columns, wide), wide)
    refused = {one.probe: one.refused for one in inspection.probe_history if one.refused}
    lines += [[piece(f"{name} refused: {reason}", "yellow")] for name, reason in refused.items()]
    return lines


def describe_probes(made: Sequence[ProbeRecord]) -> str:
    """Say in a line what the probes of one step found and cost."""
    found = [one for one in made if not one.refused]
    refused = [one.probe for one in made if one.refused]
    phrases = []
    if found:
        phrases.append(", ".join(f"{READINGS[one.probe].meaning} {_value(one)}" for one in found))
        cost = ProbeCost(sum(one.seconds for one in found), sum(one.passes for one in found))
        phrases.append(cost_phrase(cost))
    if refused:
        phrases.append(f"refused: {', '.join(refused)}")
    return f"probes at step {numbers.count(made[0].step)}: {'; '.join(phrases)}"


def _moments(inspection: Inspection, name: str) -> list[ProbeRecord]:
    """Return a probe's records that have a result, of very many an even selection."""
    records = [one for one in inspection.probe_history if one.probe == name and not one.refused]
    if len(records) <= MOST_MOMENTS:
        return records
    between = evenly_between(range(1, len(records) - 1), MOST_MOMENTS - 2)
    return [records[row] for row in (0, *between, len(records) - 1)]


def _columns(shown: Sequence[ProbeRecord], batch_size: int) -> list[Column]:
    """Return the table's columns; what is as it was in the line above is not said again."""
    meanings, references = [], []
    before = "", ""
    for record in shown:
        here = READINGS[record.probe].meaning, _reference(record, batch_size)
        meanings.append(here[0] if here[0] != before[0] else "")
        references.append(here[1] if here != before else "")
        before = here
    return [
        Column("probe", meanings, styles=STRONG),
        Column("step", [numbers.count(record.step) for record in shown], 0, "right"),
        Column("found", [_value(record) for record in shown], 0, "right"),
        Column("range", [_range(record) for record in shown], 2),
        Column("against", references, 1),
        Column("cost", [_cost(record) for record in shown], 3, styles=TITLE),
    ]


def _value(record: ProbeRecord) -> str:
    return READINGS[record.probe].write(record.value)


def _range(record: ProbeRecord) -> str:
    if math.isnan(record.low) or math.isnan(record.high):
        return ""
    write = READINGS[record.probe].write
    return f"{write(record.low)} to {write(record.high)}"


def _reference(record: ProbeRecord, batch_size: int) -> str:
    """Say what the value is held against."""
    match record.probe:
        case "noise":
            return f"batch {batch_size}"
        case "alpha":
            return "0 is the minimum"
        case "sharpness" if math.isnan(record.limit):
            return "no threshold known: the plain Hessian"
        case "sharpness" if not math.isnan(record.value):
            beyond = record.value > record.limit
            side = "unstable: beyond" if beyond else "stable: below"
            return f"{side} {numbers.norm(record.limit)}"
    return ""


def _cost(record: ProbeRecord) -> str:
    cost = cost_phrase(ProbeCost(record.seconds, record.passes))
    return cost.removeprefix("cost: ").replace("forward-backward ", "")
