"""What a parameter is to a network: does it read the inputs, make the outputs, or neither?"""

from __future__ import annotations

from torch import nn

#: The modules that look up a row for each input.
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def roles(model: nn.Module) -> dict[str, str]:
    """Return the role of each parameter, by its name in `named_parameters()`.

    - `input`: the weight of an embedding, or the first weight;
    - `output`: the last weight;
    - `hidden`: every other matrix;
    - `vector`: all else, such as biases, the scales of norms and class tokens.

    A matrix has several rows and several columns once it is flattened to (first dimension, rest).
    So the kernel of a convolution is one. The order is that in which modules are registered, which
    need not be that of the forward pass. An embedding that is also the weight of the last layer is
    an input.
    """
    weights = [
        (parameter, owner)
        for owner in model.modules()
        for parameter in owner.parameters(recurse=False)
        if _is_matrix(parameter) or (parameter.ndim > 1 and not any(owner.children()))
    ]
    embeddings = {id(parameter) for parameter, owner in weights if isinstance(owner, _EMBEDDINGS)}
    first, last = (id(weights[end][0]) if weights else None for end in (0, -1))

    def role(parameter: nn.Parameter) -> str:
        if id(parameter) in embeddings:
            return "input"
        if id(parameter) == last:
            return "output"
        if id(parameter) == first:
            return "input"
        return "hidden" if _is_matrix(parameter) else "vector"

    return {name: role(parameter) for name, parameter in model.named_parameters()}


def _is_matrix(parameter: nn.Parameter) -> bool:
    return parameter.ndim > 1 and 1 < parameter.shape[0] < parameter.numel()
