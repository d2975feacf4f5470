"""What a run's own probes found while it trained: a table over its steps, and a line per step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradcli.inspection.inspection import Inspection, ProbeCost
from gradcli.notation import numbers
from gradcli.probes.probe import FAILED, no_result
from gradcli.probes.registry import known_probes, reading_of
from gradcli.records import ProbeRecord
from gradcli.views.inspect.probe_sentences import cost_phrase
from gradcli.views.table import STRONG, TITLE, Column, Line, fitting, piece, table, total_width
from gradcli.views.train.training_screen import evenly_between

MOST_MOMENTS = 9
"""Of more records of one probe, the first, the last and some evenly between are shown."""


def history_lines(inspection: Inspection, width: int | None) -> list[Line]:
    """Lay out a run's probes, one below the other, each over the steps.

    Args:
        inspection: of the run.
        width: of the terminal, in cells; None keeps all columns.
    """
    lines: list[Line] = [[piece("probes during the run", TITLE)]]
    names = recorded_probes(inspection.probe_history)
    shown = [record for name in names for record in _moments(inspection, name)]
    if shown:
        columns = _columns(shown, inspection.batch_size)
        wide = total_width(columns) if width is None else width
        lines += table(fitting(columns, wide), wide)
    refused = {one.probe: one.refused for one in inspection.probe_history if one.refused}
    lines += [[piece(f"{name} {no_result(reason)}", "yellow")] for name, reason in refused.items()]
    return lines


def recorded_probes(records: Sequence[ProbeRecord]) -> list[str]:
    """Return the names of the probes on record, the known ones first and in their order."""
    names = dict.fromkeys(record.probe for record in records)
    known = [probe.name for probe in known_probes() if probe.name in names]
    return [*known, *(name for name in names if name not in known)]


def describe_probes(made: Sequence[ProbeRecord]) -> str:
    """Say in a line what the probes of one step found and cost."""
    found = [one for one in made if not one.refused]
    failed = [one for one in made if one.refused.startswith(FAILED)]
    inapplicable = [one.probe for one in made if one.refused and one not in failed]
    phrases = []
    if found:
        phrases.append(", ".join(f"{reading_of(one.probe).meaning} {_value(one)}" for one in found))
        cost = ProbeCost(sum(one.seconds for one in found), sum(one.passes for one in found))
        phrases.append(cost_phrase(cost))
    if inapplicable:
        phrases.append(f"not applicable: {', '.join(inapplicable)}")
    phrases += [f"{one.probe} {one.refused}" for one in failed]
    return f"probes at step {numbers.count(made[0].step)}: {'; '.join(phrases)}"


def _moments(inspection: Inspection, name: str) -> list[ProbeRecord]:
    """Return a probe's records that have a result; evenly spaced ones if there are many."""
    records = [one for one in inspection.probe_history if one.probe == name and not one.refused]
    if len(records) <= MOST_MOMENTS:
        return records
    between = evenly_between(range(1, len(records) - 1), MOST_MOMENTS - 2)
    return [records[row] for row in (0, *between, len(records) - 1)]


def _columns(shown: Sequence[ProbeRecord], batch_size: int) -> list[Column]:
    """Return the table's columns; a cell that repeats the line above is left empty."""
    meanings, references = [], []
    before = "", ""
    for record in shown:
        reading = reading_of(record.probe)
        here = reading.meaning, reading.against(record, batch_size)
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
    return reading_of(record.probe).write(record.value)


def _range(record: ProbeRecord) -> str:
    if math.isnan(record.low) or math.isnan(record.high):
        return ""
    write = reading_of(record.probe).write
    return f"{write(record.low)} to {write(record.high)}"


def _cost(record: ProbeRecord) -> str:
    cost = cost_phrase(ProbeCost(record.seconds, record.passes))
    return cost.removeprefix("cost: ").replace("forward-backward ", "")
