"""Sums over parameters of which each process has a part.

`torch.distributed.fsdp.fully_shard` divides parameters so: each becomes a DTensor. What is measured
of a part is a sum, of squares for example, and the sums of all parts are added up over the
processes. That is a collective: every process has to ask for it, in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is a DTensor; its class is not imported, as that takes long."""
    return hasattr(tensor, "device_mesh")


def local_part(tensor: Tensor) -> Tensor:
    """Return what this process has of a tensor: without gradient, and the memory is the same."""
    tensor = tensor.detach()
    if not is_sharded(tensor):
        return tensor
    part: Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return part.detach()  # always another object, as `Gradients.current` promises


class Shards:
    """How P parameters are divided among the processes of a mesh.

    Args:
        parameters: at least one of them is sharded, and all that are share one mesh. The others
            are the same in every process.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        mesh: Any = next(one.device_mesh for one in parameters if is_sharded(one))  # type: ignore[attr-defined]
        self._groups = [mesh.get_group(axis) for axis in range(mesh.ndim)]
        self._device = torch.device(mesh.device_type)
        self._copy = torch.tensor(
            [_is_copy(one, mesh.get_coordinate()) for one in parameters], device=self._device
        )

    def total(self, sums: Tensor) -> Tensor:
        """Return the sums over whole parameters; every process gets the same bits.

        Args:
            sums: over the parts of this process, (..., P).
        """
        # Copies do not count, also where a part is NaN: 0 * NaN would be NaN.
        counted = sums.to(self._device).masked_fill(self._copy, 0.0)
        for group in self._groups:
            torch.distributed.all_reduce(counted, group=group)
        return counted.to(sums.device)

    def totals(self, sums: Sequence[float]) -> list[float]:
        """Return the same of numbers, in float64; waits for the other processes."""
        total: list[float] = self.total(torch.tensor(sums, dtype=torch.float64)).tolist()
        return total


def shards_of(parameters: Sequence[Tensor]) -> Shards | None:
    """Return how parameters are divided; None if this process has all of them."""
    return Shards(parameters) if any(map(is_sharded, parameters)) else None


def _is_copy(parameter: Tensor, coordinate: Sequence[int]) -> bool:
    """Whether another process of the mesh has the same part, and is the one to count it."""
    if not is_sharded(parameter):
        return any(coordinate)
    placements = parameter.placements  # type: ignore[attr-defined]
    return any(
        place > 0 and placement.is_replicate()
        for place, placement in zip(coordinate, placements, strict=True)
    )
