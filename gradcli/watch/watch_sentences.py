"""What the screens say in words."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from gradcli.notation import numbers
from gradcli.records import Finding
from gradcli.runs import ComparisonDirectory
from gradcli.views.findings import with_override
from gradcli.views.heading import describe, describe_fault, joined
from gradcli.watch.run_course import RunCourse, progress_fraction
from gradcli.watch.run_rows import STATUS_SYMBOLS, short_name

NO_RUNS = """There are no runs in {folder} yet.

Start one in another terminal, and it appears here:

    gradcli train

or look elsewhere:

    gradcli watch --runs-dir DIR"""
HELP: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Anywhere",
        (
            ("?", "this help"),
            ("escape", "back"),
            ("t", "light or dark"),
            ("q", "quit; no run notices"),
        ),
    ),
    (
        "Table of runs",
        (
            ("enter", "open a run; of a comparison, its trials"),
            ("space", "mark, to see several side by side"),
            ("b", "side by side: the marked runs"),
            ("/", "filter: words match names; optimizer=adam test>0.9 as in runs list --where"),
            ("s, r", "sort by the next column, or the other way round"),
        ),
    ),
    (
        "A run, or several",
        (
            ("enter", "open a finding in full"),
            ("tab", "to the next chart, and back to the findings"),
            ("+ - and arrows", "zoom and move in a chart, as the mouse does; r shows all of it"),
            ("y", "in a finding: copy the command that tries its advice"),
        ),
    ),
)


def status_phrase(course: RunCourse) -> str:
    """Say how a run stands: `▶ running, step 20 of 96 (20%), resumed once`."""
    if course.is_gone:
        return "its directory is gone"
    parts = [f"{STATUS_SYMBOLS[course.status]} {course.status}"]
    if course.info is not None and course.info.total_steps:
        total = numbers.count(course.info.total_steps)
        done = f"{int(100 * progress_fraction(course))}%"
        parts.append(f"step {numbers.count(course.step)} of {total} ({done})")
    elif course.step:
        parts.append(f"step {numbers.count(course.step)}")
    if course.resumed:
        parts.append("resumed once" if course.resumed == 1 else f"resumed {course.resumed} times")
    if course.distance > 1:
        parts.append(f"every {_ordinal(course.distance)} step is drawn")
    return ", ".join(parts)


def _ordinal(number: int) -> str:
    """Return a power of two as an ordinal: `2nd`, `4th`, `512th`."""
    teen = number % 100 in (11, 12, 13)
    ending = "th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def heading_lines(course: RunCourse, width: int) -> list[str]:
    """Say which run it is, how it stands, and what it trains, each in a line."""
    lines = [f"{short_name(course.name)}  {status_phrase(course)}"]
    if course.info is not None:
        lines.append(joined(describe(course.info), " · ", width))
    if course.fault is not None:
        lines.append(describe_fault(course.fault))
    if course.problem is not None:
        lines.append(course.problem.problem)
    elif course.info is None and not course.is_gone:
        lines.append("It has no model yet.")
    return lines


def news_of(course: RunCourse, status: str, resumed: int) -> str:
    """Say what has become of a run since it had a status; empty if nothing has.

    Args:
        course: as it is now.
        status: before.
        resumed: how often it had been resumed.
    """
    name = short_name(course.name)
    if course.resumed > resumed:
        return f"{name} was resumed"
    if course.status == status:
        return ""
    if course.status == "lost":
        return f"{name} is lost: its process is gone. gradcli train --resume {name}"
    was = "was" if course.status == "interrupted" else "has"
    return f"{name} {'is' if course.status == 'running' else was} {course.status}"


def finding_line(finding: Finding) -> str:
    """Say in a line what a finding is; its severity is a word, not a colour."""
    severity = "" if finding.severity == "info" else f"{finding.severity}: "
    place = f" in {finding.layer}" if finding.layer else ""
    return f"{severity}{finding.code}{place}. {finding.message}"


def without_findings(course: RunCourse, is_examined: bool) -> str:
    """Say why there is no finding in the list."""
    if not course.step:
        return "no step is on record yet"
    return "nothing to report" if is_examined else "looking for findings ..."


def try_command(course: RunCourse, finding: Finding) -> str:
    """Return the command that trains again with the advice of a finding; empty without one."""
    run = course.run
    if finding.override is None or run is None or not run.has_overrides:
        return ""
    words = [*run.paths.arguments(beside=run.overrides)]
    words += with_override(run.overrides, finding.override)
    return shlex.join(["gradcli", "train", *words])


def ranking_lines(comparison: ComparisonDirectory) -> list[str]:
    """Say how a comparison stands: its arms, best first, as far as they are ranked."""
    state = comparison.state
    ranking = state.get("result", {}).get("ranking", [])
    arms = [arm["name"] for arm in state["info"]["arms"]]
    head = f"{short_name(comparison.name)}  {STATUS_SYMBOLS[comparison.status]} {comparison.status}"
    if not ranking:
        return [f"{head}, comparison of {', '.join(arms)}", "not ranked yet: these are its trials"]
    return [f"{head}, {numbers.count(len(arms), 'arm')}", " · ".join(map(_ranked, ranking))]


def _ranked(arm: dict[str, Any]) -> str:
    score = arm.get("test", arm.get("test_accuracy", {}))
    mean, spread = (float(score.get(key, math.nan)) for key in ("mean", "std"))
    name = arm.get("arm", arm.get("optimizer", ""))
    text = f"{arm.get('rank', '?')}. {name} {numbers.score(mean)}"
    return text if math.isnan(spread) else f"{text} ± {numbers.score(spread)}"


def differing_settings(courses: Sequence[RunCourse]) -> list[tuple[str, list[str]]]:
    """Return the settings in which runs differ: the key, and the value of each run."""
    settings = [{} if one.run is None else one.run.state.get("settings", {}) for one in courses]
    keys = dict.fromkeys(key for one in settings for key in one)
    found = []
    for key in keys:
        values = [_written(one.get(key, numbers.ABSENT)) for one in settings]
        if len(set(values)) > 1 and not key.endswith("_target_"):
            found.append((key, values))
    return found


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def numbers_beside(courses: Iterable[RunCourse]) -> list[tuple[str, list[str]]]:
    """Return the numbers of runs, side by side: what each is, and the value of each run."""
    rows: dict[str, list[str]] = {}
    for one in courses:
        last = None if one.steps is None else one.steps
        val, test = one.evals("val")[-1:], one.evals("test")[-1:]
        values = {
            "run": short_name(one.name),
            "status": f"{STATUS_SYMBOLS[one.status]} {one.status}",
            "step": numbers.count(one.step),
            "loss": numbers.ABSENT if last is None else numbers.score(float(last.loss[-1])),
            "val score": numbers.score(val[0].score) if val else numbers.ABSENT,
            "test score": numbers.score(test[0].score) if test else numbers.ABSENT,
            "grad norm": numbers.ABSENT
            if last is None
            else numbers.norm(float(last.grad_norm_before_clip[-1])),
            "findings": " ".join(_codes(one)) or numbers.ABSENT,
        }
        for name, value in values.items():
            rows.setdefault(name, []).append(value)
    return list(rows.items())


def _codes(course: RunCourse) -> list[str]:
    if course.run is None:
        return []
    codes: list[str] = course.run.state.get("result", {}).get("findings", [])
    return codes
