"""The step records on their way to the host: a buffer on the device, flushed in blocks."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from gradcli.gradients.norms import accumulator_dtype
from gradcli.records import StepRecords

CAPACITY = 500


class StepBuffer:
    """Holds the measurements of up to `CAPACITY` steps on the training device.

    A row is the loss and the P norms before and after clipping. `flush` makes the one transfer
    to the host that the measurements cost on an accelerator.
    """

    def __init__(self, parameters: int, device: torch.device) -> None:
        dtype = accumulator_dtype(device)
        self._parameters = parameters
        self._rows = torch.zeros((CAPACITY, 1 + 2 * parameters), dtype=dtype, device=device)
        self._host = self._rows.numpy() if device.type == "cpu" else None
        self._step: list[int] = []
        self._epoch: list[int] = []
        self._learning_rate: list[float] = []

    def __len__(self) -> int:
        return len(self._step)

    @property
    def full(self) -> bool:
        """Whether the next `append` needs a `flush` first."""
        return len(self._step) == CAPACITY

    def append(
        self,
        step: int,
        epoch: int,
        learning_rate: float,
        loss: Tensor,
        norms_before: Tensor,
        norms_after: Tensor,
    ) -> None:
        """Add a step: its loss () and its parameters' norms, (P,) each."""
        row = len(self._step)
        if self._host is None:
            torch.cat([loss.view(1), norms_before, norms_after], out=self._rows[row])
        else:  # 3 us against 30 of the same by torch, within a training loop
            self._host[row, 0] = loss.item()
            self._host[row, 1 : 1 + self._parameters] = norms_before.numpy()
            self._host[row, 1 + self._parameters :] = norms_after.numpy()
        self._step.append(step)
        self._epoch.append(epoch)
        self._learning_rate.append(learning_rate)

    def flush(self, phase_seconds: dict[str, float]) -> StepRecords:
        """Return the steps since the last flush, and forget them."""
        rows = self._rows[: len(self._step)].cpu().numpy().astype(np.float64)
        before, after = rows[:, 1 : 1 + self._parameters], rows[:, 1 + self._parameters :]
        with np.errstate(invalid="ignore", over="ignore"):
            total_before = np.sqrt(np.square(before).sum(axis=1))
            total_after = np.sqrt(np.square(after).sum(axis=1))
            coefficient = np.divide(
                total_after,
                total_before,
                out=np.ones_like(total_before),
                where=(total_before > 0) & (total_before < math.inf),
            )
        records = StepRecords(
            step=np.array(self._step, dtype=np.int64),
            epoch=np.array(self._epoch, dtype=np.int32),
            loss=rows[:, 0].copy(),
            learning_rate=np.array(self._learning_rate),
            grad_norm_before_clip=total_before,
            clip_coefficient=coefficient,
            parameter_grad_norm_before_clip=before.copy(),
            parameter_grad_norm_after_clip=after.copy(),
            phase_seconds=phase_seconds,
        )
        self._step, self._epoch, self._learning_rate = [], [], []
        return records
