"""What a comparison of sets of runs says, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradcli.comparison.statistics.set_tests import Pairing, SetPair
from gradcli.comparison.verdicts import Summary
from gradcli.records import Metric


@dataclass(frozen=True, slots=True)
class Member:
    """A run of a set."""

    run: str
    """The name of its directory."""
    path: str
    seed: int | None
    """None if it is not known, as for the user's own loop."""
    score: float
    """`-inf` of a run that diverged."""


@dataclass(frozen=True, slots=True)
class RunSet:
    """The runs that a word names, and what they score."""

    name: str
    """The word."""
    rank: int | None
    """None if no run has a score."""
    members: tuple[Member, ...]
    """Those that count, the oldest first."""
    left_out: Mapping[str, str]
    """The reason for each run that does not count, by its name."""
    score: Summary
    diverged: int
    settings: Mapping[str, Any]
    """Those that all its runs share, and in which the sets differ."""
    mixed: tuple[str, ...]
    """Settings, apart from the seed, in which its own runs differ."""


@dataclass(frozen=True, slots=True)
class RunSetComparison:
    """Sets of runs, best first, and a verdict on each pair."""

    metric: Metric
    """What is compared, with its direction."""
    by: str
    """`test`, `val`, `train_loss` or `seconds_train`."""
    pairing: Pairing
    sets: tuple[RunSet, ...]
    pairs: tuple[SetPair, ...]
    differing: tuple[str, ...]
    """The settings in which the sets differ."""
    cautions: tuple[str, ...]
    """Reasons to read the verdicts with caution, in sentences."""
    next_commands: tuple[tuple[str, ...], ...]
    """Worth typing now."""
