"""The extreme eigenvalues of the Hessian, by Lanczos on Hessian-vector products."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradcli.objectives import LossFunction
from gradcli.objectives.shipped import cross_entropy
from gradcli.probes.measuring.batch_loss import BatchLoss
from gradcli.probes.measuring.stability import Threshold, stability_threshold
from gradcli.records import Doubles

_Product = Callable[[Doubles], Doubles]

# Below this size all columns of the Hessian cost less than Lanczos, which keeps 20 vectors.
_FEW_PARAMETERS = 40


@dataclass(frozen=True, slots=True)
class Sharpness:
    """The curvature of one batch's loss at the weights. NaN if Lanczos did not converge."""

    largest: float
    """The largest eigenvalue of the Hessian, with its sign: the sharpness."""
    dominant: float
    """The eigenvalue of largest magnitude, with its sign. It is negative if the loss curves down
    more than up; the power method would mistake it for the sharpness."""
    preconditioned: float
    """The largest eigenvalue in the optimizer's own metric, P^-1/2 H P^-1/2; equal to `largest`
    if P is the identity; NaN without a threshold. Huge in the first steps, when a parameter's
    second moment is that of one or two gradients and may be almost zero."""
    threshold: float
    """What `preconditioned` must stay below for the optimizer's steps to be stable; NaN if it is
    not known."""
    rule: str
    """The threshold's formula; empty if none is known."""
    hessian_products: int
    """The cost in Hessian-vector products, each of two to four passes."""

    @property
    def beyond_stability(self) -> bool:
        """Whether steps are unstable: the loss then rises, or stops falling."""
        return self.preconditioned > self.threshold


def sharpness(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: LossFunction = cross_entropy,
    optimizer: torch.optim.Optimizer | None = None,
    dtype: torch.dtype | None = None,
    tolerance: float = 1e-3,
    max_restarts: int = 30,
) -> Sharpness:
    """Measure the Hessian's extreme eigenvalues on a batch, against the optimizer's threshold.

    Cohen et al. 2021, arXiv 2103.00065, and 2022, arXiv 2207.14484; the thresholds are those of
    `stability_threshold`. Eigenvalues by `scipy.sparse.linalg.eigsh` (implicitly restarted
    Lanczos), from the same starting vector each time.

    Costs 20 to 60 Hessian-vector products for each of one to four eigenvalues, a product being
    two to four forward-backward passes, and 20 vectors of the size of the model. Compare values
    only for the same batch.

    Args:
        model: maps inputs to outputs.
        inputs: the fixed batch, (b, ...).
        targets: its targets, (b, ...).
        loss: of outputs and targets, ().
        optimizer: of the model, in the state in which it would make its next step.
        dtype: what products are computed in; None is the model's own.
        tolerance: the relative accuracy of the eigenvalues.
        max_restarts: after which Lanczos gives up.
    """
    hessian = _Hessian(BatchLoss(model, inputs, targets, loss, dtype))
    dominant = _dominant(hessian, hessian.size, tolerance, max_restarts)
    largest = _largest(hessian, dominant, hessian.size, tolerance, max_restarts)
    threshold = None if optimizer is None else stability_threshold(optimizer, model)
    return Sharpness(
        largest=largest,
        dominant=dominant,
        preconditioned=_preconditioned(hessian, threshold, largest, tolerance, max_restarts),
        threshold=math.nan if threshold is None else threshold.sharpness,
        rule="" if threshold is None else threshold.rule,
        hessian_products=hessian.products,
    )


class _Hessian:
    """The Hessian of a loss as a function from vector to vector; counts its calls."""

    def __init__(self, loss: BatchLoss) -> None:
        self._leaves = {n: p.detach().requires_grad_() for n, p in loss.parameters.items()}
        with _twice_differentiable():
            gradients = torch.autograd.grad(
                loss(self._leaves),
                list(self._leaves.values()),
                create_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        self._gradient = _flat(gradients)
        self.products = 0

    @property
    def size(self) -> int:
        return self._gradient.numel()

    def __call__(self, vector: Doubles) -> Doubles:
        self.products += 1
        if not self._gradient.requires_grad:
            return np.zeros_like(vector)  # the loss is linear in all parameters
        direction = torch.from_numpy(vector.reshape(-1)).to(self._gradient)
        columns = torch.autograd.grad(
            self._gradient,
            list(self._leaves.values()),
            grad_outputs=direction,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        product: Doubles = _flat(columns).detach().cpu().double().numpy()
        return product

    def flatten(self, by_name: dict[str, Tensor]) -> Doubles:
        """Bring values by parameter into the order of the Hessian's rows."""
        flat: Doubles = _flat([by_name[name] for name in self._leaves]).cpu().double().numpy()
        return flat


def _preconditioned(
    hessian: _Hessian,
    threshold: Threshold | None,
    largest: float,
    tolerance: float,
    max_restarts: int,
) -> float:
    if threshold is None:
        return math.nan
    if threshold.preconditioner is None:
        return largest
    scale = 1.0 / np.sqrt(hessian.flatten(threshold.preconditioner))

    def product(vector: Doubles) -> Doubles:
        return scale * hessian(scale * vector.reshape(-1))

    dominant = _dominant(product, hessian.size, tolerance, max_restarts)
    return _largest(product, dominant, hessian.size, tolerance, max_restarts)


def _largest(
    product: _Product, dominant: float, size: int, tolerance: float, max_restarts: int
) -> float:
    """Return the largest eigenvalue, given the one of largest magnitude.

    Shifted up by the magnitude of a dominant negative one, no eigenvalue is negative, so the
    largest is also the dominant one, which Lanczos finds best.
    """
    if not dominant < 0:
        return dominant

    def shifted(vector: Doubles) -> Doubles:
        return product(vector) - dominant * vector.reshape(-1)

    return _dominant(shifted, size, tolerance, max_restarts) + dominant


def _dominant(product: _Product, size: int, tolerance: float, max_restarts: int) -> float:
    """Return the eigenvalue of largest magnitude, signed; NaN if it did not converge."""
    # Takes longer to import than all the other probes together.
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    if size <= _FEW_PARAMETERS:
        matrix = np.column_stack([product(column) for column in np.eye(size)])
        eigenvalues = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    else:
        operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
        try:
            eigenvalues = eigsh(
                operator,
                k=1,
                which="LM",
                v0=np.random.default_rng(0).standard_normal(size),
                tol=tolerance,
                maxiter=max_restarts,
                return_eigenvectors=False,
            )
        except ArpackError:
            return math.nan
    return float(max(eigenvalues, key=abs))


@contextmanager
def _twice_differentiable() -> Iterator[None]:
    """Choose kernels that can be differentiated twice: cuDNN's RNN and fused attention cannot."""
    with ExitStack() as stack:
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def _flat(tensors: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
