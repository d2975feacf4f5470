"""The gradients of a model whose parameters are divided among processes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gradcli.gradients.norms import Gradients, Norms, as_tensor
from gradcli.gradients.shards import Shards, is_sharded, local_part
from gradcli.records import LayerInfo


class ShardedGradients(Gradients):
    """As `Gradients`; `current` returns this process's parts, and `norms` are of whole gradients.

    Measuring is a collective of P float64 numbers, or as many as the mesh has axes.
    """

    def __init__(self, model: nn.Module, layers: tuple[LayerInfo, ...]) -> None:
        super().__init__(model, layers)
        self._shards = Shards(self.parameters)

    def current(self) -> list[Tensor | None]:
        """Return this process's part of each gradient.

        The tensors are new ones at each call. So nobody takes the gradients for unchanged, which a
        process could only say of its own parts, and measures when the other processes do not.
        """
        return [None if one is None else local_part(one) for one in super().current()]

    def norms(self, gradients: Sequence[Tensor | None] | None = None) -> Norms:
        """Return the L2 norm of each whole gradient; every process must call it.

        Args:
            gradients: what `current` returned, if the caller has it.
        """
        parts = super().norms(gradients)
        norms = self._shards.total(as_tensor(parts).square()).sqrt_()
        return norms.tolist() if isinstance(parts, list) else norms


def gradients_of(model: nn.Module, layers: tuple[LayerInfo, ...]) -> Gradients:
    """Return the gradients of a model, whether or not its parameters are sharded."""
    sharded = any(map(is_sharded, model.parameters()))
    return ShardedGradients(model, layers) if sharded else Gradients(model, layers)
