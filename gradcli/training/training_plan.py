"""How long a run trains, and what it measures."""

from __future__ import annotations

from dataclasses import dataclass


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
    bfloat16: bool = False
    threads: int = 1


def total_steps(steps_per_epoch: int, epochs: int, max_steps: int | None) -> int:
    """Return the number of updates that a whole run makes."""
    whole = steps_per_epoch * epochs
    return whole if max_steps is None else min(whole, max_steps)
