"""The place of the first non-finite value of a step, before it becomes a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gradcli.records import FaultRecord

Phase = Literal["inputs", "parameters", "forward", "loss", "backward", "update"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the first non-finite value of a step arose; the fields are those of `FaultRecord`."""

    phase: Phase
    layer: str | None = None
    operation: str = ""
    cause: str = ""
    tensor: str = ""
    after: str = ""
    before: str = ""
    unsure: str = ""
    forward_pass: int = 0
    forward_passes: int = 0

    def record(
        self, step: int, epoch: int, loss: float, batch: tuple[int, ...] = ()
    ) -> FaultRecord:
        """Return the record of a fault at this place."""
        return FaultRecord(
            step,
            epoch,
            self.phase,
            self.layer,
            loss,
            batch,
            operation=self.operation,
            cause=self.cause,
            tensor=self.tensor,
            after=self.after,
            before=self.before,
            unsure=self.unsure,
            forward_pass=self.forward_pass,
            forward_passes=self.forward_passes,
        )
