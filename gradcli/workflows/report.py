"""From run directories to a report: everything is read first, then drawn, then written at once."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from gradcli.comparison.trial_store import TrialStore
from gradcli.errors import UserError
from gradcli.inspection.assemble import inspect_run
from gradcli.inspection.run_summary import summarise_run
from gradcli.runs import ComparisonDirectory, Run
from gradcli.runs.files import write_atomically
from gradcli.views.report.comparison_page import comparison_page
from gradcli.views.report.contents import ComparisonContents, Making, RunContents
from gradcli.views.report.run_page import run_page
from gradcli.views.report.runs_page import runs_page
from gradcli.workflows.compare import read_comparison

REPORT_FILE = "report.html"
MOST_RUNS = 24


def report(found: Sequence[Run | ComparisonDirectory]) -> str:
    """Return the report of a run, of several runs or of one comparison as an HTML document.

    Args:
        found: what it is about, at least one.

    Raises:
        UserError: for a comparison among others, for very many runs, and for a run that ended
            before its model was built.
    """
    comparisons = [one for one in found if isinstance(one, ComparisonDirectory)]
    runs = [one for one in found if isinstance(one, Run)]
    if comparisons and len(found) > 1:
        raise UserError(
            "A report is about one comparison, or about runs; not about both, or about several "
            "comparisons.",
            hint=f"gradcli report {shlex.quote(str(comparisons[0].path))}",
        )
    if len(runs) > MOST_RUNS:
        raise UserError(
            f"{len(runs)} runs do not fit on a page: at most {MOST_RUNS} do.",
            hint="gradcli runs list",
        )
    if comparisons:
        return comparison_page(comparison_contents(comparisons[0]))
    contents = [run_contents(run) for run in runs]
    return run_page(contents[0]) if len(contents) == 1 else runs_page(contents)


def write_report(path: Path, document: str) -> None:
    """Write a report; one that is there already is replaced at once, or stays as it is.

    Raises:
        OSError: if it cannot be written.
    """
    write_atomically(path.resolve(), lambda file: file.write(document.encode()))


def run_contents(run: Run) -> RunContents:
    """Read what the report of a run shows.

    Raises:
        UserError: if the process ended before the model was built.
    """
    inspection = inspect_run(run, str(run.path))
    is_live = run.status == "running"  # its log may be cut while it is read
    return RunContents(
        summary=summarise_run(run),
        inspection=inspection,
        steps=run.last_steps(_MOST_STEPS_OF_A_LIVE_RUN) if is_live else run.steps,
        evals=run.evals,
        layer_records=run.layer_records,
        settings=run.state.get("settings", {}),
        making=_making(run.state, run.config, _commands_of_run(run)),
    )


def comparison_contents(directory: ComparisonDirectory) -> ComparisonContents:
    """Read what the report of a comparison shows."""
    summary = read_comparison(directory, directory.paths)
    store = TrialStore(directory, directory.state.get("problems"))
    commands = [
        (summary.winner_command, "Train the best arm:"),
        (summary.extend_command, "Compare again beyond the end at which the best arm did best:"),
        (summary.retry_command, "Compare again at lower learning rates:"),
        (summary.resume_command, "Run what is missing:"),
        (shlex.join(["gradcli", "runs", "show", summary.info.path]), "The same in a terminal:"),
    ]
    given = [one for one in commands if one[0]]
    return ComparisonContents(
        summary, list(store.records(summary)), _making(directory.state, "", given)
    )


#: As in an inspection: the process of a live run may cut its log, so its steps are copied.
_MOST_STEPS_OF_A_LIVE_RUN = 200_000


def _commands_of_run(run: Run) -> list[tuple[str, str]]:
    commands = []
    if run.has_overrides:
        paths = run.paths.arguments(beside=run.overrides)
        commands.append((["gradcli", "train", *paths, *run.overrides], "Train it again:"))
    commands.append((["gradcli", "inspect-gradients", str(run.path)], "Look closer:"))
    commands.append((["gradcli", "runs", "show", str(run.path)], "The same in a terminal:"))
    return [(shlex.join(words), what) for words, what in commands]


def _making(state: dict[str, Any], config: str, commands: Sequence[tuple[str, str]]) -> Making:
    """Return how something was made, as far as its directory says."""
    began = datetime.fromisoformat(state["started"]).astimezone().strftime("%Y-%m-%d %H:%M")
    git = state.get("git") or {}
    versions = ", ".join(f"{name} {one}" for name, one in state.get("versions", {}).items())
    commit = f"{git['commit']}{' with changes' if git['dirty'] else ''}" if git else ""
    facts = {
        "begun": began,
        "versions": versions,
        "commit": commit,
        "platform": state.get("platform", ""),
    }
    return Making(f"Begun {began}", commands, config, facts)
