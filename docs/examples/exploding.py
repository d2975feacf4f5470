"""A recurrent net whose state grows threefold at each of 28 rows."""

import torch
from digits import inputs, labels
from torch import nn

from gradcli import GradientMonitor


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.RNN(28, 32, nonlinearity="relu", batch_first=True)
        nn.init.eye_(self.cell.weight_hh_l0)
        self.cell.weight_hh_l0.data *= 3
        self.head = nn.Linear(32, 10)

    def forward(self, images):
        return self.head(self.cell(images.view(-1, 28, 28))[0][:, -1])


torch.manual_seed(0)
model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
with GradientMonitor(model, optimizer) as monitor:
    for batch in torch.randperm(4000).split(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
        loss.backward()
        monitor.step(loss)
        optimizer.step()
