"""A model with a backward pass of its own, which forgets a factor of 2."""

import torch
from torch import nn


class Double(torch.autograd.Function):
    @staticmethod
    def forward(context, signal):
        return 2 * signal

    @staticmethod
    def backward(context, gradient):
        return gradient


class Net(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.first, self.second = nn.Linear(784, 16), nn.Linear(16, classes)

    def forward(self, images):
        return self.second(Double.apply(self.first(images.flatten(1)).tanh()))
