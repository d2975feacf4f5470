"""`gradcli runs rm` and `gradcli runs prune`: what is asked for goes, once it is confirmed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradcli.cli.options import (
    WHICH,
    JsonOption,
    RunsDirOption,
    WhereOption,
    settle_latest,
    write_json,
    write_result,
)
from gradcli.errors import UserError
from gradcli.system.paths import Paths

if TYPE_CHECKING:
    from gradcli.runs import ComparisonDirectory, PruningPlan, Run

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def prune(
    where: WhereOption = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="AGE",
            help="Only those that have recorded nothing for this long: 12h, 30d, 8w, ...",
            show_default=False,
        ),
    ] = None,
    lost: Annotated[
        bool,
        typer.Option("--lost", help="Only lost ones: their process died without saying how."),
    ] = False,
    checkpoints: Annotated[
        bool,
        typer.Option(
            "--checkpoints", help="Remove the checkpoints of ended runs alone; keep the records."
        ),
    ] = False,
    runs_dir: RunsDirOption = Path("runs"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be removed.")
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make room: remove old or lost runs and comparisons, or their checkpoints.

    All that is given must hold. What it frees is shown first. A run at work is left alone.
    """
    from gradcli.runs import Pruning, age_seconds, conditions, plan_pruning
    from gradcli.views.console import show_message, show_result
    from gradcli.views.error_panel import error_panel
    from gradcli.views.runs.pruning_screen import pruning_screen

    _refuse_unclear(where, older_than, lost=lost, checkpoints=checkpoints)
    age = None if older_than is None else age_seconds(older_than)
    plan = plan_pruning(runs_dir, Pruning(conditions(where or []), age, lost, checkpoints))
    for error in plan.refused:
        show_message(error_panel(error))
    if not as_json or not (dry_run or yes):
        show = show_result if dry_run else show_message
        show(pruning_screen(plan.summary()))
    removed: dict[str, bool] = {}
    if plan.chosen and not dry_run:
        if not yes:
            words = _words_of_prune(where, older_than, lost=lost, checkpoints=checkpoints)
            options = Paths(runs_dir).arguments()
            _require_terminal(["gradcli", "runs", "prune", *words, *options, "--yes"])
        what = " these checkpoints" if checkpoints else ""
        if yes or _is_confirmed(f"Remove{what} for good?"):
            removed = _prune_all(plan, is_silent=as_json)
    if as_json:
        from gradcli.views.json_output import pruning_json

        write_json(pruning_json(plan.summary(removed)))


def _prune_all(plan: PruningPlan, *, is_silent: bool) -> dict[str, bool]:
    """Remove what was announced, and say so; return for each whether it was removed."""
    from gradcli.notation.numbers import file_size
    from gradcli.runs import prune
    from gradcli.views.words import write_line

    removed: dict[str, bool] = {}
    for one in plan.chosen:
        removed[one.row.run] = prune(one)
        if not removed[one.row.run]:
            write_line(sys.stderr, f"left {one.found.path}: it has changed, or is at work by now")
        elif not is_silent:
            what = "the checkpoints of " if one.checkpoints else ""
            write_result(f"removed {what}{one.found.path}, {file_size(one.size_bytes)}")
    if not is_silent:
        write_result(f"freed {file_size(plan.summary(removed).freed_bytes)}")
    return removed


def _refuse_unclear(
    where: list[str] | None, older_than: str | None, *, lost: bool, checkpoints: bool
) -> None:
    """Refuse a call that says nothing of what may go, or that asks for what a lost run needs.

    Raises:
        UserError: with what to type instead.
    """
    if not (where or older_than is not None or lost or checkpoints):
        raise UserError(
            "Nothing says what may be removed.",
            where="gradcli runs prune",
            choices=["--older-than 30d", "--lost", "--checkpoints", "--where CONDITIONS"],
            hint="gradcli runs prune --older-than 30d",
        )
    if lost and checkpoints:
        raise UserError(
            "A lost run needs its checkpoint to be continued, so --checkpoints leaves it alone. "
            "--lost without it removes the whole run.",
            where="--lost --checkpoints",
            hint="gradcli runs prune --lost",
        )


def _words_of_prune(
    where: list[str] | None, older_than: str | None, *, lost: bool, checkpoints: bool
) -> list[str]:
    words = [word for one in where or [] for word in ("--where", one)]
    words += ["--older-than", older_than] if older_than is not None else []
    words += ["--lost"] if lost else []
    return words + (["--checkpoints"] if checkpoints else [])


def rm(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help=WHICH)],
    runs_dir: RunsDirOption = Path("runs"),
    yes: YesOption = False,
) -> None:
    """Remove runs and comparisons with everything in their directories."""
    from gradcli.notation.numbers import file_size
    from gradcli.runs import find_to_remove, own_path, refuse_if_at_work, remove, size_bytes
    from gradcli.views.words import write_line

    named = {
        run: find_to_remove(settle_latest(run, runs_dir, silent=False), runs_dir) for run in runs
    }
    if yes:
        _require_whole_names(named)
    found = {own_path(one): one for one in named.values()}
    # A trial is removed with its comparison.
    found = {path: one for path, one in found.items() if not found.keys() & set(path.parents)}
    for one in found.values():
        refuse_if_at_work(one)
    if not yes:
        _require_terminal(["gradcli", "runs", "rm", "--yes", *map(str, found)])
        for one in found.values():
            write_line(sys.stderr, f"{one.path}  {_kind(one)}, {file_size(size_bytes(one))}")
        if not _is_confirmed("Remove for good?"):
            raise typer.Exit
    for one in found.values():
        size = size_bytes(one)
        remove(one)
        write_result(f"removed {one.path}, {file_size(size)}")


def _kind(found: Run | ComparisonDirectory) -> str:
    """Say in a word or two what is about to be removed."""
    if found.path.is_symlink():
        return f"a link to {found.path.readlink()}"
    return found.status if found.is_readable else "damaged"


def _require_whole_names(named: dict[str, Run | ComparisonDirectory]) -> None:
    """Refuse part of a name if nobody confirms: the intended run may be gone already.

    Raises:
        UserError: for the first target that is neither a full name, a directory nor `latest`.
    """
    for word, one in named.items():
        if word not in ("latest", one.name) and Path(word).resolve() != one.path.resolve():
            raise UserError(
                f"'{word}' is only part of a name; --yes needs full names. Without --yes you are "
                "asked.",
                choices=[one.name],
                hint=shlex.join(["gradcli", "runs", "rm", one.name, "--yes"]),
            )


def _require_terminal(command: list[str]) -> None:
    """Refuse to remove anything if nobody can be asked.

    Args:
        command: removes it without asking.

    Raises:
        UserError: with that command.
    """
    if not sys.stdin.isatty():
        raise UserError(
            "stdin is not a terminal, so confirmation is impossible.",
            where=" ".join(command[:3]),
            hint=shlex.join(command),
        )


def _is_confirmed(question: str) -> bool:
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:  # Ctrl-C
        raise typer.Exit(130) from None
