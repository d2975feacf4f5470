"""The short names of the most used config keys: options of the command, arguments in Python."""

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
    """Return the overrides that a comparison's options stand for; None was not given."""
    words = [_COMPARISON[name].format(value) for name, value in options.items() if value]
    return ["lrs=auto" if word == "lrs=[auto]" else word for word in words]


def inspection_overrides(*, probe: str | None, check: bool) -> list[str]:
    """Return the overrides that an inspection's options stand for; None was not given."""
    return [f"probes=[{probe}]"] * (probe is not None) + ["check=true"] * check
