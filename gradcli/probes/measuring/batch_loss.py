"""The loss of one batch as a function of the parameters, without touching the model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gradcli.gradients.norms import accumulator_dtype
from gradcli.objectives import LossFunction
from gradcli.objectives.shipped import cross_entropy
from gradcli.probes.measuring.untouched import random_states_kept

#: Tensors by the names of `named_parameters()`.
Parameters = Mapping[str, Tensor]


class BatchLoss:
    """The loss of a fixed batch, as a function of the trained parameters.

    Each evaluation begins with the same buffers and the same random state, so that dropout draws
    the same masks at every point and the loss is one function.

    Args:
        model: maps inputs (b, ...) to outputs.
        inputs: the batch, (b, ...).
        targets: its targets, (b, ...).
        loss: of outputs and targets, ().
        dtype: what to compute in; None is the model's own.

    Attributes:
        parameters: those of the model that require gradients, detached, in `dtype`.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        loss: LossFunction = cross_entropy,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._model, self._targets, self._loss = model, _cast(targets, dtype), loss
        self._inputs = _cast(inputs, dtype)
        named = dict(model.named_parameters())
        self.parameters = {n: _cast(p, dtype) for n, p in named.items() if p.requires_grad}
        self._frozen = {n: _cast(p, dtype) for n, p in named.items() if not p.requires_grad}
        self._buffers = {n: _cast(buffer, dtype) for n, buffer in model.named_buffers()}

    def __call__(self, parameters: Parameters) -> Tensor:
        """Return the loss () at `parameters`, which may be some of the trained ones."""
        # A forward pass may write into its buffers, so it gets copies.
        buffers = {name: buffer.clone() for name, buffer in self._buffers.items()}
        state = {**buffers, **self._frozen, **self.parameters, **parameters}
        with random_states_kept(self._model):
            outputs = functional_call(self._model, state, (self._inputs,))
        return self._loss(outputs, self._targets)

    def gradient(self, parameters: Parameters) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss () at `parameters` and its gradient by name; zero if unused."""
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        loss = self(leaves)
        gradients = torch.autograd.grad(
            loss, list(leaves.values()), allow_unused=True, materialize_grads=True
        )
        return loss.detach(), dict(zip(leaves, gradients, strict=True))


def dot(first: Parameters, second: Parameters) -> float:
    """Return the inner product over all of `first`'s names, summed in float64."""
    return sum(
        float(torch.dot(_as_summed(value), _as_summed(second[name])))
        for name, value in first.items()
    )


def _as_summed(tensor: Tensor) -> Tensor:
    return tensor.detach().reshape(-1).to(accumulator_dtype(tensor.device))


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Detach, and convert real numbers to `dtype`."""
    floating = dtype is not None and tensor.is_floating_point()
    return tensor.detach().to(dtype) if floating else tensor.detach()
