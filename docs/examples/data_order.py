"""The examples come sorted by their label."""

import torch
from digits import inputs, labels, net
from torch import nn

from gradcli import GradientMonitor

torch.manual_seed(0)
model = net(hidden=nn.Linear(784, 64), relu=nn.ReLU(), output=nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with GradientMonitor(model, optimizer) as monitor:
    for batch in labels.argsort().split(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
        loss.backward()
        monitor.step(loss)
        optimizer.step()
