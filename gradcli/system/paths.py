"""Where runs, data and configs are: what options or the environment tell every command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """Where runs, data and the user's own configs are, and which packages configs may use."""

    runs_dir: Path = Path("runs")
    data_dir: Path | None = None
    config_dir: Path | None = None
    allow_import: Sequence[str] = ()
