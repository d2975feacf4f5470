"""Muon for kernels, too."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from gradcli.errors import UserError

_OF_TORCH: Any = getattr(torch.optim, "Muon", None)


class Muon(_OF_TORCH or Optimizer):  # type: ignore[misc]
    """`torch.optim.Muon`, which also takes the kernels of convolutions.

    A kernel (out, in, height, width) is updated as the matrix (out, in · height · width), as the
    authors do (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/). That class refuses
    all but matrices.

    Args:
        params: of two dimensions or more.
        lr: learning rate, multiplied by what `adjust_lr_fn` says.
        weight_decay: decoupled.
        momentum: how much of the mean gradient is kept.
        nesterov: whether momentum looks ahead.
        ns_coefficients: of the quintic of a Newton-Schulz iteration.
        eps: the least norm by which a gradient is divided.
        ns_steps: Newton-Schulz iterations of each update.
        adjust_lr_fn: `original` multiplies by sqrt(max(1, rows / columns)), `match_rms_adamw` by
            0.2 sqrt(max(rows, columns)) (Liu et al. 2025, arXiv 2502.16982).

    Raises:
        UserError: if PyTorch is older than 2.9, which has no Muon.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.02,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str = "original",
    ) -> None:
        if _OF_TORCH is None:
            raise UserError(
                f"Muon needs PyTorch 2.9 or newer; this is {torch.__version__}.",
                where="optimizer",
                hint="pip install 'torch>=2.9'",
            )
        settings = {
            **{"lr": lr, "weight_decay": weight_decay, "momentum": momentum},
            **{"nesterov": nesterov, "ns_coefficients": ns_coefficients, "eps": eps},
            **{"ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn},
        }
        # torch's class checks the settings on a matrix, since it would refuse kernels.
        super().__init__([torch.zeros(1, 1)], **settings)
        Optimizer.__init__(self, params, self.defaults)

    def _init_group(self, group: MutableMapping[str, Any], *tensors: list[Tensor]) -> bool:
        """Collect what `step` updates: parameters, gradients and momenta, each as a matrix."""
        has_complex: bool = super()._init_group(group, *tensors)
        for kind in tensors:
            kind[:] = [one.view(len(one), -1) for one in kind]
        return has_complex
