"""Watches a training step from within: its layers, its set-up and its fingerprints.

Hooks exist only in the steps that are observed; other steps cost nothing. What is observed is read
and never written, so the training is the same to the bit.
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any

from torch import nn

from gradcli.gradients.backward_log import BackwardLog
from gradcli.gradients.fingerprints.fingerprint_watch import FingerprintWatch
from gradcli.gradients.layer_probe import (
    LayerProbe,
    is_probed,
    one_parameter_each,
    zero_parameters,
)
from gradcli.gradients.layers import layer_parameters
from gradcli.gradients.setup_watch import SetupWatch
from gradcli.records import FingerprintRecord, LayerInfo, LayerRecord, SetupRecord

# The first updates at which the set-up is observed, whether or not layers are measured.
_FIRST_UPDATES = frozenset({1, 2, 3})
# After this many updates, a set-up rarely changes, and observing it costs about half a step of the
# default MLP: from then on it is observed once in about so many updates.
_SETTLED = 500
_SELDOM = 250


class Observation:
    """Observes one training step at a time, as a context around its passes.

    Let it know the update with `at`, and attach it before the first forward pass for it. Then
    `hand_over` the loss after its backward pass, and call `before_update` and `records` around the
    update.

    Args:
        model: the model.
        layers: its layers.
        optimizer: that makes the updates.
        every: the updates from one `LayerRecord` to the next, which are closer together at the
            start; 0 for none.
        called: what the loop calls as its model; None is `model` itself.
        inside: whether modules inside the model may be hooked: not if they are compiled.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: tuple[LayerInfo, ...],
        optimizer: Any,
        *,
        every: int,
        called: nn.Module | None = None,
        inside: bool = True,
    ) -> None:
        self._optimizer, self._every, self._inside = optimizer, every, inside
        self._seldom = every * math.ceil(_SELDOM / every) if every else 0
        parameters = iter(layer_parameters(model, layers))
        self._parameters = [[next(parameters) for _ in layer.parameters] for layer in layers]
        self._log = BackwardLog()
        self._layers = LayerProbe(model, layers, zero_parameters(model), self._log)
        called = model if called is None else called
        self._setup = SetupWatch(model, layers, called, self._log, inside=inside)
        self._fingerprints = FingerprintWatch(model, layers, called, inside=inside)
        self.is_attached = False
        self._of_layers = self._of_setup = False

    def at(self, update: int) -> Observation | None:
        """Return itself, ready for an update (from 1); None if that is not to be observed."""
        self._of_layers = is_probed(update, self._every)
        self._of_setup = update in _FIRST_UPDATES or (
            self._of_layers and (update <= _SETTLED or (update - 1) % self._seldom == 0)
        )
        return self if self._is_due else None

    @property
    def _is_due(self) -> bool:
        return self._of_layers or self._of_setup

    def attach(self) -> None:
        """Begin to watch: all passes from here to the update belong to it."""
        self._log.restart()
        groups = getattr(self._optimizer, "param_groups", ())
        held = frozenset(id(one) for group in groups for one in group["params"])
        self._log.attach(
            one_parameter_each(self._parameters, held),
            {
                layer: min(group, key=lambda parameter: parameter.numel())
                for layer, group in enumerate(self._parameters)
                if group and held.isdisjoint(map(id, group))
            },
        )
        if self._of_setup:
            self._setup.attach()
        if self._of_layers and self._inside:
            self._layers.attach()
        if self._is_due:
            self._fingerprints.attach()
        self.is_attached = True

    def detach(self) -> None:
        """Remove all hooks; safe to call again."""
        self._log.detach()
        self._setup.detach()
        self._layers.detach()
        self._fingerprints.detach()
        self.is_attached = False

    def __enter__(self) -> Observation:
        self.attach()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.detach()

    def hand_over(self, loss: Any) -> None:
        """Tell which loss the update is about, after its backward pass; the last call counts."""
        if self._of_layers:
            self._layers.hand_over(loss)
        if self._of_setup:
            self._setup.hand_over(loss)

    def before_update(self) -> None:
        """Note the weights and the optimizer's settings."""
        if self._of_layers:
            self._layers.before_update()
        if self._of_setup:
            self._setup.before_update(self._optimizer)
        if self._is_due:
            self._fingerprints.before_update()

    def records(
        self, update: int, scale: float = 1.0
    ) -> list[SetupRecord | LayerRecord | FingerprintRecord]:
        """Return what was observed of an update that was made.

        Args:
            update: its number, from 1.
            scale: what the loss was multiplied by for the backward pass.
        """
        found: list[SetupRecord | LayerRecord | FingerprintRecord] = []
        if self._of_setup:
            found.append(self._setup.record(update - 1, scale))
        if self._of_layers:
            found.append(self._layers.record(update, scale))
        if self._is_due:
            found.append(self._fingerprints.record(update))
        return found

    @property
    def call_order(self) -> tuple[int, ...]:
        """The layers in the order in which the last observed step called them; empty if unknown.

        Of the step at hand once its loss was handed over.
        """
        return self._setup.call_order

    def state_dict(self) -> dict[str, int]:
        """Return the counters of what was observed so far."""
        return self._setup.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from what `state_dict` returned."""
        self._setup.load_state_dict(state)
