"""Which arms reach the target soonest: a table and sentences for the closing screen."""

from __future__ import annotations

from gradcli.comparison.results import ComparisonSummary, TargetSummary
from gradcli.comparison.verdicts import ArmTimes, TimeComparison
from gradcli.notation import numbers
from gradcli.records import DataInfo
from gradcli.views.compare.column_cells import partly_reached, reported_columns, written
from gradcli.views.compare.verdict_sentences import listed, ranked_sets
from gradcli.views.table import STRONG, Column

_ORIGINS = {
    "tuning": "what half of the tuning trials with the chosen settings had reached by the first "
    "evaluation after two fifths of their steps",
    "protocol": "protocol.target",
    "problem": "the target of the problem",
    "data": "the usual target for {data}; no tuning has set another",
}


def target_columns(summary: ComparisonSummary, target: TargetSummary) -> list[Column]:
    """Lay out how soon the arms reach the target, the soonest first."""
    arms = target.steps.arms
    by_name = {arm.name: arm for arm in summary.ranking}
    coverage = min((arm.coverage for arm in arms), default=1.0)
    score = f"{summary.info.target_score:g}"
    reported = reported_columns([by_name[arm.name] for arm in arms], summary.info.target_score)
    timed = [column for column in reported if column.title == f"to {score}"]
    interval = Column(f"{numbers.share(coverage)} interval", list(map(_between, arms)), rank=5)
    return [
        Column("", [_place(arm) for arm in arms], align="right"),
        Column("optimizer", [arm.name for arm in arms], styles=STRONG),
        Column(score, [f"{arm.reached} of {arm.seeds}" for arm in arms], above="reached"),
        *timed[:1],
        *([interval] if coverage > 0 else []),  # a single seed has none
        *timed[1:],
    ]


def soonest(steps: TimeComparison) -> list[str]:
    """Say which arms reach the target sooner than others, by more than luck."""
    if not steps.pairs:
        return []
    sets = ranked_sets(steps.arms)
    said = [sets] if sets else _wins(steps) or ["No difference in steps is more than luck."]
    if len(steps.pairs) == 1:
        said = [f"{said[0]} p={steps.pairs[0].p_adjusted:.2g}."]
    else:
        pairs = numbers.count(len(steps.pairs), "pair")
        said.append(f"Rank-sum tests of the steps at 95%, corrected for {pairs} (Holm).")
    if steps.seeds_needed is not None:
        said.append(
            f"So few seeds cannot give a verdict, however far apart the steps are: "
            f"{steps.seeds_needed} could."
        )
    return said


def target_remarks(summary: ComparisonSummary) -> list[str]:
    """Say where the target comes from, and which arms reached it with some of the seeds only."""
    target = summary.target
    remarks = partly_reached(summary)
    if target is None or target.origin not in _ORIGINS:
        return remarks
    origin = _ORIGINS[target.origin].format(data=summary.info.data.name)
    on = _timed_on(target, summary.info.data)
    remarks.insert(0, f"{summary.info.target_score:g} is {origin}{on}.")
    if not any(arm.reached for arm in target.steps.arms):
        remarks.append("No trial reached it; protocol.target=SCORE sets another.")
    return remarks


def _timed_on(target: TargetSummary, data: DataInfo) -> str:
    """Say that a sample of the validation split was scored, if so."""
    if not 0 < target.examples < data.val:
        return ""
    return (
        f". It was timed on {numbers.count(target.examples)} of the {numbers.count(data.val)} "
        "validation examples"
    )


def _place(arm: ArmTimes) -> str:
    if arm.places is None:
        return numbers.ABSENT
    best, worst = arm.places
    return f"{best}" if best == worst else f"{best}-{worst}"


def _between(arm: ArmTimes) -> str:
    low, high = (written("count", end) for end in arm.interval)
    return f"{low} to {high}" if arm.seeds > 1 else numbers.ABSENT


def _wins(steps: TimeComparison) -> list[str]:
    """Say for each arm which others it is sooner than."""
    beaten: dict[str, list[str]] = {arm.name: [] for arm in steps.arms}
    for pair in steps.pairs:
        if pair.verdict != "tie":
            winner, loser = (pair.a, pair.b) if pair.verdict == "a" else (pair.b, pair.a)
            beaten[winner].append(loser)
    return [f"{name} is sooner than {listed(others)}." for name, others in beaten.items() if others]
