"""Run as a script: prints what every shipped optimizer makes of the same gradients, as JSON."""

import hashlib
import json
import sys
from pathlib import Path

import torch
import yaml

from gradcli.fast.without_dynamo import StepWithoutDynamo, construct, load_state_dict, state_dict
from gradcli.optim import evaluates_loss

#: Those of `torch.optim`, beneath which the shortcuts go.
SHIPPED = sorted(
    path
    for path in (Path(__file__).parents[2] / "configs" / "optimizer").glob("*.yaml")
    if "_target_: torch.optim." in path.read_text()
)
VARIANTS = ({}, {"fused": True}, {"foreach": True}, {"foreach": False}, {"weight_decay": 0.1})
SHAPES = ((7, 5), (7,), (3, 7))
STEPS = 4


def settings_of(path):
    config = yaml.safe_load(path.read_text())
    config.pop("search", None)  # the ranges of a search
    return getattr(torch.optim, config.pop("_target_").rpartition(".")[2]), config


def updates(optimizer_class, settings):
    """The bytes of the weights and of the state, with a reload halfway; None if refused."""
    generator = torch.Generator().manual_seed(5)
    weights = [torch.nn.Parameter(torch.randn(*shape, generator=generator)) for shape in SHAPES]
    groups = [{"params": weights[:1]}, {"params": weights[1:], "lr": 0.03}]
    try:
        optimizer = construct(optimizer_class, groups, settings)
    except (TypeError, RuntimeError):
        return None
    update = StepWithoutDynamo(optimizer)
    for step in range(STEPS):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator)
        update()
        if step == STEPS // 2:
            load_state_dict(optimizer, state_dict(optimizer))
    state = state_dict(optimizer)["state"]
    tensors = [*weights, *(value for one in state.values() for _, value in sorted(one.items()))]
    return hashlib.sha256(
        b"".join(tensor.detach().numpy().tobytes() for tensor in tensors if tensor is not None)
    ).hexdigest()


if __name__ == "__main__":
    found = {}
    for path in SHIPPED:
        optimizer_class, settings = settings_of(path)
        if evaluates_loss(optimizer_class):
            continue
        for variant in VARIANTS:
            found[f"{path.stem} {variant}"] = updates(optimizer_class, settings | variant)
    print(json.dumps({"digests": found, "loaded": "torch._dynamo" in sys.modules}))
