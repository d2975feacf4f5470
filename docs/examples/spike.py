"""For one step the learning rate is a thousand times too high."""

import torch
from digits import inputs, labels, net
from torch import nn

from gradcli import GradientMonitor

torch.manual_seed(0)
model = net(hidden=nn.Linear(784, 64), relu=nn.ReLU(), output=nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with GradientMonitor(model, optimizer) as monitor:
    for step, batch in enumerate(torch.randperm(4000).split(40)):
        optimizer.param_groups[0]["lr"] = 100 if step == 50 else 0.1
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
        loss.backward()
        monitor.step(loss)
        optimizer.step()
