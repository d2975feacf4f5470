"""What made a run: the command, the versions, the code and the start of the process."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import gradcli
from gradcli.system.git import checked_out
from gradcli.system.paths import Paths


def provenance() -> dict[str, Any]:
    """Return the command, the commit of the code and the versions, for `run.json`."""
    import torch

    return {
        "argv": sys.argv,
        "git": checked_out(Path.cwd()),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "gradcli": gradcli.__version__,
        },
        "platform": platform.platform(),
    }


def built_with(paths: Paths) -> dict[str, Any]:
    """Return the paths that rebuilding a config takes, made absolute, for `run.json`.

    Runs of older releases lack these keys.
    """
    return {
        "data_dir": str(paths.absolute(paths.data_dir)) if paths.data_dir else None,
        "config_dir": str(paths.absolute(paths.config_dir)) if paths.config_dir else None,
        "allow_import": list(paths.allow_import),
    }


def process_started() -> float:
    """Return when this process began, in seconds since the epoch.

    Only Linux reports it; on other systems it is the time of this call.
    """
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
        ticks_per_second = os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):  # which Windows raises for each of them
        return time.time()
    # Field 22 of proc(5), the start time in ticks since boot, is the 20th after the name.
    return time.time() - uptime + int(fields[19]) / ticks_per_second
