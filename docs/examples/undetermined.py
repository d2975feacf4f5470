"""Eighty steps at a low learning rate: too low, or just slow?"""

import torch
from digits import inputs, labels, net
from torch import nn

from gradcli import GradientMonitor

torch.manual_seed(0)
model = net(
    first=nn.Linear(784, 64),
    relu1=nn.ReLU(),
    second=nn.Linear(64, 64),
    relu2=nn.ReLU(),
    output=nn.Linear(64, 10),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.007)
with GradientMonitor(model, optimizer) as monitor:
    for batch in torch.randperm(4000).split(50):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
        loss.backward()
        monitor.step(loss)
        optimizer.step()
