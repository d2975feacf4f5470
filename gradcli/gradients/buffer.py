"""Step records on their way to the host: kept on the device, flushed in blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradcli.gradients.norms import Norms, accumulator_dtype
from gradcli.records import Floats, StepRecords

CAPACITY = 500
# Step, epoch, learning rate, loss, and the norms before and after clipping.
_Row: TypeAlias = tuple[int, int, float, Tensor | float, Norms, Norms]


class StepBuffer:
    """Holds the measurements of up to `CAPACITY` steps on the training device.

    A step adds only references; `flush` combines them. On an accelerator that is the only transfer
    to the host that measuring costs. It is also cheaper on the CPU: a backward pass evicts code
    from the caches, so the same work takes 40 us per step one by one, and 2 us per step in a block.
    """

    def __init__(self, device: torch.device) -> None:
        self._dtype = accumulator_dtype(device)
        self._rows: list[_Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def full(self) -> bool:
        """Whether the buffer must be flushed."""
        return len(self._rows) >= CAPACITY

    def append(
        self,
        step: int,
        epoch: int,
        learning_rate: float,
        loss: Tensor | float,
        norms_before: Norms,
        norms_after: Norms,
    ) -> None:
        """Add a step: its loss, a number or (), and its parameters' norms, none changed later."""
        self._rows.append((step, epoch, learning_rate, loss, norms_before, norms_after))

    def flush(self, phase_seconds: dict[str, float]) -> StepRecords:
        """Return the steps since the last flush, at least one, and remove them."""
        step, epoch, learning_rate, losses, before, after = zip(*self._rows, strict=True)
        self._rows = []
        loss, norms_before, norms_after = self._to_host(losses, before, after)
        with np.errstate(invalid="ignore", over="ignore"):
            total_before = np.sqrt(np.square(norms_before).sum(axis=1))
            total_after = np.sqrt(np.square(norms_after).sum(axis=1))
            coefficient = np.divide(
                total_after,
                total_before,
                out=np.ones_like(total_before),
                where=(total_before > 0) & (total_before < math.inf),
            )
        return StepRecords(
            step=np.array(step, dtype=np.int64),
            epoch=np.array(epoch, dtype=np.int32),
            loss=loss,
            learning_rate=np.array(learning_rate),
            grad_norm_before_clip=total_before,
            clip_coefficient=coefficient,
            parameter_grad_norm_before_clip=norms_before,
            parameter_grad_norm_after_clip=norms_after,
            phase_seconds=phase_seconds,
        )

    def _to_host(
        self, losses: Sequence[Tensor | float], before: Sequence[Norms], after: Sequence[Norms]
    ) -> tuple[Floats, Floats, Floats]:
        """Return the losses (n,) and the norms before and after clipping, (n, P) each."""
        if isinstance(before[0], list):
            loss = np.array([float(loss) for loss in losses])
            return loss, np.array(before), np.array(after)
        norms = [torch.stack(cast(tuple[Tensor, ...], rows)) for rows in (before, after)]
        column = self._losses(losses, norms[0].device).unsqueeze(1)
        table = torch.cat([column, *norms], dim=1).cpu().numpy().astype(np.float64)
        loss, norms_before, norms_after = np.split(table, [1, 1 + norms[0].shape[1]], axis=1)
        return loss[:, 0], norms_before, norms_after

    def _losses(self, losses: Sequence[Tensor | float], device: torch.device) -> Tensor:
        tensors = [loss for loss in losses if isinstance(loss, Tensor)]
        if len(tensors) == len(losses):
            return torch.stack(tensors).to(self._dtype)
        return torch.tensor([float(loss) for loss in losses], dtype=self._dtype, device=device)


def select_rows(records: StepRecords, keep: NDArray[np.bool_]) -> StepRecords:
    """Return the rows of `records` for which `keep` (n,) is true."""
    if keep.all():
        return records
    columns = {
        field.name: getattr(records, field.name)[keep]
        for field in fields(records)
        if field.name != "phase_seconds"
    }
    return replace(records, **columns)
