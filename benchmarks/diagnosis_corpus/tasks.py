"""What the own loops learn: the bundled sample, made small, and tasks that are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

CLASSES = 10


@dataclass
class Task:
    """Examples to learn from and examples to measure with. Faults change the former."""

    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor


@cache
def _sample() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from gradcli.data import load_dataset

    data = load_dataset("mnist5k", val=None, folder=None, data_dir=None, progress=lambda _: None)

    def shrunk(images: Tensor) -> Tensor:
        return F.avg_pool2d(images.float(), 2)

    test = torch.cat([data.val.inputs, data.test.inputs])
    labels = torch.cat([data.val.targets, data.test.targets])
    return shrunk(data.train.inputs), data.train.targets, shrunk(test), labels


def digits(scaled: bool = True) -> Task:
    """Return the sample at 14 x 14 pixels: 4,000 to learn from, 1,000 to measure with."""
    images, labels, test, test_labels = _sample()
    if scaled:
        mean, std = images.mean(), images.std()
        images, test = (images - mean) / std, (test - mean) / std
    return Task(images.clone(), labels.clone(), test.clone(), test_labels)


def words(generator: torch.Generator, vocabulary: int = 200, length: int = 12) -> Task:
    """Return sequences of word indices; the label is the sign of the sum of the words' values."""
    values = torch.randn(vocabulary, generator=generator)
    texts = torch.randint(vocabulary, (3000, length), generator=generator)
    labels = (values[texts].sum(1) > 0).long()
    return Task(texts[:2000], labels[:2000], texts[2000:], labels[2000:])


def curve(generator: torch.Generator, size: int = 8) -> Task:
    """Return a regression: a smooth function of a few numbers, with unit variance."""
    inputs = torch.randn(3000, size, generator=generator)
    weights = torch.randn(size, generator=generator) / size**0.5
    targets = torch.sin(2 * inputs @ weights) + 0.5 * inputs[:, 0]
    targets = ((targets - targets.mean()) / targets.std())[:, None]
    return Task(inputs[:2000], targets[:2000], inputs[2000:], targets[2000:])
