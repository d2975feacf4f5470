"""What the examples share: the bundled digits as tensors, and a net whose layers have names."""

from collections import OrderedDict

from torch import nn

from gradcli.data import load_dataset

_digits = load_dataset("mnist5k").train
pixels, labels = _digits.inputs.flatten(1).float(), _digits.targets
inputs = (pixels - pixels.mean()) / pixels.std()


def net(**layers: nn.Module) -> nn.Sequential:
    """Return a net that calls these layers one after the other."""
    return nn.Sequential(OrderedDict(layers))
