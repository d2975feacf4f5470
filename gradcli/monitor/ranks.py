"""What changes for a monitor if several processes train one model.

The first process alone records. Under DistributedDataParallel it asks nothing of the others: after
the backward pass each of them has the whole gradient. If parameters are sharded, every process has
to measure (see `gradcli.gradients.shards`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gradcli.errors import UserError
from gradcli.gradients.shards import is_sharded
from gradcli.monitor.every_pass_watch import EveryPassWatch
from gradcli.monitor.forward_watch import ForwardWatch
from gradcli.notation.faults import ELSEWHERE, SHARDED
from gradcli.tracing.fault_place import Place
from gradcli.tracing.non_finite import HOOK, NOT_SHOWN, unknown_place

#: How closely the values of forward passes are watched.
Watch = Literal["every_step", "every_pass"]

_FLAT = "FullyShardedDataParallel"


def process_count() -> int:
    """Return the number of processes in this training."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size()


def is_first_process() -> bool:
    """Whether this is the only process of a training, or the one of rank 0."""
    distributed = torch.distributed
    return not (
        distributed.is_available() and distributed.is_initialized() and distributed.get_rank() > 0
    )


def unless_elsewhere(place: Place, processes: int) -> Place:
    """Return the place as it is known if gradients are averaged with those of other processes.

    If nothing that this process computed was non-finite, it may have come from another one.
    """
    if processes == 1 or (place.unsure != NOT_SHOWN and place.cause != HOOK):
        return place
    return replace(place, cause="", unsure=ELSEWHERE)


class ShardedWatch(ForwardWatch):
    """A watch that repeats no pass: in each, all processes gather the parameters."""

    def note(
        self, module: nn.Module | None, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> None:
        """Remember nothing."""
        self._on_forward()

    def place(self, loss: float, loss_graph: Tensor | None, broken: frozenset[str]) -> Place:
        """Return what loss and gradients tell; see `ForwardWatch.place`."""
        return unknown_place(SHARDED, loss, self._layers, broken)


def watch_class(watch: Watch, model: nn.Module) -> type[ForwardWatch]:
    """Return what watches the passes of a model."""
    if watch == "every_pass":
        return EveryPassWatch
    return ShardedWatch if any(map(is_sharded, model.parameters())) else ForwardWatch


def refuse_unwatchable_shards(model: nn.Module, scaler: Any, watch: Watch) -> None:
    """Refuse sharded parameters whose whole gradients cannot be measured.

    Args:
        model: without the wrappers around it.
        scaler: the loop's gradient scaler; None if it has none.
        watch: how passes are watched.

    Raises:
        UserError: with the reason and what to do.
    """
    if any(type(one).__name__ == _FLAT for one in model.modules()):
        raise UserError(
            "FullyShardedDataParallel keeps parameters in flat pieces, whose layers are lost.",
            where="model",
            hint="torch.distributed.fsdp.fully_shard(model), or DistributedDataParallel(model)",
        )
    parameters = list(model.parameters())
    sharded = [one for one in parameters if is_sharded(one)]
    managed = any(_is_managed(module) for module in model.modules())
    if not managed and not sharded:
        return
    if not managed:
        raise UserError(
            "The model's parameters are DTensors, but not those of fully_shard.",
            where="model",
            hint="fully_shard(model) as well; it makes their gradients whole",
        )
    if any(one.requires_grad and not is_sharded(one) for one in parameters):
        raise UserError(
            "Some of the model's parameters are sharded and some are not.",
            where="model",
            hint="fully_shard(model) shards all; after an evaluation, model.reshard()",
        )
    if len({one.device_mesh for one in sharded}) > 1:  # type: ignore[attr-defined]
        raise UserError("The model's parameters are sharded over several meshes.", where="model")
    if scaler is not None and scaler.is_enabled():
        raise UserError(
            "The updates that a scaler skips cannot be counted if parameters are sharded.",
            where="scaler",
            hint="fully_shard(model, mp_policy=MixedPrecisionPolicy(torch.bfloat16)), no scaler",
        )
    if watch == "every_pass":
        raise UserError(
            "The values within a sharded model cannot be watched.",
            where='watch="every_pass"',
            hint='watch="every_step"',
        )


def is_divided(model: nn.Module) -> bool:
    """Whether parameters of a model, or of one inside, are divided among processes."""
    return any(map(is_sharded, model.parameters())) or any(
        _is_managed(one) or type(one).__name__ == _FLAT for one in model.modules()
    )


def _is_managed(module: nn.Module) -> bool:
    """Whether `fully_shard` has changed a module; its class is not imported, as that takes long."""
    return any(kind.__name__ == "FSDPModule" for kind in type(module).__mro__)
