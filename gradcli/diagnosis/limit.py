"""What a constant of the rules is; `limits` has them all."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """A number that separates good from bad."""

    value: float
    reason: str
    source: str

    def __str__(self) -> str:
        return f"{self.value:g}"
