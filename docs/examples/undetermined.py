"""A second head is trained in all but the last six of 50 steps."""

import torch
from digits import inputs, labels
from torch import nn

from gradcli import GradientMonitor

torch.manual_seed(0)
model = nn.ModuleDict(
    {"body": nn.Linear(784, 64), "head": nn.Linear(64, 10), "parity": nn.Linear(64, 2)}
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with GradientMonitor(model, optimizer) as monitor:
    for step, batch in enumerate(torch.randperm(4000).split(80)):
        optimizer.zero_grad()
        signal = model["body"](inputs[batch]).relu()
        loss = nn.functional.cross_entropy(model["head"](signal), labels[batch])
        if step < 44:
            loss += nn.functional.cross_entropy(model["parity"](signal), labels[batch] % 2)
        loss.backward()
        monitor.step(loss)
        optimizer.step()
