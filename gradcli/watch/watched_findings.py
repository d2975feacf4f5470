"""The diagnosis of a run that may be at work: what it says now, of a bounded part of its log."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from gradcli.diagnosis import diagnose
from gradcli.errors import DamagedFileError, DamagedFileWarning, UserError
from gradcli.inspection.run_summary import gather_evidence
from gradcli.notation import numbers
from gradcli.records import Finding
from gradcli.runs.watching.looking import WatchedRun
from gradcli.views.findings import by_severity

#: Of the log of steps, so much is judged: a million steps of a small network.
MOST_BYTES = 64 * 2**20
#: A run at work is judged again after this many times what it cost, so 2% of the time at most.
PAUSE_PER_COST = 50.0
SHORTEST_PAUSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Examined:
    """What the diagnosis says of a run."""

    findings: tuple[Finding, ...] = ()
    """Causes before what follows from them, the most severe first."""
    notes: tuple[str, ...] = ()
    """What a reader must know first: that files are damaged, or that the log is long."""
    step: int = 0
    """The last step that was judged."""
    damaged: list[range] = field(default_factory=list)
    """The damaged parts of the log of steps, in bytes."""
    pause_seconds: float = SHORTEST_PAUSE_SECONDS
    """How long to wait before the next time."""


def examine(path: Path) -> Examined:
    """Judge a run by its last steps.

    Raises:
        UserError: if it cannot be read.
    """
    begin = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamagedFileWarning)  # these are notes here
        run = WatchedRun(path).with_copied_steps(MOST_BYTES)
        steps = run.steps
        if not len(steps):
            return Examined()
        evidence = gather_evidence(run, steps)
        findings = by_severity(diagnose(evidence))
        at_work = run.status == "running"
        damaged = [] if at_work else run.damaged_parts()
        notes = () if at_work else _damage(run)
    last = int(steps.step[-1])
    if (first := int(steps.step[0])) > 1:
        notes = (f"Judged by steps {numbers.count(first)} to {numbers.count(last)}.", *notes)
    cost = time.monotonic() - begin
    pause = max(SHORTEST_PAUSE_SECONDS, PAUSE_PER_COST * cost)
    return Examined(tuple(findings), notes, last, damaged, pause)


def _damage(run: WatchedRun) -> tuple[str, ...]:
    try:
        return run.damage
    except (DamagedFileError, UserError) as error:
        return (error.problem,)
