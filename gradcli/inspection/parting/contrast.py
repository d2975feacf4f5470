"""One fact that differs between two runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Contrast:
    """A fact that differs between two runs; None if one of them lacks it."""

    key: str
    a: Any
    b: Any
