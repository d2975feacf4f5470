"""What shows whether two runs computed the same in a step, to the bit, and where they did not."""

from __future__ import annotations

from dataclasses import dataclass

#: The values of a layer's output that are kept, to see how far two outputs are apart.
SAMPLES = 4


@dataclass(frozen=True, slots=True)
class FingerprintRecord:
    """The fingerprints of what a step was computed of, layer by layer.

    A fingerprint is the sum of a tensor's bits, read as integers: equal tensors have the same, and
    any single bit that is flipped changes it. It is None where none could be taken. The
    fingerprints of several calls of a layer are added up.
    """

    step: int
    """The number of the update, from 1, as in `LayerRecord`."""
    order: tuple[int, ...]
    """The indices of the layers in the order in which they were first called."""
    inputs: int | None
    """Of what the model was given; of what the first layer was, if the loop calls the layers."""
    weights: tuple[int | None, ...]
    """Of each parameter before the update, (P,)."""
    layer_inputs: tuple[int | None, ...]
    """Of the first tensor that each layer was given, (L,)."""
    layer_outputs: tuple[int | None, ...]
    """Of the first tensor that each layer returned, (L,)."""
    output_types: tuple[str, ...]
    """The types of these, such as `float32`, (L,); empty where unknown."""
    output_samples: tuple[tuple[float, ...], ...]
    """A few values of each layer's first output, evenly spaced, (L, at most `SAMPLES`)."""
