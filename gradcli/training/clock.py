"""How the time of a training step is spent."""

from __future__ import annotations

from time import perf_counter

import torch

from gradcli.records import PHASES


class PhaseClock:
    """Adds up the seconds of each phase of the training steps.

    On an accelerator, timing a phase means waiting for the device. There only the probed steps,
    which wait anyway, are timed by phase, and their shares stand for all steps. `seconds_train` is
    the total time of all steps on every device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._waits = device.type != "cpu"
        self._timing = True
        self._started = self._last = perf_counter()
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.seconds_train = 0.0

    def start(self, probed: bool) -> None:
        """Begin a step, which may wait for the device if it is `probed`."""
        self._timing = probed or not self._waits
        self._started = self._last = perf_counter()

    def lap(self, phase: str) -> None:
        """End a phase."""
        if self._timing:
            if self._waits:
                torch.accelerator.synchronize()
            now = perf_counter()
            self.seconds[phase] += now - self._last
            self._last = now

    def stop(self) -> None:
        """End a step, or what follows it and counts as training."""
        now = perf_counter()
        self.seconds_train += now - self._started
        self._started = now

    def take(self) -> dict[str, float]:
        """Return the seconds of each phase since the last `take`."""
        taken, self.seconds = self.seconds, dict.fromkeys(PHASES, 0.0)
        return taken
