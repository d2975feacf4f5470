"""Short runs of loops of one's own that differ by what a test plants in them."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

import gradcli as package


class Recurrent(nn.Module):
    """A GRU over the rows of an example, and a linear layer on its last state."""

    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(4, 12, batch_first=True)
        self.output = nn.Linear(12, 3)

    def forward(self, inputs):
        return self.output(self.recurrent(inputs)[0][:, -1])


def chain(*layers):
    return nn.Sequential(OrderedDict(layers))


def mlp(depth=2):
    hidden = [
        pair
        for number in range(1, depth + 1)
        for pair in (
            (f"hidden{number}", nn.Linear(36 if number == 1 else 16, 16)),
            (f"activation{number}", nn.ReLU()),
        )
    ]
    return chain(("flat", nn.Flatten()), *hidden, ("output", nn.Linear(16, 3)))


def cnn():
    return chain(
        ("grid", nn.Unflatten(1, (1, 9))),
        ("conv1", nn.Conv2d(1, 4, 3, padding=1)),
        ("activation1", nn.ReLU()),
        ("conv2", nn.Conv2d(4, 6, 3)),
        ("activation2", nn.ReLU()),
        ("flat", nn.Flatten()),
        ("output", nn.Linear(6 * 7 * 2, 3)),
    )


MODELS = {"mlp": mlp, "deep_mlp": lambda: mlp(8), "cnn": cnn, "rnn": Recurrent}


def train(
    folder,
    model_name,
    *,
    prepare=lambda model: None,
    rates=None,
    at_step=None,
    order=0,
    seed=0,
    steps=45,
    batch=16,
    monitor=None,
    end=lambda step: None,
):
    """Train a small model on made-up examples in a loop of one's own, and return its run.

    Args:
        folder: of the runs.
        model_name: one of `MODELS`.
        prepare: changes the model before the monitor watches it.
        rates: the learning rate of each layer that has one of its own.
        at_step: what to do with the model before a step, by its number.
        order: the seed of the order of the examples.
        seed: of the weights.
        steps: to make.
        batch: the examples in one.
        monitor: keywords of the monitor.
        end: is called after each step; what it raises ends the loop.
    """
    examples = torch.randn(256, 9, 4, generator=torch.Generator().manual_seed(7))
    targets = (examples.mean(dim=(1, 2)) * 9).long().clamp(-1, 1) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS[model_name]()
    prepare(model)
    rates = rates or {}
    groups = [
        {"params": list(module.parameters(recurse=False)), "lr": rates.get(name, 0.05)}
        for name, module in model.named_modules()
        if list(module.parameters(recurse=False))
    ]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
    drawn = torch.Generator().manual_seed(order)
    with (
        torch.random.fork_rng(devices=[]),
        package.GradientMonitor(
            model, optimizer, runs_dir=folder, name=model_name, **(monitor or {"every": 1})
        ) as watched,
    ):
        torch.manual_seed(3)
        for step in range(1, steps + 1):
            (at_step or {}).get(step, lambda model: None)(model)
            chosen = torch.randint(len(examples), (batch,), generator=drawn)
            loss = nn.functional.cross_entropy(model(examples[chosen]), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            watched.step(loss)
            optimizer.step()
            end(step)
    return package.load_run(watched.run)


def drawn_anew(layer):
    """What draws the weights of a layer with another seed."""

    def change(model):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1_000)
            model.get_submodule(layer).reset_parameters()

    return change


def flipped_bit(layer, bit=20, weight=5):
    """What flips a bit of a layer's weight: 0 is the last of the mantissa, 22 the first."""

    def change(model):
        module = model.get_submodule(layer)
        name = next(name for name, one in module.named_parameters() if one.ndim > 1)
        flat = getattr(module, name).data.view(-1).view(torch.int32)
        flat[weight] ^= 1 << bit

    return change


def at_precision(layer, dtype, *, whole=False):
    """What rounds the output of a layer through another type; or computes it in that type."""

    def change(model):
        module = model.get_submodule(layer)
        if not whole:
            module.register_forward_hook(lambda _, __, output: output.to(dtype).float())
            return
        forward = nn.functional.linear

        def compute(inputs):
            values = inputs.to(dtype), module.weight.to(dtype), module.bias.to(dtype)
            return forward(*values).float()

        module.forward = compute

    return change


def frozen(layer):
    """What freezes a layer."""

    def change(model):
        model.get_submodule(layer).requires_grad_(False)

    return change
