"""Where the time of a training step goes."""

from __future__ import annotations

from time import perf_counter

import torch

from gradcli.records import PHASES


class PhaseClock:
    """Adds up the seconds of each phase of the training steps.

    On an accelerator a phase's time is known only after waiting for the device, so there only
    the steps that are probed anyway are timed by phase, and their shares stand for all.
    `seconds_train` is the whole time of all steps on every device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._waits = device.type != "cpu"
        self._timing = True
        self._started = self._last = perf_counter()
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.seconds_train = 0.0

    def start(self, probed: bool) -> None:
        """Begin a step; `probed` says that it is one that may wait for the device."""
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
        """End a step, and whatever follows it that belongs to training."""
        now = perf_counter()
        self.seconds_train += now - self._started
        self._started = now

    def take(self) -> dict[str, float]:
        """Return the seconds by phase since the last `take`."""
        taken, self.seconds = self.seconds, dict.fromkeys(PHASES, 0.0)
        return taken
