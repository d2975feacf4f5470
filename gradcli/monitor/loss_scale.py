"""The factor that a gradient scaler has multiplied mixed-precision gradients by."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradcli.errors import UserError
from gradcli.gradients.norms import accumulator_dtype

_STATES = "_per_optimizer_states"


class LossScale:
    """Knows the factor by which a `torch.amp.GradScaler` has multiplied the gradients.

    Args:
        scaler: the loop's scaler; None if it has none.
        optimizers: the loop's optimizer, and the one whose hooks are used.
        device: of the gradients.

    Raises:
        UserError: if the scaler does not tell whether its gradients are unscaled yet.
    """

    def __init__(self, scaler: Any, optimizers: tuple[object, ...], device: torch.device) -> None:
        self.active = scaler is not None and bool(scaler.is_enabled())
        self._scaler = scaler
        self._keys = {id(optimizer) for optimizer in optimizers}
        if self.active:
            if not isinstance(getattr(scaler, _STATES, None), dict):
                raise UserError(
                    f"{type(scaler).__name__} does not tell whether gradients are unscaled.",
                    where="scaler",
                    hint="scaler.unscale_(optimizer) before monitor.step(loss), and no scaler=",
                )
            self._one = torch.ones((), dtype=accumulator_dtype(device), device=device)

    def current(self) -> Tensor | None:
        """Return the scale, (), on the device and without waiting for it; None without a scaler."""
        if not self.active:
            return None
        scale: Tensor = self._scaler.scale(self._one)
        return scale

    def of_gradients(self) -> Tensor | None:
        """Return the factor that `p.grad` holds now; None if there is none.

        Only private state tells whether `scaler.unscale_` was called; the constructor has made
        sure that it exists.
        """
        if not self.active:
            return None
        states = getattr(self._scaler, _STATES)
        stages = [states[key]["stage"].name for key in self._keys & states.keys()]
        return None if "UNSCALED" in stages else self.current()

    def value(self) -> float:
        """Return the scale; waits for the device."""
        return float(self._scaler.get_scale())
