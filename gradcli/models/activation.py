"""What the models and the initialisations need to know about an activation.

The activations themselves are `torch.nn` classes, named in `configs/activation/`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

#: Makes a fresh activation. Each place in a model gets its own, so that a hook on the module
#: sees one place only, and so that a learned slope (`torch.nn.PReLU`) is not shared.
Activation = Callable[[], nn.Module]


def usual_gain(activation: nn.Module) -> float:
    """Return the factor on the weights that makes up for the activation's effect on the signal.

    It is the value of `torch.nn.init.calculate_gain` if that has one: identity 1, sigmoid 1,
    tanh 5/3, ReLU sqrt(2), leaky ReLU sqrt(2 / (1 + slope^2)), SELU 3/4. For any other
    activation f it is 1 / sqrt(E[f(z)^2]) with z ~ N(0, 1), which keeps the second moment of
    the signal from layer to layer: the argument of He et al. 2015 (arXiv 1502.01852,
    section 2.2), which gives ReLU its sqrt(2). It gives ELU 1.245, GELU 1.534, SiLU 1.677 and
    softplus 1.042.
    """
    match activation:
        case nn.Identity():
            return 1.0
        case nn.Sigmoid():
            return nn.init.calculate_gain("sigmoid")
        case nn.Tanh():
            return nn.init.calculate_gain("tanh")
        case nn.ReLU():
            return nn.init.calculate_gain("relu")
        case nn.LeakyReLU():
            return nn.init.calculate_gain("leaky_relu", activation.negative_slope)
        case nn.SELU():
            return nn.init.calculate_gain("selu")
        case _:
            return 1.0 / math.sqrt(_second_moment(activation))


@torch.no_grad()
def _second_moment(activation: nn.Module) -> float:
    """Return E[f(z)^2] for z ~ N(0, 1), by the trapezoidal rule on [-10, 10]."""
    z = torch.linspace(-10.0, 10.0, 4001)
    density = torch.exp(-0.5 * z.double() ** 2)
    was_training = activation.training
    # One value per row, so that an activation across units (softmax) sees a single unit.
    outputs = activation.eval()(z.unsqueeze(1)).squeeze(1)
    activation.train(was_training)
    return float((density * outputs.double() ** 2).sum() / density.sum())
