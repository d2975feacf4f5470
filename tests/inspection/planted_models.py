"""Perceptrons with a fault in one layer, named by configs as a user's own models are."""

from __future__ import annotations

import torch
from torch import nn

from gradcli.models import MLP

SHAPE = (96, 64, 48)


class Planted(MLP):
    """A perceptron whose second hidden layer is replaced."""

    layer: type[nn.Linear]

    def __init__(self, *, input_shape, classes, activation):
        super().__init__(
            input_shape=input_shape, classes=classes, activation=activation, hidden=SHAPE
        )
        self.hidden2 = self.layer(SHAPE[0], SHAPE[1])


class DeadLinear(nn.Linear):
    """All units are far below zero."""

    def forward(self, signal):
        return super().forward(signal) - 100.0


class MostlyDeadLinear(nn.Linear):
    """Nine units in ten are far below zero."""

    def forward(self, signal):
        shift = torch.zeros(self.out_features)
        shift[: round(0.9 * self.out_features)] = -100.0
        return super().forward(signal) + shift


class LogLinear(nn.Linear):
    """NaN going forward: the logarithm of what may be negative."""

    def forward(self, signal):
        return torch.log(super().forward(signal))


class RootLinear(nn.Linear):
    """NaN going backward: the slope of the root at zero is infinite, times zero."""

    def forward(self, signal):
        output = super().forward(signal)
        return output + torch.sqrt((output - output.detach()).abs())


class LateLogLinear(nn.Linear):
    """NaN going forward from the twentieth training step on."""

    calls = 0

    def forward(self, signal):
        output = super().forward(signal)
        if self.training and torch.is_grad_enabled():
            self.calls += 1
        return torch.log(output) if self.calls > 20 else output


class WrongSquare(torch.autograd.Function):
    """x^2, whose derivative is said to be x."""

    @staticmethod
    def forward(context, signal):
        context.save_for_backward(signal)
        return signal.square()

    @staticmethod
    def backward(context, gradient):
        (signal,) = context.saved_tensors
        return gradient * signal


class WrongLinear(nn.Linear):
    """A layer of the user's own with a wrong backward pass."""

    def forward(self, signal):
        return WrongSquare.apply(super().forward(signal))


class Dead(Planted):
    layer = DeadLinear


class MostlyDead(Planted):
    layer = MostlyDeadLinear


class NanForward(Planted):
    layer = LogLinear


class NanBackward(Planted):
    layer = RootLinear


class LateNan(Planted):
    layer = LateLogLinear


class Wrong(Planted):
    layer = WrongLinear


class Frozen(Planted):
    """The second hidden layer is not trained."""

    layer = nn.Linear

    def __init__(self, *, input_shape, classes, activation):
        super().__init__(input_shape=input_shape, classes=classes, activation=activation)
        self.hidden2.requires_grad_(False)


class InfiniteLoss(Planted):
    """Finite logits so far apart that their cross-entropy is not."""

    layer = nn.Linear

    def forward(self, images):
        return torch.sign(super().forward(images)) * 3e38


class Blind(Planted):
    """Sees nothing of the image but its mean: there is nothing to learn from."""

    layer = nn.Linear

    def forward(self, images):
        return super().forward(images * 0 + images.mean())
