"""Memory for time: blocks that compute their activations again in the backward pass.

Chen, Xu, Zhang and Guestrin 2016, "Training deep nets with sublinear memory cost" (arXiv
1604.06174): only the inputs of each block are kept for the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from gradcli.errors import UserError

_COUNTING = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
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
    """Return what surrounds the first computation of a block, and what surrounds each later one."""
    return nullcontext(), _Repetition(block)


class _Repetition:
    """Surrounds a repeated computation of a block, in which nothing may differ from the first.

    Attention runs on the kernels that were allowed when this was made, and norms do not count the
    batch again in their running statistics. It may be entered again: each backward pass through the
    same graph repeats the block.
    """

    def __init__(self, block: nn.Module) -> None:
        self._norms = [one for one in block.modules() if isinstance(one, _COUNTING)]
        self._kernels = [kernel for kernel, is_enabled in _ATTENTION.items() if is_enabled()]
        self._restored = ExitStack()

    def __enter__(self) -> None:
        self._restored.enter_context(sdpa_kernel(self._kernels))
        for norm in self._norms:
            self._restored.callback(setattr, norm, "momentum", norm.momentum)
            norm.momentum = 0.0  # of the new batch in the statistics
            if norm.num_batches_tracked is not None:
                before = norm.num_batches_tracked.clone()
                self._restored.callback(norm.num_batches_tracked.copy_, before)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restored.close()


_ATTENTION: dict[SDPBackend, Callable[[], bool]] = {
    SDPBackend.MATH: torch.backends.cuda.math_sdp_enabled,
    SDPBackend.FLASH_ATTENTION: torch.backends.cuda.flash_sdp_enabled,
    SDPBackend.EFFICIENT_ATTENTION: torch.backends.cuda.mem_efficient_sdp_enabled,
    SDPBackend.CUDNN_ATTENTION: torch.backends.cuda.cudnn_sdp_enabled,
}
