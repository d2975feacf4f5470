"""Where things are: what every command is told by its options or by the environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_RUNS_DIR = Path("runs")


@dataclass(frozen=True)
class Paths:
    """Where runs, data and the user's own configs are, and which packages configs may use."""

    runs_dir: Path = DEFAULT_RUNS_DIR
    data_dir: Path | None = None
    config_dir: Path | None = None
    allow_import: Sequence[str] = ()

    def arguments(self, *, runs: bool = True) -> list[str]:
        """Return the command-line options that give the same paths, as words.

        Defaults and what the environment says are left out, so that only what was given remains.

        Args:
            runs: whether to include `--runs-dir`.
        """
        words = []
        if runs and _is_given(self.runs_dir, "GRADCLI_RUNS") and self.runs_dir != DEFAULT_RUNS_DIR:
            words += ["--runs-dir", str(self.runs_dir)]
        if self.data_dir is not None and _is_given(self.data_dir, "GRADCLI_DATA"):
            words += ["--data-dir", str(self.data_dir)]
        if self.config_dir is not None:
            words += ["--config-dir", str(self.config_dir)]
        for package in self.allow_import:
            words += ["--allow-import", package]
        return words


def _is_given(path: Path, variable: str) -> bool:
    """Whether a path comes from elsewhere than an environment variable."""
    return str(path) != os.environ.get(variable)
