"""What each example of a training batch adds to the batch's gradient, in the pass that made it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gradcli.gradients.norms import accumulator_dtype
from gradcli.objectives.objective import CountOfTerms, LossFunction
from gradcli.probes.measuring.untouched import untouched
from gradcli.records import Doubles


@dataclass(frozen=True, slots=True)
class ExampleMeasures:
    """What was measured of the n examples of a batch, in their order."""

    losses: Doubles
    """(n,)"""
    grad_norms: Doubles
    """||g_i|| of each example's own loss w.r.t. all trained parameters, (n,)."""
    weights: Doubles
    """w_i, what the batch's loss counts each example's by: 1/n, or its share of the terms, (n,)."""
    shares: Doubles
    """w_i g_i . g / ||g||^2, which add up to 1 if g = sum w_i g_i; NaN if g is not finite, (n,)."""
    outputs: Tensor
    """The model's in this pass, (n, ...), on the CPU."""
    loss: float
    """The batch's."""
    grad_norm: float
    """||g||"""
    mean_of_losses: float
    """sum w_i loss_i: the batch's loss, unless that is not the mean over its examples."""
    norm_of_finite: float
    """The norm of the mean gradient of the examples whose own is finite: ||g|| if all are."""


class BatchExamples:
    """The examples of one batch, and the gradient of each one's own loss.

    A backward pass through the whole batch for each loss of a single example: batch norm then has
    the statistics of the whole batch, and dropout the masks of the training step, if the random
    state is that before it. So the gradients add up to the batch's. An example may also change the
    losses of others, through the statistics; that part is counted with the others.

    If the batch's gradient is not finite, examples are passed one by one instead: 0 times NaN is
    NaN, so that one bad example would spoil the gradients of all. With batch norm it does anyway.

    Args:
        model: in training mode.
        inputs: the batch, (n, ...).
        targets: its targets, (n, ...).
        loss: of outputs and targets, ().
        terms: how many terms the loss of some targets is the mean of.
        micro_batch_size: the examples of a pass; None for all of them.
        autocast: the type that the forward pass is cast to; None for none.
        announce: called after each example with its number, from 1, and n.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        *,
        loss: LossFunction,
        terms: CountOfTerms = len,
        micro_batch_size: int | None = None,
        autocast: torch.dtype | None = None,
        announce: Callable[[int, int], None] | None = None,
    ) -> None:
        self._model, self._inputs, self._targets = model, inputs, targets
        self._loss, self._terms, self._autocast = loss, terms, autocast
        self._size = len(targets) if micro_batch_size is None else micro_batch_size
        self._announce = announce
        self._trained = [one for one in model.parameters() if one.requires_grad]
        self._whole = float(terms(targets))

    def measure(self) -> ExampleMeasures:
        """Measure all examples; the model and the random states are left as they were."""
        loss, mean = self._of_batch()
        squared = float(torch.dot(mean, mean))
        if not math.isfinite(squared) and not batch_norm_of(self._model):
            self._size = 1
        finite, counted = torch.zeros_like(mean), 0.0
        count = len(self._targets)
        losses, norms, weights, shares = np.zeros((4, count))
        outputs = []
        for place, (one, weight, output) in enumerate(self._each(range(count))):
            gradient = self._gradient(one) if weight else torch.zeros_like(mean)
            losses[place], weights[place] = float(one.detach()) if weight else 0.0, weight
            norms[place] = float(gradient.norm())
            if math.isfinite(norms[place] + losses[place]):
                finite += weight * gradient
                counted += weight
            product = weight * float(torch.dot(gradient, mean))
            shares[place] = product / squared if squared else np.nan
            outputs.append(output)
            if self._announce is not None:
                self._announce(place + 1, count)
        return ExampleMeasures(
            losses=losses,
            grad_norms=norms,
            weights=weights,
            shares=shares,
            outputs=torch.stack(outputs),
            loss=loss,
            grad_norm=squared**0.5,
            mean_of_losses=float(np.dot(weights, losses)),
            norm_of_finite=float(finite.norm()) / counted if counted else math.nan,
        )

    def norm_without(self, places: Sequence[int]) -> float:
        """Return the norm of the batch's gradient without the losses of some examples.

        The mean is taken over the others; NaN if there are none.
        """
        _, rest = self._of_batch()
        left = 1.0
        for one, weight, _ in self._each(places):
            if weight:
                rest = rest - weight * self._gradient(one)
                left -= weight
        return float(rest.norm()) / left if left > 1e-9 else math.nan

    def _of_batch(self) -> tuple[float, Tensor]:
        """Return the loss of the batch and its gradient (D,), in float64 where there is that."""
        total, mean = 0.0, None
        with untouched(self._model):
            for start, outputs in self._passes():
                targets = self._targets[start : start + len(outputs)]
                weight = float(self._terms(targets)) / self._whole if self._is_divided else 1.0
                if not weight:
                    continue
                loss = self._loss(outputs, targets)
                gradient = weight * self._gradient(loss, keep=False)
                total += weight * float(loss.detach())
                mean = gradient if mean is None else mean + gradient
        assert mean is not None, "a batch has a target that counts"
        return total, mean

    def _each(self, places: Sequence[int]) -> Iterator[tuple[Tensor, float, Tensor]]:
        """Yield the loss (), the weight and the outputs (...) of some examples, in their order."""
        wanted = set(places)
        with untouched(self._model):
            for start, outputs in self._passes():
                for row in range(len(outputs)):
                    if start + row not in wanted:
                        continue
                    here = slice(start + row, start + row + 1)
                    targets = self._targets[here]
                    weight = float(self._terms(targets)) / self._whole
                    loss = self._loss(outputs[row : row + 1], targets)
                    yield loss, weight, outputs[row].detach().cpu()

    @property
    def _is_divided(self) -> bool:
        return self._size < len(self._targets)

    def _passes(self) -> Iterator[tuple[int, Tensor]]:
        """Make the forward passes of the training step; yield where each begins, and its outputs.

        Enter `untouched` around it: then each sweep draws the same masks.
        """
        device = self._inputs.device.type
        for start in range(0, len(self._targets), self._size):
            part = self._inputs[start : start + self._size]
            with torch.autocast(device, dtype=self._autocast, enabled=self._autocast is not None):
                outputs = self._model(part)
            yield start, outputs

    def _gradient(self, loss: Tensor, *, keep: bool = True) -> Tensor:
        """Return the gradient of a loss w.r.t. all trained parameters, (D,)."""
        found = torch.autograd.grad(
            loss, self._trained, retain_graph=keep, allow_unused=True, materialize_grads=True
        )
        whole = torch.cat([one.reshape(-1) for one in found])
        return whole.to(accumulator_dtype(whole.device))


def batch_norm_of(model: nn.Module) -> str:
    """Return the first batch norm that uses the statistics of the batch; empty without any."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (
            module.training or not module.track_running_stats
        ):
            return name or "the model"
    return ""
