"""The fingerprint of a tensor: a number that equal tensors share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gradcli.gradients.shards import is_sharded

_WORD = 8
"""The bytes of the integers that are added up."""


@torch.no_grad()
def fingerprint(tensor: Tensor | None) -> int | None:
    """Return the sum of a tensor's bits, read as signed integers of 64 bits, modulo 2^64.

    The last bytes of a tensor that does not fill its last integer are added one by one. Any single
    flipped bit changes the sum; so does any other difference, but for one case in 2^64, and for an
    exchange of whole integers. The strides do not matter, and no copy is made of a contiguous
    tensor: on a CPU it takes the time of reading the values once. Waits for the device.

    Returns:
        None if the tensor has no bits of its own: sparse, quantised, a part of a sharded one, or of
        a class of the user's own.
    """
    if (
        tensor is None
        or type(tensor) not in (Tensor, nn.Parameter)
        or tensor.layout is not torch.strided
        or tensor.is_quantized
        or tensor.is_meta
        or is_sharded(tensor)
    ):
        return None
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    if flat.storage_offset() * flat.element_size() % _WORD:
        flat = flat.clone()  # what does not begin at a whole integer cannot be read as such
    octets = flat.view(torch.uint8)
    whole = octets.numel() // _WORD * _WORD
    total = int(octets[:whole].view(torch.int64).sum())
    if whole < octets.numel():
        total += int(octets[whole:].sum(dtype=torch.int64))
    return wrapped(total)


def added(one: int | None, other: int | None) -> int | None:
    """Return the fingerprint of two tensors together; None if either has none."""
    return None if one is None or other is None else wrapped(one + other)


def wrapped(number: int) -> int:
    """Return a number modulo 2^64, from -2^63 on."""
    return (number + 2**63) % 2**64 - 2**63
