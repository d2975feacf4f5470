"""What was measured of a model, before it becomes evidence and part of an inspection."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gradcli.diagnosis import Probed, ThroughTime
from gradcli.diagnosis.evidence import matrix_layers
from gradcli.inspection.inspection import ProbeResults
from gradcli.probes.check import CHECK
from gradcli.probes.hidden_states import HIDDEN_STATES
from gradcli.probes.noise import NOISE
from gradcli.records import FaultRecord, LayerInfo, TensorRange

if TYPE_CHECKING:
    from gradcli.probes.measuring.activations import SignalReport
    from gradcli.probes.measuring.finite_differences import GradientCheck


@dataclass(frozen=True, slots=True)
class Measures:
    """A model, measured with some examples. Tuples have one value per layer."""

    layers: tuple[LayerInfo, ...]
    signals: SignalReport
    loss: float
    """Over the examples."""
    fault: FaultRecord | None
    """The first non-finite value; if there is one, what depends on gradients is NaN."""
    frozen: tuple[bool, ...]
    gated: frozenset[str]
    """The recurrent layers whose cells have gates."""
    weight_norm: tuple[float, ...]
    update_ratio: tuple[float, ...]
    """Of the first update; NaN if none was tried."""
    probes: ProbeResults
    inputs: TensorRange | None = None
    """The range of the examples' values."""
    notes: tuple[str, ...] = ()
    """What a reader must know first."""

    def probed(self) -> Probed:
        """Return what the diagnosis needs, for the layers with a matrix."""
        chosen = [self.signals.layers[index] for index in matrix_layers(self.layers)]
        noise, states = self.probes.of(NOISE), self.probes.of(HIDDEN_STATES)
        check = self.probes.of(CHECK)
        return Probed(
            dead_fraction=np.array([signal.dead_fraction for signal in chosen]),
            saturated_fraction=np.array(
                [signal.saturated_fraction if signal.saturates else math.nan for signal in chosen]
            ),
            frozen=tuple(self.frozen[index] for index in matrix_layers(self.layers)),
            through_time=None
            if states is None
            else tuple(
                # Read from the end, a sequence's first step is its last.
                ThroughTime(
                    one.module,
                    one.hidden[::-1] if one.reverse else one.hidden,
                    one.module in self.gated,
                )
                for one in states
            ),
            noise_scale=None
            if noise is None
            else (noise.noise_scale.estimate, noise.noise_scale.low, noise.noise_scale.high),
            wrong_gradients=None
            if check is None
            else tuple((name, _error(check, name)) for name in check.wrong),
        )


def _error(check: GradientCheck, name: str) -> float:
    """Return the relative error of what is wrong: the module's own, or else its layer's."""
    return next(
        one.relative_error
        for one in (*check.modules, *check.layers)
        if one.name == name and not one.agrees
    )
