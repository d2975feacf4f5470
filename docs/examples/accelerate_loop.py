"""A loop of Accelerate's, which accumulates gradients and clips them."""

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gradcli import GradientMonitor

torch.manual_seed(0)
inputs = torch.randn(1024, 20)
data = TensorDataset(inputs, (inputs[:, 0] > 0).long())
model = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

accelerator = Accelerator(gradient_accumulation_steps=2)
model, optimizer, batches = accelerator.prepare(model, optimizer, DataLoader(data, 16))
with GradientMonitor(model, optimizer, name="accelerate", scaler=accelerator.scaler) as monitor:
    for epoch in (1, 2, 3):
        for inputs, labels in batches:
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(inputs), labels)
                accelerator.backward(loss)
                if accelerator.sync_gradients:  # the last backward pass of an update
                    monitor.step(loss, epoch=epoch)
                    accelerator.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                optimizer.zero_grad()
if monitor.run:
    print(monitor.run)
