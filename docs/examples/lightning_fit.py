"""A fit of Lightning's, recorded by a callback."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gradcli.lightning import GradientCallback


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 2))

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch, index):
        outputs = self.network(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(outputs, batch[1]))
        self.log("val_accuracy", (outputs.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


lightning.seed_everything(0)
inputs = torch.randn(1280, 20)
data = TensorDataset(inputs, (inputs[:, 0] > 0).long())
batches = DataLoader(TensorDataset(*data[:1024]), 32, shuffle=True)
held_out = DataLoader(TensorDataset(*data[1024:]), 256)
trainer = lightning.Trainer(
    max_epochs=3,
    gradient_clip_val=0.5,
    callbacks=[GradientCallback(metric=("val_accuracy", "maximize"))],
)
trainer.fit(Classifier(), batches, held_out)
