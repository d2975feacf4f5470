"""Random numbers that depend on a seed alone, beside those of the program around them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.random import mtrand


class OwnRandomState:
    """A state for torch on the CPU, NumPy and `random` that is in force within `entered`.

    It goes on where it was left; outside, the program has its own states, as if nothing had
    happened.

    Args:
        seed: the run's seed.
        epoch: of the run; each has another state.

    Attributes:
        seed: what the three were seeded with: torch with all 64 bits, the others with the lower 32.
    """

    def __init__(self, seed: int, epoch: int) -> None:
        words = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)
        self.seed = int(words[0])
        low = self.seed % 2**32
        self._torch = torch.Generator().manual_seed(self.seed).get_state()
        self._python = random.Random(low).getstate()
        numpy_state: Any = np.random.RandomState(low).get_state(legacy=False)
        self._numpy: np.random.BitGenerator = np.random.MT19937()
        self._numpy.state = numpy_state

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Draw from this state until the end of the block."""
        python, from_torch = random.getstate(), torch.get_rng_state()
        # NumPy's generator is exchanged, which takes 1 us; to copy its state back and forth takes
        # a hundred. What is lost is the second of two normal numbers that it keeps in reserve.
        numpy = mtrand.get_bit_generator()
        random.setstate(self._python)
        torch.set_rng_state(self._torch)
        mtrand.set_bit_generator(self._numpy)
        try:
            yield
        finally:
            self._python, self._torch = random.getstate(), torch.get_rng_state()
            random.setstate(python)
            torch.set_rng_state(from_torch)
            mtrand.set_bit_generator(numpy)
