"""Memory for time: blocks that compute their activations again in the backward pass.

Chen, Xu, Zhang and Guestrin 2016, "Training deep nets with sublinear memory cost" (arXiv
1604.06174): only the inputs of each block are kept for the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from gradcli.errors import UserError

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def checkpoint_blocks(model: nn.Module) -> list[str]:
    """Let each block of a model compute its activations again when its gradients are due.

    Outputs, gradients and the running statistics of batch norm stay the same to the bit: the random
    state of the first computation returns for the second, and the second leaves the statistics
    alone.

    Args:
        model: its blocks are changed in place. A block is a module that holds other modules with
            parameters; a container of blocks is none itself.

    Returns:
        The names of the blocks.

    Raises:
        UserError: if the model has no blocks.
    """
    blocks = dict(_blocks(model, ""))
    if not blocks:
        raise UserError(
            f"{type(model).__name__} has no blocks whose activations could be computed again: none "
            "of its modules holds other modules with parameters.",
            where="activation_checkpointing",
            hint="activation_checkpointing=false",
        )
    for block in blocks.values():
        block.forward = partial(
            checkpoint,
            block.forward,
            use_reentrant=False,
            context_fn=partial(_contexts, block),
        )
    return list(blocks)


def _blocks(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, _CONTAINERS) and any(map(_holds_layers, child.children())):
            yield from _blocks(child, f"{prefix}{name}.")
        elif _holds_layers(child) and not isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield f"{prefix}{name}", child


def _holds_layers(module: nn.Module) -> bool:
    return any(True for child in module.children() for _ in child.parameters())


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Return what surrounds the first computation of a block, and what surrounds the second."""
    return nullcontext(), _without_statistics(block)


@contextmanager
def _without_statistics(block: nn.Module) -> Iterator[None]:
    """Keep norms from counting a batch twice in their running statistics."""
    counting = [
        (norm, norm.momentum, norm.num_batches_tracked, norm.num_batches_tracked.clone())
        for norm in block.modules()
        if isinstance(norm, _NormBase) and norm.training and norm.num_batches_tracked is not None
    ]
    for norm, *_ in counting:
        norm.momentum = 0.0  # of the new batch in the statistics
    try:
        yield
    finally:
        for norm, momentum, batches, before in counting:
            norm.momentum = momentum
            batches.copy_(before)
