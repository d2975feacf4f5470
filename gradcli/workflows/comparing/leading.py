"""The command that leads a comparison on, in a process without a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from gradcli.runs import ComparisonDirectory
from gradcli.system.paths import Paths


def leading_command(
    directory: ComparisonDirectory, paths: Paths, engine_words: Sequence[str]
) -> list[str]:
    """Return the arguments of `gradcli` with which another process leads a comparison.

    Args:
        directory: of the comparison.
        paths: those that its config needs.
        engine_words: the overrides that name its engine.
    """
    resume = ["compare-optimizers", "--resume", str(directory.path.absolute())]
    return [*resume, "--quiet", "--no-live", *paths.arguments(), *engine_words]


def start_leading(arguments: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that runs the command.

    It finds the modules that this process finds, and none of its working directory besides.

    Args:
        arguments: of `gradcli`.
        options: of `Popen`.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "gradcli", *arguments],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        **options,
    )
