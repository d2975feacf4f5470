"""The commit that a folder is at, asked of git without executing anything of the repository.

The folder may be somebody else's, and the configuration of a repository can name programs: a file
system monitor, hooks, filters of content, transports to fetch what is missing. All are switched off
for the question. It does not write the index either, and does not look into submodules.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gradcli.system.windows import IS_WINDOWS, out_of_reach_of_ctrl_c

_SECONDS = 5.0
_SWITCHED_OFF = {"core.fsmonitor": "false", "core.hooksPath": os.devnull}
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",  # do not write the index
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",  # for releases of git that do not know the line above
    "GIT_TERMINAL_PROMPT": "0",
}
_STATUS = ("status", "--porcelain=v2", "--branch", "-uno", "--ignore-submodules=all")


def checked_out(folder: Path) -> dict[str, Any] | None:
    """Return the commit checked out in `folder`, and whether tracked files differ from it.

    A file whose content git would filter differs if it was touched since it was checked out.

    Returns:
        None if there is no repository or no git, if git does not answer in time, or if it cannot
        be asked without executing what the repository names.
    """
    filters = _filters(folder)
    if filters is None:
        return None
    answer = _ask(folder, _STATUS, {**_SWITCHED_OFF, **filters})
    lines = (answer or "").splitlines()
    commits = [line.split()[-1] for line in lines if line.startswith("# branch.oid")]
    if not commits:
        return None
    return {"commit": commits[0], "dirty": any(not line.startswith("#") for line in lines)}


def _filters(folder: Path) -> dict[str, str] | None:
    """Return the settings that switch off every filter; None if that is impossible."""
    question = ("config", "--null", "--name-only", "--list")
    answer = _ask(folder, question, _SWITCHED_OFF)
    if answer is None:
        return None
    keys = {key for key in answer.split("\0") if key.startswith("filter.")}
    names = {key.removeprefix("filter.").rpartition(".")[0] for key in keys}
    if any("=" in name for name in names):  # which `git -c NAME=VALUE` cannot set
        return None
    off = {"clean": "", "process": "", "required": "false"}
    return {f"filter.{name}.{key}": value for name in names for key, value in off.items()}


def _ask(folder: Path, question: Sequence[str], settings: dict[str, str]) -> str | None:
    """Return what git answers; None if it fails or takes too long."""
    overrides = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    command = ["git", "--no-pager", "-C", str(folder), *overrides, *question]
    with tempfile.TemporaryFile() as answer:
        try:
            code = _run(command, answer.fileno())
        except (OSError, subprocess.TimeoutExpired):
            return None
        answer.seek(0)
        return None if code else os.fsdecode(answer.read())


def _run(command: Sequence[str], output: int) -> int:
    """Run a command and return its exit status; end all of its processes if it takes too long."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **_ENVIRONMENT},
        **out_of_reach_of_ctrl_c(),
    )
    try:
        return process.wait(_SECONDS)
    except BaseException:  # also Ctrl-C, which does not reach a group of its own
        with suppress(ProcessLookupError):
            if IS_WINDOWS:
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
