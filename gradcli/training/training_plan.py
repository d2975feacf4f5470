"""How long a run trains, and what it measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class PassPlan:
    """How the gradients of one update are computed."""

    precision: Precision = "float32"
    """Of the forward pass; the lower ones under autocast. Weights and gradients stay float32."""
    micro_batch_size: int | None = None
    """The examples of a pass, if an update's batch takes several; None for all of them."""
    compiled: bool = False
    """Whether the forward pass runs through `torch.compile`."""

    @property
    def autocast(self) -> torch.dtype | None:
        """The type that the forward pass is cast to; None for none."""
        return None if self.precision == "float32" else getattr(torch, self.precision)


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How long to train, what to measure, and with how many threads.

    `record_every` and `probe_every` count steps; 0 means never. `threads` is the number of CPU
    threads to train with. The caller sets it, because it applies to the whole process.
    """

    epochs: int
    max_steps: int | None
    seed: int
    record_every: int
    probe_every: int
    passes: PassPlan = PassPlan()
    threads: int = 1


def total_steps(steps_per_epoch: int, epochs: int, max_steps: int | None) -> int:
    """Return the number of updates that a whole run makes."""
    whole = steps_per_epoch * epochs
    return whole if max_steps is None else min(whole, max_steps)
