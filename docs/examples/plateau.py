"""A regression on targets that the inputs say nothing about."""

import torch
from digits import inputs, net
from torch import nn

from gradcli import GradientMonitor

torch.manual_seed(0)
targets = torch.randn(4000, 1)
model = net(hidden=nn.Linear(784, 64), relu=nn.ReLU(), output=nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
with GradientMonitor(model, optimizer) as monitor:
    for batch in torch.randperm(4000).split(40):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs[batch]), targets[batch])
        loss.backward()
        monitor.step(loss)
        optimizer.step()
