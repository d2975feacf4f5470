"""The net divides each pixel by its standard deviation over the batch; some are always black."""

import torch
from digits import inputs, labels, net
from torch import nn

from gradcli import GradientMonitor


class Standardise(nn.Module):
    def forward(self, images):
        return (images - images.mean(0)) / images.std(0)


torch.manual_seed(0)
model = net(
    standardise=Standardise(),
    hidden=nn.Linear(784, 64),
    relu=nn.ReLU(),
    output=nn.Linear(64, 10),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with GradientMonitor(model, optimizer) as monitor:
    for batch in torch.randperm(4000).split(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
        loss.backward()
        monitor.step(loss)
        optimizer.step()
