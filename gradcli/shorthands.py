"""What command-line and Python arguments are short for: overrides and a target."""

from collections.abc import Sequence
from pathlib import Path

from gradcli.errors import UserError

SHORTHANDS = {
    "data": "data",
    "model": "model",
    "activation": "activation",
    "optimizer": "optimizer",
    "lr": "optimizer.lr",
    "clip": "clip",
    "epochs": "epochs",
    "batch_size": "batch_size",
    "seed": "seed",
    "device": "device",
    "name": "name",
}

_COMPARISON = {
    "optimizers": "optimizers=[{}]",
    "lrs": "lrs=[{}]",
    "seeds": "protocol.seeds={}",
    "protocol": "protocol={}",
    "jobs": "engine.jobs={}",
    "engine": "engine={}",
}


def comparison_overrides(**options: str | None) -> list[str]:
    """Return the overrides for the options of a comparison; None stands for not given."""
    arguments = [_COMPARISON[name].format(value) for name, value in options.items() if value]
    return ["lrs=auto" if word == "lrs=[auto]" else word for word in arguments]


def inspection_overrides(*, probe: str | None, check: bool) -> list[str]:
    """Return the overrides for the options of an inspection; None stands for not given."""
    return [f"probes=[{probe}]"] * (probe is not None) + ["check=true"] * check


def split_target(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Separate the target from the overrides: `KEY=VALUE` is an override unless it is a folder.

    Raises:
        UserError: if there is more than one target.
    """
    targets = [word for word in arguments if "=" not in word or Path(word).is_dir()]
    if len(targets) > 1:
        raise UserError(
            f"'{targets[1]}' is a second target, but only one can be inspected at a time.",
            where="TARGET",
            hint=f"gradcli inspect-gradients {targets[0]}",
        )
    overrides = [word for word in arguments if word not in targets]
    return (targets[0] if targets else None), overrides
