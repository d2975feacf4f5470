"""What each limit of the rules decides, as measured: how often the diagnosis is wrong around it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class Errors:
    """How often the whole diagnosis was wrong with one limit at some value."""

    missed: int
    """Faults of which the code or the layer was not named."""
    alarms: int
    """Sound trainings, and ones whose fault did no harm, of which something was said."""


@dataclass(frozen=True, slots=True)
class LimitErrors:
    """The errors at half of a limit, at it, and at twice it, with all other limits as they are."""

    at_half: Errors
    at_limit: Errors
    at_double: Errors

    @property
    def is_far_from_all(self) -> bool:
        """Whether no training of the corpus is near the limit: all three are alike."""
        return self.at_half == self.at_limit == self.at_double


def limit_errors() -> dict[str, LimitErrors]:
    """Return the errors around each limit, by its name in `limits`."""
    return {
        name: LimitErrors(*(Errors(*counts[factor]) for factor in ("0.5", "1", "2")))
        for name, counts in _table()["limits"].items()
    }


def counted_trainings() -> tuple[int, int]:
    """Return how many trainings were judged, and how many of them had a fault."""
    table = _table()
    return table["trainings"], table["faults"]


@cache
def _table() -> dict[str, Any]:
    text = (files("gradcli.diagnosis.calibration") / "limits.json").read_text("utf-8")
    table: dict[str, Any] = json.loads(text)
    return table
