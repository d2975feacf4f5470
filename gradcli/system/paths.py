"""Where things lie: what every command is told by its options or by the environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """Where runs, data and the user's own configs lie, and which packages configs may use."""

    runs_dir: Path = Path("runs")
    data_dir: Path | None = None
    config_dir: Path | None = None
    allow_import: Sequence[str] = ()

    def arguments(self, *, runs: bool = True) -> list[str]:
        """Return the command-line options that name these places, for a command to be pasted.

        Only what was given is listed, and nothing that the environment already says.

        Args:
            runs: whether to name the runs directory, if it is not the default.
        """
        arguments = []
        if runs and self.runs_dir != Path(os.environ.get("GRADCLI_RUNS") or "runs"):
            arguments += ["--runs-dir", str(self.runs_dir)]
        if self.data_dir is not None and str(self.data_dir) != os.environ.get("GRADCLI_DATA"):
            arguments += ["--data-dir", str(self.data_dir)]
        if self.config_dir is not None:
            arguments += ["--config-dir", str(self.config_dir)]
        for package in self.allow_import:
            arguments += ["--allow-import", package]
        return arguments
