"""The step records on their way to the host: kept on the device, flushed in blocks."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradcli.gradients.norms import Norms, accumulator_dtype
from gradcli.records import Floats, StepRecords

CAPACITY = 500


class StepBuffer:
    """Holds the measurements of up to `CAPACITY` steps on the training device.

    A step leaves only references here, and `flush` puts them together. On an accelerator that
    is the one transfer to the host that the measurements cost. On the CPU it is the cheaper
    order too: right after a backward pass the caches hold none of the code that it takes, so
    that the same work takes 40 us at each step and 2 us a step at once.
    """

    def __init__(self, device: torch.device) -> None:
        self._dtype = accumulator_dtype(device)
        self._clear()

    def _clear(self) -> None:
        self._step: list[int] = []
        self._epoch: list[int] = []
        self._learning_rate: list[float] = []
        self._loss: list[Tensor | float] = []
        self._before: list[Norms] = []
        self._after: list[Norms] = []

    def __len__(self) -> int:
        return len(self._step)

    @property
    def full(self) -> bool:
        """Whether it is time to `flush`."""
        return len(self._step) >= CAPACITY

    def append(
        self,
        step: int,
        epoch: int,
        learning_rate: float,
        loss: Tensor | float,
        norms_before: Norms,
        norms_after: Norms,
    ) -> None:
        """Add a step: its loss, a number or (), and its parameters' norms; none is reused later."""
        self._step.append(step)
        self._epoch.append(epoch)
        self._learning_rate.append(learning_rate)
        self._loss.append(loss)
        self._before.append(norms_before)
        self._after.append(norms_after)

    def flush(self, phase_seconds: dict[str, float]) -> StepRecords:
        """Return the steps since the last flush, one at least, and forget them."""
        loss, norms_before, norms_after = self._to_host()
        with np.errstate(invalid="ignore", over="ignore"):
            total_before = np.sqrt(np.square(norms_before).sum(axis=1))
            total_after = np.sqrt(np.square(norms_after).sum(axis=1))
            coefficient = np.divide(
                total_after,
                total_before,
                out=np.ones_like(total_before),
                where=(total_before > 0) & (total_before < math.inf),
            )
        records = StepRecords(
            step=np.array(self._step, dtype=np.int64),
            epoch=np.array(self._epoch, dtype=np.int32),
            loss=loss,
            learning_rate=np.array(self._learning_rate),
            grad_norm_before_clip=total_before,
            clip_coefficient=coefficient,
            parameter_grad_norm_before_clip=norms_before,
            parameter_grad_norm_after_clip=norms_after,
            phase_seconds=phase_seconds,
        )
        self._clear()
        return records

    def _to_host(self) -> tuple[Floats, Floats, Floats]:
        """Return the losses (n,) and the norms before and after clipping, (n, P) each."""
        if isinstance(self._before[0], list):
            loss = np.array([float(loss) for loss in self._loss])
            return loss, np.array(self._before), np.array(self._after)
        norms = [torch.stack(cast(list[Tensor], rows)) for rows in (self._before, self._after)]
        losses = self._losses(norms[0].device).unsqueeze(1)
        rows = torch.cat([losses, *norms], dim=1).cpu().numpy().astype(np.float64)
        loss, before, after = np.split(rows, [1, 1 + norms[0].shape[1]], axis=1)
        return loss[:, 0], before, after

    def _losses(self, device: torch.device) -> Tensor:
        tensors = [loss for loss in self._loss if isinstance(loss, Tensor)]
        if len(tensors) == len(self._loss):
            return torch.stack(tensors).to(self._dtype)
        return torch.tensor([float(loss) for loss in self._loss], dtype=self._dtype, device=device)


def select_rows(records: StepRecords, keep: NDArray[np.bool_]) -> StepRecords:
    """Return the rows of `records` where `keep` (n,) is true."""
    if keep.all():
        return records
    columns = {
        field.name: getattr(records, field.name)[keep]
        for field in fields(records)
        if field.name != "phase_seconds"
    }
    return replace(records, **columns)
