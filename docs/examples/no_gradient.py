"""A `detach` in the forward pass cuts the first layer off."""

import torch
from digits import inputs, labels
from torch import nn

from gradcli import GradientMonitor


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(784, 64), nn.Linear(64, 10)

    def forward(self, images):
        return self.second(self.first(images).relu().detach())


torch.manual_seed(0)
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with GradientMonitor(model, optimizer) as monitor:
    for batch in torch.randperm(4000).split(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
        loss.backward()
        monitor.step(loss)
        optimizer.step()
