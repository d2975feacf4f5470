"""One gradient per example: an ordinary backward pass gives only their mean."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gradcli.errors import UserError
from gradcli.objectives import LossFunction
from gradcli.objectives.shipped import cross_entropy
from gradcli.probes.measuring.untouched import untouched

#: The most memory that a chunk of gradients takes, unless a single one takes more.
MEMORY_BYTES = 256 * 2**20

ExampleGradients = dict[str, Tensor]
_LossOfOne = Callable[[ExampleGradients, Tensor, Tensor], Tensor]


def per_example_gradients(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: LossFunction = cross_entropy,
    memory_bytes: int = MEMORY_BYTES,
) -> Iterator[ExampleGradients]:
    """Yield the gradient of each example's own loss, in chunks of consecutive examples.

    `torch.func.vmap` of `grad` if the model allows it. It computes little more than one
    forward-backward pass of the batch, but writes a whole gradient for each example, and so costs
    several such passes if weights are shared (convolutions) and tens if layers are wide.
    Recurrent modules, which vmap does not support, and whatever else it refuses take one example
    after another: as many passes of one example as there are examples.

    Consume it within `untouched(model)`, since dropout draws a mask for each example.

    Args:
        model: maps inputs to outputs.
        inputs: the examples, (b, ...).
        targets: theirs, (b, ...).
        loss: of outputs and targets, ().
        memory_bytes: the most memory for a chunk's gradients.

    Yields:
        For each trained parameter by name its gradients, (chunk, *shape).

    Raises:
        UserError: batch norm in training mode.
    """
    _refuse_batch_norm(model)
    trained = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    bytes_each = sum(value.numel() * value.element_size() for value in trained.values())
    size = max(1, memory_bytes // max(1, bytes_each))
    loss_of_one = _loss_of_one(model, loss)
    vectorised = _vectorises(model, loss_of_one, trained, inputs, targets)
    gradients_of = _in_one_call if vectorised else _one_by_one
    for start in range(0, len(targets), size):
        here = slice(start, start + size)
        yield gradients_of(loss_of_one, trained, inputs[here].detach(), targets[here])


def _loss_of_one(model: nn.Module, loss: LossFunction) -> _LossOfOne:
    frozen = {n: p.detach() for n, p in model.named_parameters() if not p.requires_grad}

    def loss_of_one(trained: ExampleGradients, example: Tensor, target: Tensor) -> Tensor:
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        state = {**buffers, **frozen, **trained}
        outputs = functional_call(model, state, (example.unsqueeze(0),))
        return loss(outputs, target.unsqueeze(0))

    return loss_of_one


def _in_one_call(
    loss_of_one: _LossOfOne, trained: ExampleGradients, inputs: Tensor, targets: Tensor
) -> ExampleGradients:
    each = vmap(grad(loss_of_one), in_dims=(None, 0, 0), randomness="different")
    with warnings.catch_warnings():
        # Of operations that vmap computes one example after another, such as attention.
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        gradients: ExampleGradients = each(trained, inputs, targets)
    return gradients


def _one_by_one(
    loss_of_one: _LossOfOne, trained: ExampleGradients, inputs: Tensor, targets: Tensor
) -> ExampleGradients:
    leaves = {name: value.detach().requires_grad_() for name, value in trained.items()}
    each = [
        torch.autograd.grad(
            loss_of_one(leaves, example, target),
            list(leaves.values()),
            allow_unused=True,
            materialize_grads=True,
        )
        for example, target in zip(inputs, targets, strict=True)
    ]
    return {
        name: torch.stack([of_one[index] for of_one in each]) for index, name in enumerate(leaves)
    }


def _vectorises(
    model: nn.Module,
    loss_of_one: _LossOfOne,
    trained: ExampleGradients,
    inputs: Tensor,
    targets: Tensor,
) -> bool:
    """Whether vmap takes the model: tried on two examples, since no list of modules can tell."""
    if any(isinstance(module, nn.RNNBase) for module in model.modules()):
        return False
    with untouched(model):
        try:
            _in_one_call(loss_of_one, trained, inputs[:2].detach(), targets[:2])
        except RuntimeError:
            return False
    return True


def _refuse_batch_norm(model: nn.Module) -> None:
    for name, module in model.named_modules():
        mixes = isinstance(module, nn.modules.batchnorm._BatchNorm) and (
            module.training or not module.track_running_stats
        )
        if mixes:
            raise UserError(
                f"{name or 'the model'} is a batch norm that uses the batch's own statistics: "
                "each example's loss depends on all the others, so a single example has no "
                "gradient",
                where=name or None,
                hint="evaluation mode (model.eval()): batch norm then uses its running averages",
            )
