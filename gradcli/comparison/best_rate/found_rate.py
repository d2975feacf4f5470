"""What `gradcli find-lr` finds, with the training that it is for."""

from __future__ import annotations

from dataclasses import dataclass

from gradcli.comparison.best_rate.judging import ProposedRate
from gradcli.comparison.best_rate.rehearsals import RateSearch
from gradcli.records import RunInfo


@dataclass(frozen=True)
class FoundRate:
    """The learning rate that `gradcli find-lr` proposes, or why it proposes none."""

    info: RunInfo
    """The training that was rehearsed."""
    search: RateSearch
    proposed: ProposedRate
    overrides: tuple[str, ...]
    """Those that set the proposed rate; none without one."""
    commands: tuple[str, ...]
    """Those worth typing next: the first trains with the proposal, if there is one."""
    seconds: float
    rehearsals: int
    judged_by: str
    """The loss that was compared, in words."""

    @property
    def learning_rate(self) -> float:
        """The proposal; NaN if there is none."""
        return self.proposed.rate

    @property
    def interval(self) -> tuple[float, float]:
        """Where the best rate lies, at 95%."""
        return self.proposed.interval
